//! Reports: what trained models do, as tables, figures and one page.
//!
//! [`Behaviour`] and [`crate::Evaluation`] measure a model; [`tables`] and [`figures`] arrange what several models
//! gave; [`Table`], [`Figure`] and [`Page`] turn that into files. Nothing here trains or prints.

pub mod behaviour;
pub mod canvas;
pub mod figure;
pub mod figures;
pub mod page;
pub mod paper;
pub mod table;
pub mod tables;
pub mod truth;

pub use behaviour::{Behaviour, Grouping};
pub use figure::Figure;
pub use page::Page;
pub use table::{Cell, Column, Row, Table};
