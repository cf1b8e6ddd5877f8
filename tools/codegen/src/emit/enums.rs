//! Enumerations whose values the server checks.

use std::fmt::Write;

use super::protocol::Protocol;
use crate::naming::variant;
use crate::plan::{Enum, Operation, Plan};

/// The enumerations that several operations use.
pub(crate) fn shared(plan: &Plan) -> String {
    emit(plan, |name| !super::is_owned(plan, name))
}

/// The enumerations that only this operation uses.
pub(crate) fn own(plan: &Plan, operation: &Operation) -> String {
    emit(plan, |name| operation.own.contains(name))
}

fn emit(plan: &Plan, wanted: impl Fn(&str) -> bool) -> String {
    let mut code = String::new();
    for item in plan.enums.iter().filter(|item| wanted(&item.name)) {
        definition(&mut code, item);
        names(&mut code, item);
        if matches!(plan.protocol, Protocol::Query | Protocol::Json) {
            plain_conversions(&mut code, item);
        } else {
            conversions(&mut code, item);
        }
        if plan.protocol == Protocol::Json {
            let _ = writeln!(
                code,
                "impl ToJson for {} {{\nfn to_json(&self) -> Value {{\nself.as_str().into()\n}}\n}}\n",
                item.name
            );
        }
    }
    code
}

fn definition(code: &mut String, item: &Enum) {
    let Enum { name, shape, values, .. } = item;
    let _ = writeln!(
        code,
        "/// The values of `{shape}`.\n#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]\npub enum {name} {{"
    );
    for value in values {
        let _ = writeln!(code, "/// `{value}`\n{},", variant(value));
    }
    code.push_str("}\n\n");
}

fn names(code: &mut String, item: &Enum) {
    let Enum { name, values, .. } = item;
    let all: Vec<String> = values.iter().map(|value| format!("Self::{}", variant(value))).collect();
    let _ =
        writeln!(code, "impl {name} {{\n/// Every value.\npub const ALL: &'static [Self] = &[{}];\n", all.join(", "));
    code.push_str("/// The value as it is on the wire.\npub fn as_str(self) -> &'static str {\nmatch self {\n");
    for value in values {
        let _ = writeln!(code, "Self::{} => {value:?},", variant(value));
    }
    code.push_str("}\n}\n}\n\n");
}

/// Of the protocols whose refusals do not depend on the enumeration.
fn plain_conversions(code: &mut String, item: &Enum) {
    let Enum { name, .. } = item;
    let _ = writeln!(
        code,
        "impl FromText for {name} {{\nfn from_text(text: &str) -> Option<Self> {{\n\
         Self::ALL.iter().copied().find(|value| value.as_str() == text)\n}}\n\n\
         fn expected() -> String {{\none_of(Self::ALL.iter().map(|value| value.as_str()))\n}}\n}}\n"
    );
    printing(code, name);
    let _ = writeln!(
        code,
        "impl FromStr for {name} {{\ntype Err = UnknownValue;\n\n\
         fn from_str(text: &str) -> Result<Self, UnknownValue> {{\nSelf::from_text(text).ok_or(UnknownValue)\n}}\n}}\n"
    );
}

fn printing(code: &mut String, name: &str) {
    let _ = writeln!(
        code,
        "impl ToText for {name} {{\nfn with_text<R>(&self, then: impl FnOnce(&str) -> R) -> R {{\nthen(self.as_str())\n}}\n}}\n"
    );
}

fn conversions(code: &mut String, item: &Enum) {
    let Enum { name, error, ignore_case, .. } = item;
    let _ = writeln!(code, "impl FromText for {name} {{\nfn from_text(text: &str) -> Option<Self> {{");
    if *ignore_case {
        code.push_str("Self::ALL.iter().copied().find(|value| value.as_str().eq_ignore_ascii_case(text))\n}\n");
    } else {
        code.push_str("Self::ALL.iter().copied().find(|value| value.as_str() == text)\n}\n");
    }
    if error != "InvalidArgument" {
        let _ =
            writeln!(code, "\nfn invalid(_: &str, _: &str) -> WireError {{\nWireError::new(ErrorCode::{error})\n}}");
    }
    code.push_str("}\n\n");
    printing(code, name);
    let _ = writeln!(
        code,
        "impl FromStr for {name} {{\ntype Err = WireError;\n\n\
         fn from_str(text: &str) -> Result<Self, WireError> {{\n\
         Self::from_text(text).ok_or_else(|| Self::invalid({name:?}, text))\n}}\n}}\n"
    );
}
