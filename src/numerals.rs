//! Numbers as people read them.

/// `number` with its thousands separated by commas.
pub fn grouped(number: impl Into<u64>) -> String {
    let digits = number.into().to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (k, digit) in digits.chars().enumerate() {
        if k > 0 && (digits.len() - k).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of a thing: `1 user`, `2,000 users`.
pub fn counted(number: impl Into<u64>, thing: &str) -> String {
    let number = number.into();
    format!("{} {thing}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// `bytes` in the unit that suits, such as `1.5 GiB`.
pub fn size(bytes: u64) -> String {
    let (mut number, mut unit) = (bytes as f64, "bytes");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if number < 1024.0 {
            break;
        }
        (number, unit) = (number / 1024.0, larger);
    }
    if unit == "bytes" { counted(bytes, "byte") } else { format!("{number:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::{counted, grouped, size};

    #[test]
    fn sizes_have_units() {
        for (bytes, text) in
            [(0, "0 bytes"), (1, "1 byte"), (1023, "1,023 bytes"), (1536, "1.5 KiB"), (3 << 30, "3.0 GiB")]
        {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn thousands_are_separated() {
        for (n, text) in [(0u64, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(n), text);
        }
    }

    #[test]
    fn one_is_no_plural() {
        for (n, text) in [(0u64, "0 users"), (1, "1 user"), (2_000, "2,000 users")] {
            assert_eq!(counted(n, "user"), text);
        }
    }
}
