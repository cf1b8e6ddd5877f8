//! The structures' definitions.

use std::fmt::Write;

use crate::plan::{Member, Operation, Place, Plan, Struct};

/// The structures that every operation has.
pub(crate) fn input_and_output(operation: &Operation) -> String {
    let mut code = String::new();
    definition(&mut code, &operation.input, &format!("Input of `{}`.", operation.name));
    definition(&mut code, &operation.output, &format!("Output of `{}`.", operation.name));
    code
}

/// The structures that only this operation uses.
pub(crate) fn own(plan: &Plan, operation: &Operation) -> String {
    let mut code = String::new();
    for structure in operation.own.iter().filter_map(|name| plan.structs.get(name)) {
        definition(&mut code, structure, &format!("The structure `{}`.", structure.name));
    }
    code
}

/// The structures that several operations use.
pub(crate) fn shared(plan: &Plan) -> String {
    let mut code = String::new();
    for (name, structure) in plan.structs.iter().filter(|(name, _)| !super::is_owned(plan, name)) {
        definition(&mut code, structure, &format!("The structure `{name}`."));
    }
    code
}

fn definition(code: &mut String, structure: &Struct, docs: &str) {
    let default = if structure.defaults { ", Default" } else { "" };
    let _ = writeln!(code, "/// {docs}\n#[derive(Clone, Debug, PartialEq, Eq{default})]");
    if structure.members.is_empty() {
        let _ = writeln!(code, "pub struct {} {{}}\n", structure.name);
        return;
    }
    let _ = writeln!(code, "pub struct {} {{", structure.name);
    for member in &structure.members {
        let _ = writeln!(code, "/// {}\npub {}: {},", place(member), member.field, member.rust());
    }
    code.push_str("}\n\n");
}

fn place(member: &Member) -> String {
    match member.place {
        Place::Path => format!("`{}` of the path.", member.wire),
        Place::Query => format!("Query parameter `{}`.", member.wire),
        Place::Header => format!("Header `{}`.", member.wire),
        Place::HeaderMap => format!("Headers `{}*`, names without the prefix.", member.wire),
        Place::Body => format!("Element `{}`.", member.wire),
        Place::Attribute => format!("Attribute `{}`.", member.wire),
    }
}
