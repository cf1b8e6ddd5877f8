//! Text with wildcards and policy variables, compiled to be matched without copying.

use crate::error::PolicyErrorKind;
use crate::facts::Facts;
use crate::key::ConditionKey;

/// What in a pattern is special.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Syntax {
    /// `*` and `?` are wildcards.
    pub(crate) wildcards: bool,
    /// `${key}` stands for the key's value: documents of version 2012-10-17.
    pub(crate) variables: bool,
    /// ASCII letters match in either case.
    pub(crate) ignore_case: bool,
}

/// A compiled pattern: segments with a `*` between each two.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    /// As it was written.
    pub(crate) text: Box<str>,
    segments: Vec<Vec<Piece>>,
    has_variables: bool,
    ignore_case: bool,
}

#[derive(Clone, Debug)]
enum Piece {
    Literal(Box<str>),
    AnyCharacter,
    Variable { key: ConditionKey, default: Option<Box<str>> },
}

impl Pattern {
    /// Compiles `text`.
    pub(crate) fn compile(text: &str, syntax: Syntax) -> Result<Self, PolicyErrorKind> {
        let mut builder = Builder { segments: vec![Vec::new()], literal: String::new() };
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if syntax.variables && rest.starts_with("${") {
                let (inner, after) =
                    rest[2..].split_once('}').ok_or_else(|| PolicyErrorKind::Variable("${ without }".to_owned()))?;
                builder.variable(inner)?;
                rest = after;
                continue;
            }
            match c {
                '*' if syntax.wildcards => builder.any_run(),
                '?' if syntax.wildcards => builder.push(Piece::AnyCharacter),
                _ => builder.literal.push(c),
            }
            rest = &rest[c.len_utf8()..];
        }
        builder.flush();
        let has_variables = builder.segments.iter().flatten().any(|piece| matches!(piece, Piece::Variable { .. }));
        let segments = builder.segments;
        Ok(Self { text: text.into(), segments, has_variables, ignore_case: syntax.ignore_case })
    }

    /// True if all of `text` matches. A variable without a value and without a default matches nothing.
    pub(crate) fn matches(&self, text: &str, facts: &Facts<'_>) -> bool {
        if self.has_variables && !self.variables_have_values(facts) {
            return false;
        }
        let (first, later) = self.segments.split_first().expect("a pattern has at least one segment");
        let Some(mut at) = self.segment(first, text, facts) else { return false };
        let Some((last, middle)) = later.split_last() else { return at == text.len() };
        for segment in middle {
            let Some(end) = self.find(segment, text, at, facts) else { return false };
            at = end;
        }
        self.ends_with(last, text, at, facts)
    }

    /// The whole text of a pattern without wildcards and variables.
    pub(crate) fn literal(&self) -> Option<&str> {
        match &self.segments[..] {
            [segment] => match &segment[..] {
                [] => Some(""),
                [Piece::Literal(text)] => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    /// The keys of its variables.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &ConditionKey> {
        self.segments.iter().flatten().filter_map(|piece| match piece {
            Piece::Variable { key, .. } => Some(key),
            _ => None,
        })
    }

    fn variables_have_values(&self, facts: &Facts<'_>) -> bool {
        self.segments.iter().flatten().all(|piece| match piece {
            Piece::Variable { key, default: None } => facts.single(key).is_some(),
            _ => true,
        })
    }

    /// The end of the first place from `from` on at which `segment` matches.
    fn find(&self, segment: &[Piece], text: &str, from: usize, facts: &Facts<'_>) -> Option<usize> {
        if let Some(Piece::Literal(literal)) = segment.first()
            && !self.ignore_case
        {
            // Most places are ruled out by the literal: the bench's long key shows what that saves.
            let mut starts = text[from..].match_indices(&**literal).map(|(at, _)| from + at);
            return starts.find_map(|at| Some(at + self.segment(segment, &text[at..], facts)?));
        }
        let mut starts = text[from..].char_indices().map(|(at, _)| from + at).chain([text.len()]);
        starts.find_map(|at| Some(at + self.segment(segment, &text[at..], facts)?))
    }

    fn ends_with(&self, segment: &[Piece], text: &str, from: usize, facts: &Facts<'_>) -> bool {
        if segment.is_empty() {
            return true;
        }
        if let [Piece::Literal(literal)] = segment {
            let rest = text.as_bytes().get(from..).unwrap_or_default();
            return rest.len() >= literal.len() && self.same(&rest[rest.len() - literal.len()..], literal);
        }
        let mut starts = text[from..].char_indices().map(|(at, _)| from + at).chain([text.len()]);
        starts.any(|at| self.segment(segment, &text[at..], facts) == Some(text.len() - at))
    }

    /// How many bytes at the beginning of `text` the pieces match.
    fn segment(&self, pieces: &[Piece], text: &str, facts: &Facts<'_>) -> Option<usize> {
        let mut at = 0;
        for piece in pieces {
            let rest = &text[at..];
            at += match piece {
                Piece::Literal(literal) => self.prefix(rest, literal)?,
                Piece::AnyCharacter => rest.chars().next()?.len_utf8(),
                Piece::Variable { key, default } => match facts.single(key) {
                    Some(value) => self.prefix(rest, &value.text())?,
                    None => self.prefix(rest, default.as_deref()?)?,
                },
            };
        }
        Some(at)
    }

    fn prefix(&self, text: &str, literal: &str) -> Option<usize> {
        let head = text.as_bytes().get(..literal.len())?;
        // A char boundary: equal bytes (up to ASCII case) of a whole string end where a character ends.
        self.same(head, literal).then_some(literal.len())
    }

    fn same(&self, bytes: &[u8], literal: &str) -> bool {
        if self.ignore_case { bytes.eq_ignore_ascii_case(literal.as_bytes()) } else { bytes == literal.as_bytes() }
    }
}

struct Builder {
    segments: Vec<Vec<Piece>>,
    literal: String,
}

impl Builder {
    fn flush(&mut self) {
        if !self.literal.is_empty() {
            let literal = std::mem::take(&mut self.literal).into_boxed_str();
            self.last().push(Piece::Literal(literal));
        }
    }

    fn last(&mut self) -> &mut Vec<Piece> {
        self.segments.last_mut().expect("a pattern has at least one segment")
    }

    fn push(&mut self, piece: Piece) {
        self.flush();
        self.last().push(piece);
    }

    fn any_run(&mut self) {
        self.flush();
        // `**` is `*`: the second one would only cost.
        if self.segments.len() == 1 || !self.last().is_empty() {
            self.segments.push(Vec::new());
        }
    }

    /// `key`, `key, 'default'`, or one of the characters that are special otherwise.
    fn variable(&mut self, inner: &str) -> Result<(), PolicyErrorKind> {
        let fault = || PolicyErrorKind::Variable(format!("${{{inner}}}"));
        if let "*" | "?" | "$" = inner {
            self.literal.push_str(inner);
            return Ok(());
        }
        let (key, default) = match inner.split_once(',') {
            Some((key, default)) => {
                let quoted = default.trim().strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
                (key.trim(), Some(quoted.ok_or_else(fault)?.into()))
            }
            None => (inner.trim(), None),
        };
        if key.is_empty() || key.contains(['*', '?', '$', '{']) {
            return Err(fault());
        }
        self.push(Piece::Variable { key: ConditionKey::new(key), default });
        Ok(())
    }
}

/// A pattern over ARNs: each of the six parts by itself, as the Arn operators compare.
#[derive(Clone, Debug)]
pub(crate) struct ArnPattern {
    parts: [Pattern; 6],
}

impl ArnPattern {
    pub(crate) fn compile(text: &str, variables: bool) -> Result<Option<Self>, PolicyErrorKind> {
        let syntax = Syntax { wildcards: true, variables, ignore_case: false };
        let mut texts = split_outside_variables(text);
        // A pattern that ends early in a wildcard leaves the later parts open.
        let is_open = text.ends_with('*') && (text == "*" || text.starts_with("arn:"));
        while is_open && texts.len() < 6 {
            texts.push("*");
        }
        let Ok(texts) = <[&str; 6]>::try_from(texts) else { return Ok(None) };
        let [a, b, c, d, e, f] = texts.map(|part| Pattern::compile(part, syntax));
        Ok(Some(Self { parts: [a?, b?, c?, d?, e?, f?] }))
    }

    pub(crate) fn matches(&self, arn: &str, facts: &Facts<'_>) -> bool {
        let mut texts = arn.splitn(6, ':');
        self.parts.iter().all(|part| texts.next().is_some_and(|text| part.matches(text, facts)))
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &ConditionKey> {
        self.parts.iter().flat_map(Pattern::keys)
    }

    /// True without wildcards and variables in any part.
    pub(crate) fn is_fixed(&self) -> bool {
        self.parts.iter().all(|part| part.literal().is_some())
    }

    /// True if it names one account.
    pub(crate) fn has_fixed_account(&self) -> bool {
        self.parts[4].literal().is_some_and(|account| !account.is_empty())
    }
}

/// Splits at the first five colons that are not inside `${...}`.
fn split_outside_variables(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut inside) = (0, false);
    for (at, c) in text.char_indices() {
        match c {
            '{' if text[..at].ends_with('$') => inside = true,
            '}' => inside = false,
            ':' if !inside && parts.len() < 5 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}
