//! The table of error codes.

use std::fmt::Write;

use super::protocol::Protocol;
use crate::plan::Plan;

pub(crate) fn emit(plan: &Plan) -> String {
    let mut code = "//! Error codes.\n\n\
        /// An error code with its HTTP status and usual message.\n\
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]\npub enum ErrorCode {\n"
        .to_owned();
    for name in plan.errors.keys() {
        let _ = writeln!(code, "/// `{name}`\n{name},");
    }
    code += "}\n\nstruct Row { code: ErrorCode, name: &'static str, status: u16, message: &'static str }\n\n";
    code += "/// In the order of the enum, so that a code is its own index.\nstatic TABLE: &[Row] = &[\n";
    for (name, (status, message)) in &plan.errors {
        let _ = writeln!(
            code,
            "Row {{ code: ErrorCode::{name}, name: {name:?}, status: {status}, message: {message:?} }},"
        );
    }
    code += "];\n\nimpl ErrorCode {\n\
        /// Every code.\npub fn all() -> impl Iterator<Item = Self> {\nTABLE.iter().map(|row| row.code)\n}\n\n\
        /// The code as it is on the wire.\npub fn as_str(self) -> &'static str {\nTABLE[self as usize].name\n}\n\n\
        /// The HTTP status.\npub fn status(self) -> u16 {\nTABLE[self as usize].status\n}\n\n\
        /// The message where there is nothing more to say.\npub fn message(self) -> &'static str {\nTABLE[self as usize].message\n}\n\n\
        /// The code of a name.\npub fn from_name(name: &str) -> Option<Self> {\n\
        TABLE.iter().find(|row| row.name == name).map(|row| row.code)\n}\n}\n";
    if matches!(plan.protocol, Protocol::Query | Protocol::Json) {
        code += "\nimpl ErrorCode {\n/// The refusal with a message of its own.\n\
            pub fn with(self, message: impl Into<String>) -> WireError {\n\
            WireError::new(self.as_str(), self.status(), message)\n}\n}\n\n\
            impl From<ErrorCode> for WireError {\nfn from(code: ErrorCode) -> Self {\ncode.with(code.message())\n}\n}\n";
        code = code.replacen("//! Error codes.\n\n", "//! Error codes.\n\nuse crate::error::WireError;\n\n", 1);
    }
    code
}
