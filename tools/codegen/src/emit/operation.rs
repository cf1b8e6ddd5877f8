//! The enumeration of operations.

use std::fmt::Write;

use crate::naming::pascal;
use crate::plan::{Body, Plan};

pub(crate) fn emit(plan: &Plan) -> String {
    let by_path = plan.routing.is_some();
    let imports = if by_path { "use crate::router::BodyKind;\n\n" } else { "" };
    let mut code = format!(
        "//! The operations that are served.\n\n{imports}\
         /// An operation of the allow-list.\n\
         #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]\npub enum Operation {{\n"
    );
    for operation in &plan.operations {
        let _ = writeln!(code, "/// `{}`\n{},", operation.name, pascal(&operation.name));
    }
    code += "}\n\nimpl Operation {\n/// Every operation.\npub const ALL: &'static [Self] = &[\n";
    for operation in &plan.operations {
        let _ = writeln!(code, "Self::{},", pascal(&operation.name));
    }
    code += "];\n\n/// The name in the service model.\npub fn as_str(self) -> &'static str {\nmatch self {\n";
    for operation in &plan.operations {
        let _ = writeln!(code, "Self::{} => {:?},", pascal(&operation.name), operation.name);
    }
    code += "}\n}\n";
    if by_path {
        body_kinds(&mut code, plan);
    } else {
        actions(&mut code, plan);
    }
    code + "}\n"
}

fn body_kinds(code: &mut String, plan: &Plan) {
    code.push_str("\n/// What the request carries.\npub fn body(self) -> BodyKind {\nmatch self {\n");
    for operation in &plan.operations {
        let name = pascal(&operation.name);
        let _ = match operation.body {
            Body::None => Ok(()),
            Body::Document(limit) => writeln!(code, "Self::{name} => BodyKind::Document {{ limit_bytes: {limit} }},"),
            Body::Stream => writeln!(code, "Self::{name} => BodyKind::Stream,"),
        };
    }
    code.push_str("_ => BodyKind::None,\n}\n}\n");
}

fn actions(code: &mut String, plan: &Plan) {
    code.push_str("\n/// The operation of an `Action`.\npub fn from_action(action: &str) -> Option<Self> {\nSome(match action {\n");
    for operation in &plan.operations {
        let _ = writeln!(code, "{:?} => Self::{},", operation.name, pascal(&operation.name));
    }
    code.push_str("_ => return None,\n})\n}\n");
}
