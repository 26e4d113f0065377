//! Settings that are one of a few names.

/// Gives an enum without fields the names of its variants, in their order: `NAMES`, `Display`, `FromStr` (`-` and `_`
/// are alike; an unknown name is [`Error::Unknown`](crate::Error::Unknown) as a `$what`), and the conversions from and
/// to `String` by which serde reads and writes it.
macro_rules! named {
    ($type:ident, $what:literal, $($variant:ident = $name:literal),+) => {
        impl $type {
            /// Names as on the command line.
            pub const NAMES: [&str; [$($name),+].len()] = [$($name),+];
            /// All of them, in the order of their names.
            pub const ALL: [$type; [$($name),+].len()] = [$($type::$variant),+];
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($type::NAMES[*self as usize])
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::Error;

            fn from_str(text: &str) -> $crate::Result<Self> {
                let plain = |name: &str| name.replace('_', "-");
                let at = $type::NAMES.iter().position(|name| plain(name) == plain(text));
                at.map(|at| $type::ALL[at]).ok_or_else(|| $crate::Error::unknown($what, text, $type::NAMES))
            }
        }

        impl TryFrom<String> for $type {
            type Error = $crate::Error;

            fn try_from(text: String) -> $crate::Result<Self> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }
    };
}

pub(crate) use named;

#[cfg(test)]
mod tests {
    use crate::{
        backbone::{Backbone, Propagation},
        backend::expomf::ExposureConstant,
        objective::{BranchInput, DiceLoss, IpwScope, IpwVariant, Pairing, RegForm, RegNorm},
        optim::CatchUp,
        sampling::SamplerKind,
        storage::Storage,
    };

    #[test]
    fn names_are_those_of_the_variants_and_round_trip() {
        macro_rules! round_trip {
            ($($type:ident)+) => {$(
                for (value, name) in $type::ALL.into_iter().zip($type::NAMES) {
                    assert_eq!(format!("{value:?}").to_lowercase(), name.replace(['-', '_'], ""));
                    assert_eq!((value.to_string().as_str(), name.parse::<$type>().unwrap()), (name, value));
                }
                assert!("".parse::<$type>().is_err() && "no such name".parse::<$type>().is_err());
            )+};
        }
        round_trip!(Backbone Propagation CatchUp SamplerKind Storage ExposureConstant BranchInput);
        round_trip!(Pairing IpwVariant IpwScope RegForm RegNorm DiceLoss);
        assert_eq!("user_uniform".parse::<SamplerKind>().unwrap(), SamplerKind::UserUniform);
        assert_eq!("all-pairs".parse::<Pairing>().unwrap(), Pairing::AllPairs);
        let error = "f61".parse::<Storage>().unwrap_err().to_string();
        assert!(error.contains("did you mean `f16`?"), "{error}");
    }
}
