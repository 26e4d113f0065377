//! Reports: what trained models do, as tables, figures and one page.
//!
//! [`Models`] takes trained models and gives everything that `macr report` shows of them. Its parts serve by themselves:
//! [`Behaviour`] and [`crate::Evaluation`] measure a model; [`tables`] and [`figures`] arrange what several models gave;
//! [`Table`], [`Figure`] and [`Page`] give it a form, and [`files`] writes it. Nothing here trains or prints.

pub mod behaviour;
pub mod canvas;
pub mod figure;
pub mod figures;
pub mod files;
pub mod models;
pub mod page;
pub mod paper;
pub mod table;
pub mod tables;
pub mod truth;

pub use behaviour::{Behaviour, Grouping};
pub use figure::Figure;
pub use models::{Models, Options, Report};
pub use page::Page;
pub use table::{Cell, Column, Row, Table};
