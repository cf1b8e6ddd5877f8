//! query: form parameters, and XML answers in a result wrapper.

use std::fmt::Write;

use anyhow::{Result, bail};

use super::protocol::Codec;
use crate::naming::snake;
use crate::plan::{Member, Operation, Struct, Type};

/// Items of a list in a request where the model and the settings say nothing.
const LIST_ITEMS: usize = 1_000;

pub(crate) struct Query;

impl Codec for Query {
    fn parser(&self, operation: &Operation) -> Result<String> {
        let (name, input) = (&operation.name, &operation.input);
        let mut code = format!("/// Reads the input of `{name}`.\n");
        if input.members.is_empty() {
            let _ = writeln!(
                code,
                "pub fn parse_{}(_form: &Form) -> Result<{}, WireError> {{\nOk({} {{}})\n}}\n",
                operation.snake, input.name, input.name
            );
            return Ok(code);
        }
        let _ = writeln!(
            code,
            "pub fn parse_{}(form: &Form) -> Result<{}, WireError> {{\nFields::read(form, |fields| {{",
            operation.snake, input.name
        );
        read_members(&mut code, input)?;
        code += "})\n}\n\n";
        Ok(code)
    }

    fn writer(&self, operation: &Operation) -> Result<String> {
        let output = &operation.output;
        let (name, snake) = (&operation.name, &operation.snake);
        let argument = if output.members.is_empty() { "_output" } else { "output" };
        let mut code = format!(
            "/// The answer of `{name}`.\npub fn write_{snake}({argument}: &{}, request_id: &str) -> Vec<u8> {{\n",
            output.name
        );
        // UpdateRole has a wrapper with nothing in it, and clients look for it.
        if output.members.is_empty() && operation.root.is_empty() {
            let _ = writeln!(code, "XmlWriter::new(XMLNS, \"{name}Response\").finish(request_id)\n}}\n");
            return Ok(code);
        }
        let _ =
            writeln!(code, "let mut xml = XmlWriter::new(XMLNS, \"{name}Response\");\nxml.open({:?});", operation.root);
        for member in &output.members {
            member_writer(&mut code, member, "output", true)?;
        }
        let _ = writeln!(code, "xml.close({:?});\nxml.finish(request_id)\n}}\n", operation.root);
        Ok(code)
    }

    fn structure(&self, structure: &Struct) -> Result<String> {
        let mut code = String::new();
        if structure.read {
            let fields = if structure.members.is_empty() { "_fields" } else { "fields" };
            let name = &structure.name;
            let _ = writeln!(code, "pub(crate) fn read_{}({fields}: &Fields<'_>) -> Option<{name}> {{", snake(name));
            read_members(&mut code, structure)?;
            code += "}\n\n";
        }
        if structure.written {
            let name = &structure.name;
            let value = if structure.members.is_empty() { "_value" } else { "value" };
            let _ = writeln!(
                code,
                "pub(crate) fn write_{}(xml: &mut XmlWriter, tag: &str, {value}: &{name}) {{\nxml.open(tag);",
                snake(name)
            );
            for member in &structure.members {
                member_writer(&mut code, member, "value", false)?;
            }
            code += "xml.close(tag);\n}\n\n";
        }
        Ok(code)
    }
}

/// Statements that read every member, so that all faults are found, and the structure of what was read.
pub(super) fn read_members(code: &mut String, structure: &Struct) -> Result<()> {
    let mut values = String::new();
    for member in &structure.members {
        let field = &member.field;
        let _ = writeln!(code, "let {field} = {};", reader(member)?);
        let question = if member.required { ": {}?" } else { "" };
        let _ = writeln!(values, "{field}{},", question.replace("{}", field));
    }
    let _ = writeln!(code, "Some({} {{ {values} }})", structure.name);
    Ok(())
}

/// An expression of the member's field type; of an option of it where the member is required.
fn reader(member: &Member) -> Result<String> {
    let wire = &member.wire;
    let must = if member.required { "must" } else { "get" };
    let rules = rules(member.rules.as_deref());
    Ok(match &member.ty {
        Type::Struct(name) => format!("fields.{must}_structure({wire:?}, read_{})", snake(name)),
        Type::List { item, tag, flattened, limit, rules: item_rules } => {
            let tag = if *flattened { "" } else { tag };
            let limit = limit.unwrap_or(LIST_ITEMS);
            match item.as_ref() {
                Type::Struct(name) => {
                    format!("fields.{must}_structures({wire:?}, {tag:?}, {limit}, {rules}, read_{})", snake(name))
                }
                Type::List { .. } | Type::Map(_) => bail!("no reader for the items of {}", member.model_name),
                _ => {
                    let items = self::rules(item_rules.as_deref());
                    format!("fields.{must}_list({wire:?}, {tag:?}, {limit}, {rules}, {items})")
                }
            }
        }
        Type::Map(value) => match value.as_ref() {
            Type::Text | Type::Enum(_) => format!("fields.{must}_map({wire:?}, {LIST_ITEMS})"),
            _ => bail!("no reader for the map {}", member.model_name),
        },
        _ => format!("fields.{must}({wire:?}, {rules})"),
    })
}

fn rules(constant: Option<&str>) -> String {
    constant.map_or_else(|| "None".to_owned(), |constant| format!("Some(&rules::{constant})"))
}

/// Statements that print one member of `owner`. `top` is the result itself, whose lists are always there.
fn member_writer(code: &mut String, member: &Member, owner: &str, top: bool) -> Result<()> {
    let tag = &member.wire;
    let field = format!("{owner}.{}", member.field);
    let xml = if top { "&mut xml" } else { "xml" };
    match (&member.ty, member.required) {
        (Type::Struct(name), true) => {
            let _ = writeln!(code, "write_{}({xml}, {tag:?}, &{field});", snake(name));
        }
        (Type::Struct(name), false) => {
            let _ = writeln!(code, "if let Some(inner) = &{field} {{ write_{}({xml}, {tag:?}, inner); }}", snake(name));
        }
        (Type::List { item, tag: item_tag, flattened, .. }, _) => {
            let guarded = !top && !member.required && member.omit_empty && !flattened;
            if guarded {
                let _ = writeln!(code, "if !{field}.is_empty() {{");
            }
            if !flattened {
                let _ = writeln!(code, "xml.open({tag:?});");
            }
            let item_tag = if *flattened { tag } else { item_tag };
            let statement = match item.as_ref() {
                Type::Struct(name) => format!("write_{}({xml}, {item_tag:?}, item);", snake(name)),
                Type::List { .. } | Type::Map(_) => bail!("no writer for the items of {}", member.model_name),
                _ => format!("xml.element({item_tag:?}, item);"),
            };
            let _ = writeln!(code, "for item in &{field} {{ {statement} }}");
            if !flattened {
                let _ = writeln!(code, "xml.close({tag:?});");
            }
            if guarded {
                code.push_str("}\n");
            }
        }
        (Type::Map(value), _) => {
            if value.is_collection() || value.structure().is_some() {
                bail!("no writer for the map {}", member.model_name);
            }
            let _ = writeln!(code, "xml.map({tag:?}, &{field});");
        }
        (_, true) => {
            let _ = writeln!(code, "xml.element({tag:?}, &{field});");
        }
        (_, false) => {
            let _ = writeln!(code, "xml.optional({tag:?}, {field}.as_ref());");
        }
    }
    Ok(())
}
