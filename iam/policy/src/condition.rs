//! Condition blocks: operators, their set forms, and what they say of missing keys.

use std::cmp::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::error::PolicyErrorKind;
use crate::facts::{Facts, Scalar};
use crate::key::ConditionKey;
use crate::operand::{Decimal, Network, flag};
use crate::pattern::{ArnPattern, Pattern, Syntax};
use crate::time;

/// One operator with one key.
#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pub(crate) key: ConditionKey,
    pub(crate) operands: Operands,
    form: Form,
}

/// How an operator is named, without what it compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) base: Base,
    /// `Not` in the name.
    pub(crate) is_negated: bool,
    pub(crate) if_exists: bool,
    pub(crate) quantifier: Quantifier,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantifier {
    /// For keys of one value. Of a key with several, one that matches is enough (and forbids, if negated).
    None,
    ForAllValues,
    ForAnyValue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    String { wildcards: bool, ignore_case: bool },
    Numeric(Comparison),
    Date(Comparison),
    Bool,
    Binary,
    Address,
    Arn,
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Operands {
    Patterns(Vec<Pattern>),
    /// `None`: a text that no ARN can match.
    Arns(Vec<Option<ArnPattern>>),
    Numbers(Comparison, Vec<Decimal>),
    Dates(Comparison, Vec<i64>),
    Flags(Vec<bool>),
    Bytes(Vec<Vec<u8>>),
    Networks(Vec<Network>),
    MustBeNull(Vec<bool>),
}

impl Form {
    /// Reads an operator's name; operators are compared without regard to case.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let mut rest = name.to_ascii_lowercase();
        let mut quantifier = Quantifier::None;
        for (prefix, set) in [("forallvalues:", Quantifier::ForAllValues), ("foranyvalue:", Quantifier::ForAnyValue)] {
            if let Some(inner) = rest.strip_prefix(prefix) {
                rest = inner.to_owned();
                quantifier = set;
                break;
            }
        }
        let (rest, if_exists) = match rest.strip_suffix("ifexists") {
            Some(inner) => (inner.to_owned(), true),
            None => (rest, false),
        };
        let (base, is_negated) = base(&rest)?;
        if base == Base::Null && (if_exists || quantifier != Quantifier::None) {
            return None;
        }
        Some(Self { base, is_negated, if_exists, quantifier })
    }
}

fn base(name: &str) -> Option<(Base, bool)> {
    let string = |wildcards, ignore_case| Base::String { wildcards, ignore_case };
    Some(match name {
        "stringequals" => (string(false, false), false),
        "stringnotequals" => (string(false, false), true),
        "stringequalsignorecase" => (string(false, true), false),
        "stringnotequalsignorecase" => (string(false, true), true),
        "stringlike" => (string(true, false), false),
        "stringnotlike" => (string(true, false), true),
        "numericequals" => (Base::Numeric(Comparison::Equal), false),
        "numericnotequals" => (Base::Numeric(Comparison::Equal), true),
        "numericlessthan" => (Base::Numeric(Comparison::Less), false),
        "numericlessthanequals" => (Base::Numeric(Comparison::LessOrEqual), false),
        "numericgreaterthan" => (Base::Numeric(Comparison::Greater), false),
        "numericgreaterthanequals" => (Base::Numeric(Comparison::GreaterOrEqual), false),
        "dateequals" => (Base::Date(Comparison::Equal), false),
        "datenotequals" => (Base::Date(Comparison::Equal), true),
        "datelessthan" => (Base::Date(Comparison::Less), false),
        "datelessthanequals" => (Base::Date(Comparison::LessOrEqual), false),
        "dategreaterthan" => (Base::Date(Comparison::Greater), false),
        "dategreaterthanequals" => (Base::Date(Comparison::GreaterOrEqual), false),
        "bool" => (Base::Bool, false),
        "binaryequals" => (Base::Binary, false),
        "ipaddress" => (Base::Address, false),
        "notipaddress" => (Base::Address, true),
        "arnequals" | "arnlike" => (Base::Arn, false),
        "arnnotequals" | "arnnotlike" => (Base::Arn, true),
        "null" => (Base::Null, false),
        _ => return None,
    })
}

impl Operands {
    /// Reads `values` for `base`; the index of the value that cannot be read, if one cannot.
    pub(crate) fn compile(
        base: Base,
        operator: &str,
        values: &[&str],
        variables: bool,
    ) -> Result<Self, (usize, PolicyErrorKind)> {
        let unreadable = |at: usize| {
            let value = values[at].to_owned();
            (at, PolicyErrorKind::ConditionValue { operator: operator.to_owned(), value })
        };
        Ok(match base {
            Base::String { wildcards, ignore_case } => {
                let syntax = Syntax { wildcards, variables, ignore_case };
                Self::Patterns(each(values, |at, value| Pattern::compile(value, syntax).map_err(|kind| (at, kind)))?)
            }
            Base::Arn => {
                Self::Arns(each(values, |at, value| ArnPattern::compile(value, variables).map_err(|kind| (at, kind)))?)
            }
            Base::Numeric(comparison) => {
                Self::Numbers(comparison, each(values, |at, v| Decimal::parse(v).ok_or_else(|| unreadable(at)))?)
            }
            Base::Date(comparison) => {
                Self::Dates(comparison, each(values, |at, v| time::parse_ms(v).ok_or_else(|| unreadable(at)))?)
            }
            Base::Bool => Self::Flags(each(values, |at, v| flag(v).ok_or_else(|| unreadable(at)))?),
            Base::Null => Self::MustBeNull(each(values, |at, v| flag(v).ok_or_else(|| unreadable(at)))?),
            Base::Binary => Self::Bytes(each(values, |at, v| BASE64.decode(v).map_err(|_| unreadable(at)))?),
            Base::Address => Self::Networks(each(values, |at, v| Network::parse(v).ok_or_else(|| unreadable(at)))?),
        })
    }

    /// True if `value` compares well with one of the operands.
    fn any(&self, value: Scalar<'_>, facts: &Facts<'_>) -> bool {
        match self {
            Self::Patterns(patterns) => {
                let text = value.text();
                patterns.iter().any(|pattern| pattern.matches(&text, facts))
            }
            Self::Arns(patterns) => {
                let text = value.text();
                patterns.iter().flatten().any(|pattern| pattern.matches(&text, facts))
            }
            Self::Numbers(comparison, operands) => Decimal::of(value)
                .is_some_and(|value| operands.iter().any(|operand| comparison.holds(value.cmp(operand)))),
            Self::Dates(comparison, operands) => {
                date_ms(value).is_some_and(|value| operands.iter().any(|operand| comparison.holds(value.cmp(operand))))
            }
            Self::Flags(operands) => {
                let value = match value {
                    Scalar::Flag(value) => Some(value),
                    other => flag(&other.text()),
                };
                value.is_some_and(|value| operands.contains(&value))
            }
            Self::Bytes(operands) => BASE64.decode(&*value.text()).is_ok_and(|value| operands.contains(&value)),
            Self::Networks(operands) => {
                let text = value.text();
                operands.iter().any(|network| network.contains(&text))
            }
            Self::MustBeNull(operands) => operands.contains(&false),
        }
    }

    fn variables(&self) -> Box<dyn Iterator<Item = &ConditionKey> + '_> {
        match self {
            Self::Patterns(patterns) => Box::new(patterns.iter().flat_map(Pattern::keys)),
            Self::Arns(patterns) => Box::new(patterns.iter().flatten().flat_map(ArnPattern::keys)),
            _ => Box::new(std::iter::empty()),
        }
    }
}

fn each<T, E>(values: &[&str], mut read: impl FnMut(usize, &str) -> Result<T, E>) -> Result<Vec<T>, E> {
    values.iter().enumerate().map(|(at, value)| read(at, value)).collect()
}

fn date_ms(value: Scalar<'_>) -> Option<i64> {
    match value {
        Scalar::Text(text) => time::parse_ms(text),
        Scalar::Time(seconds) | Scalar::Number(seconds) => seconds.checked_mul(1_000),
        Scalar::Flag(_) => None,
    }
}

impl Condition {
    pub(crate) fn new(form: Form, key: ConditionKey, operands: Operands) -> Self {
        Self { key, operands, form }
    }

    /// True if the request meets it.
    pub(crate) fn holds(&self, facts: &Facts<'_>) -> bool {
        let found = facts.values(&self.key);
        if let Operands::MustBeNull(operands) = &self.operands {
            return operands.contains(&(found.len() == 0));
        }
        let is_negated = self.form.is_negated;
        if found.len() == 0 {
            // No value differs from every value; over no values "all" is true and "any" is false.
            return self.form.if_exists
                || match self.form.quantifier {
                    Quantifier::None => is_negated,
                    Quantifier::ForAllValues => true,
                    Quantifier::ForAnyValue => false,
                };
        }
        let mut values = found.iter();
        match self.form.quantifier {
            Quantifier::None => values.any(|value| self.operands.any(value, facts)) != is_negated,
            Quantifier::ForAllValues => values.all(|value| self.operands.any(value, facts) != is_negated),
            Quantifier::ForAnyValue => values.any(|value| self.operands.any(value, facts) != is_negated),
        }
    }

    /// True if it can hold without the key having one of the operands' values.
    pub(crate) fn is_open(&self) -> bool {
        self.form.is_negated
            || self.form.if_exists
            || self.form.quantifier == Quantifier::ForAllValues
            || matches!(self.operands, Operands::MustBeNull(_))
    }

    /// Its own key and those of variables in its values.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &ConditionKey> {
        std::iter::once(&self.key).chain(self.operands.variables())
    }
}
