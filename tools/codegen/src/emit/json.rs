//! json: the operation in `X-Amz-Target`, JSON bodies both ways.

use std::fmt::Write;

use anyhow::{Result, bail};

use super::protocol::Codec;
use super::query::read_members;
use crate::naming::snake;
use crate::plan::{Member, Operation, Struct, Type};

pub(crate) struct Json;

impl Codec for Json {
    fn parser(&self, operation: &Operation) -> Result<String> {
        let (name, snake, input) = (&operation.name, &operation.snake, &operation.input);
        let mut code = format!(
            "/// Reads the input of `{name}`.\npub fn parse_{snake}(document: &Document) -> Result<{}, WireError> {{\n",
            input.name
        );
        let fields = if input.members.is_empty() { "_fields" } else { "fields" };
        let _ = writeln!(code, "Fields::read(document, |{fields}| {{");
        read_members(&mut code, input)?;
        code += "})\n}\n\n";
        Ok(code)
    }

    fn writer(&self, operation: &Operation) -> Result<String> {
        let (name, snake, output) = (&operation.name, &operation.snake, &operation.output);
        if output.members.is_empty() {
            // AWS answers with nothing at all.
            return Ok(format!(
                "/// The answer of `{name}`.\npub fn write_{snake}(_output: &{}) -> Vec<u8> {{\nVec::new()\n}}\n\n",
                output.name
            ));
        }
        let mut code = format!(
            "/// The answer of `{name}`.\npub fn write_{snake}(output: &{}) -> Vec<u8> {{\nlet mut json = Object::default();\n",
            output.name
        );
        for member in &output.members {
            member_writer(&mut code, member, "output", true)?;
        }
        code += "json.into_bytes()\n}\n\n";
        Ok(code)
    }

    fn structure(&self, structure: &Struct) -> Result<String> {
        let mut code = String::new();
        let name = &structure.name;
        if structure.read {
            let _ = writeln!(code, "pub(crate) fn read_{}(fields: &Fields<'_>) -> Option<{name}> {{", snake(name));
            read_members(&mut code, structure)?;
            code += "}\n\n";
        }
        if structure.written {
            let _ = writeln!(
                code,
                "impl ToJson for {name} {{\nfn to_json(&self) -> Value {{\nlet mut json = Object::default();"
            );
            for member in &structure.members {
                member_writer(&mut code, member, "self", false)?;
            }
            code += "json.into_value()\n}\n}\n\n";
        }
        Ok(code)
    }
}

/// Statements that print one member of `owner`. `top` is the answer itself, whose lists are always there.
fn member_writer(code: &mut String, member: &Member, owner: &str, top: bool) -> Result<()> {
    let (wire, field) = (&member.wire, format!("{owner}.{}", member.field));
    let _ = match (&member.ty, member.required) {
        (Type::List { .. }, false) if !top => {
            writeln!(code, "if !{field}.is_empty() {{ json.list({wire:?}, &{field}); }}")
        }
        (Type::List { .. }, _) => writeln!(code, "json.list({wire:?}, &{field});"),
        (Type::Map(value), _) => match value.as_ref() {
            Type::Text => writeln!(code, "if !{field}.is_empty() {{ json.map({wire:?}, &{field}); }}"),
            _ => bail!("no writer for the map {}", member.model_name),
        },
        (_, true) => writeln!(code, "json.member({wire:?}, &{field});"),
        (_, false) => writeln!(code, "json.optional({wire:?}, {field}.as_ref());"),
    };
    Ok(())
}
