//! The parameters of a request as the tree that their names describe: `Tags.member.1.Key`.

use std::collections::BTreeMap;

use crate::error::WireError;

/// Names deeper than this are of no model.
const DEPTH_MAX: usize = 12;
/// Parameters of one request; what bounds their sizes is the size of the body.
const PARAMETERS_MAX: usize = 20_000;

/// The parameters of a request.
#[derive(Debug, Default)]
pub struct Form {
    root: Node,
}

/// A part of a name, with what stands behind it.
#[derive(Default)]
pub(crate) struct Node {
    pub(crate) value: Option<String>,
    children: BTreeMap<String, Node>,
}

// Parameters hold passwords and tokens.
impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.children.keys()).finish()
    }
}

impl Form {
    /// Reads decoded parameters. A name that is given twice is refused: services must not differ in which they take.
    pub fn parse(parameters: &[(String, String)]) -> Result<Self, WireError> {
        let malformed = |message: String| WireError::new("MalformedInput", 400, message);
        if parameters.len() > PARAMETERS_MAX {
            return Err(malformed(format!("More than {PARAMETERS_MAX} parameters")));
        }
        let mut root = Node::default();
        for (name, value) in parameters {
            if name.split('.').count() > DEPTH_MAX {
                return Err(malformed("A parameter's name has too many parts".to_owned()));
            }
            let node = name.split('.').fold(&mut root, |node, part| node.children.entry(part.to_owned()).or_default());
            if node.value.replace(value.clone()).is_some() {
                return Err(malformed("A parameter was given more than once".to_owned()));
            }
        }
        Ok(Self { root })
    }

    /// The value of a parameter by its whole name, without a dot.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.root.child(name)?.value.as_deref()
    }

    pub(crate) fn root(&self) -> &Node {
        &self.root
    }
}

impl Node {
    pub(crate) fn child(&self, name: &str) -> Option<&Node> {
        self.children.get(name)
    }

    /// Children whose names are numbers, in order of the numbers.
    pub(crate) fn numbered(&self) -> Vec<(u32, &Node)> {
        let numbered = self.children.iter().filter_map(|(name, node)| Some((name.parse().ok()?, node)));
        let mut numbered: Vec<(u32, &Node)> = numbered.collect();
        numbered.sort_by_key(|(number, _)| *number);
        numbered
    }

    pub(crate) fn has_children(&self) -> bool {
        !self.children.is_empty()
    }
}
