//! The routing table. The walk over it is written by hand, in the wire crate's `router`.

use std::fmt::Write;

use crate::naming::pascal;
use crate::plan::{Kind, Routing, Rule};

pub(crate) fn emit(routing: &Routing) -> String {
    let mut code = "//! The routing table: every operation of the service model, served or not.\n\n\
        use super::operation::Operation;\nuse crate::router::{KeyKind, Rule, Selector};\n\n"
        .to_owned();
    selectors(&mut code, routing);
    let _ = writeln!(
        code,
        "/// Selectors that an operation may ignore.\npub(crate) const WEAK: u64 = {:#x};\n",
        routing.weak
    );
    let _ = writeln!(code, "/// The version id.\npub(crate) const VERSION: u64 = {:#x};\n", routing.version);
    let header = routing.deciding_header.as_deref().unwrap_or_default();
    let _ = writeln!(
        code,
        "/// The header that decides between neighbours.\npub(crate) const DECIDING_HEADER: &str = {header:?};\n"
    );
    parameters(&mut code, routing);
    rules(&mut code, routing);
    code
}

fn selectors(code: &mut String, routing: &Routing) {
    code.push_str(
        "/// How a query parameter takes part in routing.\n\
         pub(crate) fn selector(name: &str, value: &str) -> Selector {\nmatch name {\n",
    );
    for (index, (name, value)) in routing.selectors.iter().enumerate() {
        let bit = 1u64 << index;
        let _ = match value {
            None => writeln!(code, "{name:?} => Selector::Bit({bit:#x}),"),
            Some(value) => writeln!(
                code,
                "{name:?} if value == {value:?} => Selector::Bit({bit:#x}),\n{name:?} => Selector::Refused,"
            ),
        };
    }
    code.push_str("_ if is_parameter(name) => Selector::Parameter,\n_ => Selector::Unknown,\n}\n}\n\n");
}

fn parameters(code: &mut String, routing: &Routing) {
    let names: Vec<String> = routing.parameters.iter().map(|name| format!("{name:?}")).collect();
    let _ = writeln!(code, "fn is_parameter(name: &str) -> bool {{\nmatches!(name, {})\n}}\n", names.join(" | "));
}

fn rules(code: &mut String, routing: &Routing) {
    code.push_str(
        "/// The rules of a kind of path and a method, most selective first; none where the service has no such operation.\n\
         pub(crate) fn rules(kind: KeyKind, method: &str) -> &'static [Rule] {\nmatch (kind, method) {\n",
    );
    let name = |kind: Kind, method: &str| format!("{}_{method}", format!("{kind:?}").to_uppercase());
    for (kind, method) in routing.rules.keys() {
        let _ = writeln!(code, "(KeyKind::{kind:?}, {method:?}) => {},", name(*kind, method));
    }
    code.push_str("_ => &[],\n}\n}\n\n");
    for ((kind, method), rules) in &routing.rules {
        let _ = writeln!(code, "static {}: &[Rule] = &[", name(*kind, method));
        for rule in rules {
            let Rule { operation, served, required, accepted, header } = rule;
            let served = if *served { format!("Some(Operation::{})", pascal(operation)) } else { "None".to_owned() };
            let _ = writeln!(
                code,
                "// {operation}\nRule {{ operation: {served}, required: {required:#x}, accepted: {accepted:#x}, header: {header:?} }},"
            );
        }
        code.push_str("];\n\n");
    }
}
