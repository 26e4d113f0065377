//! What `--help` says of settings beside their meaning: the names that they take, and their defaults.

use std::ffi::OsStr;

use clap::{
    Arg, Command,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use serde::Serialize;

/// The names that a setting takes; `-` and `_` are alike.
#[derive(Debug, Clone)]
pub struct Names(Vec<&'static str>);

impl Names {
    /// These names.
    pub fn new(names: impl IntoIterator<Item = &'static str>) -> Self {
        Names(names.into_iter().collect())
    }
}

impl TypedValueParser for Names {
    type Value = String;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<String, clap::Error> {
        let plain = |name: &str| name.replace('_', "-");
        let given = value.to_str().map(plain);
        let known = self.0.iter().find(|name| given == Some(plain(name)));
        PossibleValuesParser::new(&self.0).parse_ref(command, arg, known.map_or(value, OsStr::new))
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(PossibleValue::new)))
    }
}

/// `command`, with the value in `defaults` at the end of the help of every option that has one there.
pub fn with_defaults(command: Command, defaults: &impl Serialize) -> Command {
    // Through text, where a number of 32 bits has as few digits as it needs.
    let text = toml::to_string(defaults).unwrap_or_default();
    let defaults = text.parse::<toml::Table>().unwrap_or_default();
    command.mut_args(|arg| {
        let default = arg.get_long().and_then(|name| defaults.get(&name.replace('-', "_")));
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        match default {
            // A flag takes no value, and some options tell theirs in words.
            Some(value) if arg.get_action().takes_values() && !help.contains("[default: ") => {
                let value = value.to_string();
                arg.help(format!("{help} [default: {}]", value.trim_matches(['[', ']', '"'])))
            }
            _ => arg,
        }
    })
}
