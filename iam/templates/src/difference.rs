//! How a policy that is installed differs from what a template says.

use serde_json::Value;

/// The lines that go (`-`) and come (`+`) between the document `there` and the document `shipped`, in their order; none
/// if both say the same. White space and the order of members say nothing.
///
/// ```
/// use karri_iam_templates::differences;
/// assert!(differences(r#"{"a": 1, "b": [2]}"#, r#"{"b":[2],"a":1}"#).is_empty());
/// assert_eq!(differences(r#"{"a": 1}"#, r#"{"a": 2}"#), [r#"-  "a": 1"#, r#"+  "a": 2"#]);
/// ```
pub fn differences(there: &str, shipped: &str) -> Vec<String> {
    let (there, shipped) = (spread(there), spread(shipped));
    let (there, shipped): (Vec<&str>, Vec<&str>) = (there.lines().collect(), shipped.lines().collect());
    let common = common_lengths(&there, &shipped);
    let (mut old, mut new) = (0, 0);
    let mut lines = Vec::new();
    loop {
        match (there.get(old), shipped.get(new)) {
            (None, None) => return lines,
            (Some(gone), Some(come)) if gone == come => (old, new) = (old + 1, new + 1),
            (Some(gone), come) if come.is_none() || common[old + 1][new] >= common[old][new + 1] => {
                lines.push(format!("-{gone}"));
                old += 1;
            }
            (_, come) => {
                lines.extend(come.map(|come| format!("+{come}")));
                new += 1;
            }
        }
    }
}

/// A document with its members in order, one to a line; what is none stays as it is.
fn spread(text: &str) -> String {
    serde_json::from_str::<Value>(text).map_or_else(|_| text.to_owned(), |document| format!("{document:#}"))
}

/// How many lines the two have in common, in order, from each pair of lines on.
fn common_lengths(there: &[&str], shipped: &[&str]) -> Vec<Vec<u32>> {
    let mut lengths = vec![vec![0; shipped.len() + 1]; there.len() + 1];
    for old in (0..there.len()).rev() {
        for new in (0..shipped.len()).rev() {
            lengths[old][new] = match there[old] == shipped[new] {
                true => lengths[old + 1][new + 1] + 1,
                false => lengths[old + 1][new].max(lengths[old][new + 1]),
            };
        }
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::differences;

    #[test]
    fn lines_that_are_there_twice_are_not_overlooked() {
        let shipped = r#"["a", "a", "b"]"#;
        assert_eq!(differences(r#"["a", "b"]"#, shipped), [r#"+  "a","#]);
        assert_eq!(differences(shipped, r#"["b", "a", "a"]"#).len(), 4, "order in a list is said");
        assert_eq!(differences("no document", "{}"), ["-no document", "+{}"]);
    }
}
