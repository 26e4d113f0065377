//! RecBole's atomic interaction files: tab-separated, with a header of `name:type`.

use super::{Format, Grammar, Head, ImportOptions, Rows, columns::Columns, read::shown};
use crate::error::{Error, Result};

/// `NAME.inter`.
pub(super) struct RecBole;

const TYPES: [&str; 4] = ["token", "token_seq", "float", "float_seq"];

impl Format for RecBole {
    fn name(&self) -> &'static str {
        "recbole"
    }

    fn description(&self) -> &'static str {
        "RecBole .inter: tab-separated, header `user_id:token`, `item_id:token`, ..."
    }

    fn recognizes(&self, head: &Head<'_>) -> bool {
        names(head).is_some()
    }

    fn grammar(&self, head: &Head<'_>, options: &ImportOptions) -> Result<Grammar> {
        let (line, first) = head.first();
        let names = names(head).ok_or_else(|| Error::Parse {
            path: head.path().into(),
            line,
            column: 1,
            expected: "a header such as user_id:token<tab>item_id:token".into(),
            found: shown(first),
        })?;
        let columns = Columns { names: Some(&names), width: names.len() }.choose(options, &[])?;
        Ok(Grammar::Rows(Rows { header: true, ..columns.rows(b"\t", names.len()) }))
    }
}

/// Names in the header without their types, if it is one.
fn names(head: &Head<'_>) -> Option<Vec<String>> {
    head.first()
        .1
        .split('\t')
        .map(|field| {
            let (name, kind) = field.trim().rsplit_once(':')?;
            TYPES.contains(&kind).then(|| name.to_owned())
        })
        .collect()
}
