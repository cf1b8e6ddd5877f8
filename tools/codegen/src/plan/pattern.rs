//! Patterns of the model, which are Java's, as expressions of the `regex` crate.

/// Java's `\w` and `\d` are of ASCII only; everything else that the models use means the same. A pattern holds for
/// the whole value.
pub(crate) fn translate(pattern: &str) -> String {
    let mut out = String::from("^(?:");
    let mut in_class = false;
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('w') => out.push_str(if in_class { "0-9A-Za-z_" } else { "[0-9A-Za-z_]" }),
                Some('d') => out.push_str(if in_class { "0-9" } else { "[0-9]" }),
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
            '[' => {
                in_class = true;
                out.push('[');
            }
            ']' => {
                in_class = false;
                out.push(']');
            }
            // A dash that stands for itself behind a class of characters.
            '-' if in_class && chars.as_str().starts_with(']') => out.push_str("\\-"),
            _ => out.push(c),
        }
    }
    out.push_str(")$");
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn classes_are_of_ascii_and_the_whole_value_counts() {
        assert_eq!(super::translate(r"[\w+=,.@-]+"), r"^(?:[0-9A-Za-z_+=,.@\-]+)$");
        assert_eq!(super::translate(r"\d{12}"), r"^(?:[0-9]{12})$");
        assert_eq!(
            super::translate(r"(\u002F)|(\u002F[\u0021-\u007E]+\u002F)"),
            r"^(?:(\u002F)|(\u002F[\u0021-\u007E]+\u002F))$"
        );
    }
}
