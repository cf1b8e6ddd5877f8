//! Bounds and patterns of the models, and how their refusals read.

use std::sync::OnceLock;

use regex::Regex;

use crate::text::Measure;

/// What a value must satisfy.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Of a number, or of the length of a text or list.
    pub(crate) min: Option<i64>,
    pub(crate) max: Option<i64>,
    pub(crate) pattern: Option<&'static Pattern>,
}

/// A pattern of the model, compiled when it is first needed.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// As the model has it, for refusals.
    model: &'static str,
    expression: &'static str,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    pub(crate) const fn new(model: &'static str, expression: &'static str) -> Self {
        Self { model, expression, compiled: OnceLock::new() }
    }

    /// Whether the text is one; none where the expression itself cannot be read, which a test excludes.
    pub(crate) fn matches(&self, text: &str) -> Option<bool> {
        let compiled = self.compiled.get_or_init(|| Regex::new(self.expression).ok());
        compiled.as_ref().map(|regex| regex.is_match(text))
    }
}

impl Rules {
    /// The constraint that a value breaks, in AWS's words.
    pub(crate) fn broken(&self, measure: Measure, text: Option<&str>) -> Option<String> {
        match measure {
            Measure::Nothing => {}
            Measure::Length(length) => {
                let length = i64::try_from(length).unwrap_or(i64::MAX);
                if let Some(min) = self.min.filter(|min| length < *min) {
                    return Some(format!("Member must have length greater than or equal to {min}"));
                }
                if let Some(max) = self.max.filter(|max| length > *max) {
                    return Some(format!("Member must have length less than or equal to {max}"));
                }
            }
            Measure::Value(value) => {
                if let Some(min) = self.min.filter(|min| value < *min) {
                    return Some(format!("Member must have value greater than or equal to {min}"));
                }
                if let Some(max) = self.max.filter(|max| value > *max) {
                    return Some(format!("Member must have value less than or equal to {max}"));
                }
            }
        }
        let (pattern, text) = (self.pattern?, text?);
        (pattern.matches(text) == Some(false))
            .then(|| format!("Member must satisfy regular expression pattern: {}", pattern.model))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_of_the_models_can_be_read() {
        for pattern in
            crate::iam::rules::PATTERNS.iter().chain(crate::sts::rules::PATTERNS).chain(crate::kms::rules::PATTERNS)
        {
            assert!(pattern.matches("a").is_some(), "{}", pattern.expression);
        }
    }

    #[test]
    fn refusals_read_as_aws_has_them() {
        let pattern: &'static Pattern = Box::leak(Box::new(Pattern::new(r"[\w]+", "^[a-z]+$")));
        let rules = Rules { min: Some(2), max: Some(3), pattern: Some(pattern) };
        let broken = |text: &str| rules.broken(Measure::Length(text.len()), Some(text)).unwrap_or_default();
        assert_eq!(broken("a"), "Member must have length greater than or equal to 2");
        assert_eq!(broken("abcd"), "Member must have length less than or equal to 3");
        assert_eq!(broken("a-c"), r"Member must satisfy regular expression pattern: [\w]+");
        assert_eq!(broken("abc"), "");
        assert!(rules.broken(Measure::Value(4), None).unwrap().contains("value less than or equal to 3"));
    }
}
