//! The enumeration of operations.

use std::fmt::Write;

use crate::naming::pascal;
use crate::plan::{Body, Plan};

pub(crate) fn emit(plan: &Plan) -> String {
    let mut code = "//! The operations that are served.\n\nuse crate::router::BodyKind;\n\n\
        /// An operation of the allow-list.\n\
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]\npub enum Operation {\n"
        .to_owned();
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
    code += "}\n}\n\n/// What the request carries.\npub fn body(self) -> BodyKind {\nmatch self {\n";
    for operation in &plan.operations {
        let name = pascal(&operation.name);
        let _ = match operation.body {
            Body::None => Ok(()),
            Body::Document(limit) => writeln!(code, "Self::{name} => BodyKind::Document {{ limit_bytes: {limit} }},"),
            Body::Stream => writeln!(code, "Self::{name} => BodyKind::Stream,"),
        };
    }
    code += "_ => BodyKind::None,\n}\n}\n}\n";
    code
}
