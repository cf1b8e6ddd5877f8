//! Prints a [`Plan`] as Rust and Markdown.

mod coverage;
mod enums;
mod errors;
mod file;
mod json;
mod operation;
pub(crate) mod protocol;
mod query;
mod rest_xml;
mod router;
mod rules;
mod structs;

use std::fmt::Write;

use anyhow::Result;

use crate::output::Tree;
use crate::plan::{Operation, Plan};
use crate::settings::{ServiceEntry, Settings};

use self::file::Imports;
use self::protocol::Protocol;

/// Emits every file of a service.
pub(crate) fn service(plan: &Plan, settings: &Settings, entry: &ServiceEntry, tree: &mut Tree) -> Result<()> {
    let out = &entry.out;
    let imports = Imports::new(plan);
    let codec = plan.protocol.codec()?;
    for operation in &plan.operations {
        let mut code = structs::input_and_output(operation);
        code += &structs::own(plan, operation);
        code += &enums::own(plan, operation);
        code += &codec.parser(operation)?;
        code += &codec.writer(operation)?;
        for structure in operation.own.iter().filter_map(|name| plan.structs.get(name)) {
            code += &codec.structure(structure)?;
        }
        let docs = format!("//! `{}`: types, parser and writer.\n\n", operation.name);
        tree.rust(format!("{out}/{}.rs", operation.snake), &imports.file(&docs, &code))?;
    }
    let mut code = structs::shared(plan);
    for structure in plan.structs.values().filter(|structure| !is_owned(plan, &structure.name)) {
        code += &codec.structure(structure)?;
    }
    tree.rust(format!("{out}/shared.rs"), &imports.file("//! Structures of more than one operation.\n\n", &code))?;
    tree.rust(format!("{out}/enums.rs"), &imports.file("//! Enumerations.\n\n", &enums::shared(plan)))?;
    tree.rust(format!("{out}/errors.rs"), &errors::emit(plan))?;
    tree.rust(format!("{out}/operation.rs"), &operation::emit(plan))?;
    match &plan.routing {
        Some(routing) => tree.rust(format!("{out}/routes.rs"), &router::emit(routing))?,
        None => tree.rust(format!("{out}/rules.rs"), &rules::emit(plan))?,
    }
    tree.rust(format!("{out}/mod.rs"), &module(plan, settings))?;
    tree.page(entry.coverage.clone(), &coverage::emit(plan, settings));
    Ok(())
}

/// Whether the structure or enumeration stands in the file of its only operation.
fn is_owned(plan: &Plan, name: &str) -> bool {
    plan.operations.iter().any(|operation| operation.own.contains(name))
}

/// The module file: every name once, so that nothing is exported by a glob.
fn module(plan: &Plan, settings: &Settings) -> String {
    let mut code = format!("//! The wire layer of {}.\n\n", settings.title);
    for operation in &plan.operations {
        let _ = writeln!(code, "mod {};", operation.snake);
    }
    let table = if plan.routing.is_some() { "pub(crate) mod routes" } else { "pub(crate) mod rules" };
    let _ = writeln!(code, "mod enums;\nmod errors;\nmod operation;\n{table};\nmod shared;\n");
    code += "pub use self::errors::ErrorCode;\npub use self::operation::Operation;\n";
    for Operation { snake, .. } in &plan.operations {
        let _ = writeln!(code, "pub use self::{snake}::{{parse_{snake}, write_{snake}}};");
    }
    if plan.protocol == Protocol::Json {
        let _ = writeln!(
            code,
            "\n/// What stands before an operation in `X-Amz-Target`.\npub const TARGET_PREFIX: &str = {:?};\n",
            plan.target_prefix
        );
        return code + &types_module(plan);
    }
    let _ = writeln!(code, "\n/// The namespace of every document.\npub const XMLNS: &str = \"{}\";\n", settings.xmlns);
    if plan.routing.is_none() {
        code += "/// The operation that a form asks for, or `InvalidAction`.\npub fn route(form: &Form) -> Result<Operation, WireError> {\n\
            find(form, VERSION, Operation::from_action)\n}\n\n";
        code = code.replacen(
            "mod ",
            "use crate::error::WireError;\nuse crate::form::Form;\nuse crate::router::find;\n\nmod ",
            1,
        );
        let _ = writeln!(
            code,
            "/// The version that requests must ask for.\npub const VERSION: &str = {:?};\n",
            plan.version
        );
    }
    code + &types_module(plan)
}

/// The module that names every type.
fn types_module(plan: &Plan) -> String {
    let mut code = "/// Inputs, outputs and what they are made of.\npub mod types {\n".to_owned();
    for operation in &plan.operations {
        let own: String = operation.own.iter().map(|name| format!(", {name}")).collect();
        let (input, output) = (&operation.input.name, &operation.output.name);
        let _ = writeln!(code, "pub use super::{}::{{{input}, {output}{own}}};", operation.snake);
    }
    let enums = plan.enums.iter().map(|item| item.name.as_str());
    let enums: Vec<&str> = enums.filter(|name| !is_owned(plan, name)).collect();
    if !enums.is_empty() {
        let _ = writeln!(code, "pub use super::enums::{{{}}};", enums.join(", "));
    }
    let shared: Vec<&str> = plan.structs.keys().map(String::as_str).filter(|name| !is_owned(plan, name)).collect();
    if !shared.is_empty() {
        let _ = writeln!(code, "pub use super::shared::{{{}}};", shared.join(", "));
    }
    code += "}\n";
    code
}
