//! What the emitted parsers call. Every fault of a request is found before it is refused, as AWS does.

use std::cell::RefCell;

use crate::error::WireError;
use crate::form::{Form, Node};
use crate::rules::Rules;
use crate::text::{FromText, Measure, quoted};

/// Faults that a refusal lists; the rest are only counted.
const FAULTS_LISTED_MAX: usize = 20;

/// The members of the input, or of a structure inside it.
pub(crate) struct Fields<'a> {
    node: &'a Node,
    /// The path of the structure as refusals spell it, with a dot behind; empty for the input.
    path: String,
    faults: &'a RefCell<Vec<String>>,
}

impl<'a> Fields<'a> {
    /// Reads an input, or refuses it with all of its faults.
    pub(crate) fn read<T>(form: &'a Form, read: impl FnOnce(&Fields<'_>) -> Option<T>) -> Result<T, WireError> {
        let faults = RefCell::new(Vec::new());
        let fields = Fields { node: form.root(), path: String::new(), faults: &faults };
        let input = read(&fields);
        let faults = faults.into_inner();
        match input {
            Some(input) if faults.is_empty() => Ok(input),
            _ => Err(refusal(&faults)),
        }
    }

    /// An optional value.
    pub(crate) fn get<T: FromText>(&self, name: &str, rules: Option<&Rules>) -> Option<T> {
        let text = self.node.child(name)?.value.as_deref()?;
        self.value(&self.spelled(name), text, rules)
    }

    /// A value that must be there.
    pub(crate) fn must<T: FromText>(&self, name: &str, rules: Option<&Rules>) -> Option<T> {
        self.present(name, self.node.child(name).is_some_and(|node| node.value.is_some()));
        self.get(name, rules)
    }

    /// An optional structure.
    pub(crate) fn get_structure<T>(&self, name: &str, read: fn(&Fields<'_>) -> Option<T>) -> Option<T> {
        let node = self.node.child(name).filter(|node| node.has_children())?;
        read(&self.inside(node, self.spelled(name)))
    }

    /// A structure that must be there.
    #[allow(dead_code, reason = "not every model has one")]
    pub(crate) fn must_structure<T>(&self, name: &str, read: fn(&Fields<'_>) -> Option<T>) -> Option<T> {
        self.present(name, self.node.child(name).is_some_and(Node::has_children));
        self.get_structure(name, read)
    }

    /// A list of values; empty when it is not given.
    pub(crate) fn get_list<T: FromText>(
        &self,
        name: &str,
        tag: &str,
        limit: usize,
        rules: Option<&Rules>,
        item_rules: Option<&Rules>,
    ) -> Vec<T> {
        let items = self.items(name, tag, limit, rules);
        let values = items.iter().filter_map(|(path, node)| {
            let text = node.value.as_deref();
            self.present_at(path, text.is_some());
            self.value(path, text?, item_rules)
        });
        values.collect()
    }

    /// A list of values that must be there.
    pub(crate) fn must_list<T: FromText>(
        &self,
        name: &str,
        tag: &str,
        limit: usize,
        rules: Option<&Rules>,
        item_rules: Option<&Rules>,
    ) -> Option<Vec<T>> {
        self.present(name, self.node.child(name).is_some());
        Some(self.get_list(name, tag, limit, rules, item_rules))
    }

    /// A list of structures; empty when it is not given.
    pub(crate) fn get_structures<T>(
        &self,
        name: &str,
        tag: &str,
        limit: usize,
        rules: Option<&Rules>,
        read: fn(&Fields<'_>) -> Option<T>,
    ) -> Vec<T> {
        let items = self.items(name, tag, limit, rules);
        items.into_iter().filter_map(|(path, node)| read(&self.inside(node, path))).collect()
    }

    /// A list of structures that must be there.
    pub(crate) fn must_structures<T>(
        &self,
        name: &str,
        tag: &str,
        limit: usize,
        rules: Option<&Rules>,
        read: fn(&Fields<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.present(name, self.node.child(name).is_some());
        Some(self.get_structures(name, tag, limit, rules, read))
    }

    /// A map as `Name.entry.1.key` and `Name.entry.1.value`; empty when it is not given.
    #[allow(dead_code, reason = "not every model has one")]
    pub(crate) fn get_map<T: FromText>(&self, name: &str, limit: usize) -> Vec<(String, T)> {
        let entries = self.items(name, "entry", limit, None);
        let pairs = entries.into_iter().filter_map(|(path, node)| {
            let entry = self.inside(node, path);
            let (key, value) = (entry.must("key", None), entry.must("value", None));
            Some((key?, value?))
        });
        pairs.collect()
    }

    /// The numbered items of a list with their paths; `tag` stands before the number unless the list is flattened.
    fn items(&self, name: &str, tag: &str, limit: usize, rules: Option<&Rules>) -> Vec<(String, &'a Node)> {
        let path = self.spelled(name);
        let Some(list) = self.node.child(name) else { return Vec::new() };
        let list = if tag.is_empty() { Some(list) } else { list.child(tag) };
        let items = list.map(Node::numbered).unwrap_or_default();
        if items.len() > limit {
            self.fault(&path, None, &format!("Member must have length less than or equal to {limit}"));
            return Vec::new();
        }
        if let Some(broken) = rules.and_then(|rules| rules.broken(Measure::Length(items.len()), None)) {
            self.fault(&path, None, &broken);
        }
        let word = if tag.is_empty() { String::new() } else { format!("{tag}.") };
        items.into_iter().map(|(number, node)| (format!("{path}.{number}.{word}"), node)).map(trimmed).collect()
    }

    fn inside(&self, node: &'a Node, path: String) -> Fields<'a> {
        Fields { node, path: path + ".", faults: self.faults }
    }

    fn value<T: FromText>(&self, path: &str, text: &str, rules: Option<&Rules>) -> Option<T> {
        let shown = T::SHOWN.then_some(text);
        let Some(value) = T::from_text(text) else {
            self.fault(path, shown, &T::expected());
            return None;
        };
        if let Some(broken) = rules.and_then(|rules| rules.broken(value.measure(), Some(text))) {
            self.fault(path, shown, &broken);
        }
        Some(value)
    }

    fn present(&self, name: &str, is_there: bool) {
        self.present_at(&self.spelled(name), is_there);
    }

    fn present_at(&self, path: &str, is_there: bool) {
        if !is_there {
            let fault = format!("Value null at '{path}' failed to satisfy constraint: Member must not be null");
            self.faults.borrow_mut().push(fault);
        }
    }

    fn fault(&self, path: &str, value: Option<&str>, constraint: &str) {
        let value = value.map(|value| format!(" '{}'", quoted(value))).unwrap_or_default();
        let fault = format!("Value{value} at '{path}' failed to satisfy constraint: {constraint}");
        self.faults.borrow_mut().push(fault);
    }

    /// `UserName` as `userName`, below the path.
    fn spelled(&self, name: &str) -> String {
        let mut chars = name.chars();
        let first = chars.next().map(|c| c.to_ascii_lowercase());
        first.into_iter().fold(self.path.clone(), |mut path, c| {
            path.push(c);
            path
        }) + chars.as_str()
    }
}

fn trimmed((path, node): (String, &Node)) -> (String, &Node) {
    (path.trim_end_matches('.').to_owned(), node)
}

fn refusal(faults: &[String]) -> WireError {
    let (count, noun) = (faults.len(), if faults.len() == 1 { "error" } else { "errors" });
    let listed = faults[..count.min(FAULTS_LISTED_MAX)].join("; ");
    WireError::validation(format!("{count} validation {noun} detected: {listed}"))
}
