//! rest-xml: path, query, headers and XML bodies.

use std::fmt::Write;

use anyhow::{Result, bail, ensure};

use super::protocol::Codec;
use crate::naming::snake;
use crate::plan::{Body, Member, Operation, Place, Struct, TimeFormat, Type};

/// Items of a list in a request document where the settings say nothing.
const LIST_ITEMS: usize = 1_000;

pub(crate) struct RestXml;

impl Codec for RestXml {
    fn parser(&self, operation: &Operation) -> Result<String> {
        let input = &operation.input;
        let refused: Vec<String> = input.refused.iter().map(|member| format!("{:?}", member.wire)).collect();
        let reads_body = input.payload.is_some();
        let reads_fields = !input.refused.is_empty() || input.members.iter().any(|m| m.place != Place::Body);
        let mut code = format!(
            "/// Reads the input of `{}`.\npub fn parse_{}({}: &WireRequest<'_>, {}: &[u8]) -> Result<{}, WireError> {{\n",
            operation.name,
            operation.snake,
            if reads_fields { "request" } else { "_request" },
            if reads_body { "body" } else { "_body" },
            input.name,
        );
        if reads_fields {
            code += "let fields = Fields::new(request);\n";
        }
        if !refused.is_empty() {
            let _ = writeln!(code, "fields.refuse(&[{}])?;", refused.join(", "));
        }
        let _ = writeln!(code, "Ok({} {{", input.name);
        for (index, member) in input.members.iter().enumerate() {
            let value = match member.place {
                Place::Body if input.payload == Some(index) => payload_parser(operation, member)?,
                _ => field_parser(member)?,
            };
            let _ = writeln!(code, "{}: {value}?,", member.field);
        }
        code += "})\n}\n\n";
        Ok(code)
    }

    fn writer(&self, operation: &Operation) -> Result<String> {
        let output = &operation.output;
        let argument = if output.members.is_empty() { "_output" } else { "output" };
        let mut code = format!(
            "/// The answer of `{}`.\npub fn write_{}({argument}: &{}) -> WireResponse {{\n",
            operation.name, operation.snake, output.name
        );
        let mut body = String::new();
        writer_body(&mut body, operation)?;
        let status = status(operation);
        if body.is_empty() {
            let _ = writeln!(code, "Answer::new({status}).finish()\n}}\n");
        } else {
            let _ = writeln!(code, "let mut answer = Answer::new({status});\n{body}answer.finish()\n}}\n");
        }
        Ok(code)
    }

    fn structure(&self, structure: &Struct) -> Result<String> {
        let mut code = String::new();
        if structure.read {
            code += &structure_reader(structure)?;
        }
        if structure.written {
            code += &structure_writer(structure)?;
        }
        Ok(code)
    }
}

/// An expression of the answer's status.
fn status(operation: &Operation) -> String {
    let when = operation.status_when.as_ref();
    let member = when.and_then(|when| operation.output.members.iter().find(|member| member.model_name == when.member));
    match (when, member) {
        (Some(when), Some(member)) => {
            format!("if output.{}.is_some() {{ {} }} else {{ {} }}", member.field, when.status, operation.status)
        }
        _ => operation.status.to_string(),
    }
}

fn time_format(format: TimeFormat) -> &'static str {
    match format {
        TimeFormat::Iso8601 => "TimeFormat::Iso8601",
        TimeFormat::HttpDate => "TimeFormat::HttpDate",
    }
}

/// An expression, to be followed by `?`, that reads a member from path, query or headers.
fn field_parser(member: &Member) -> Result<String> {
    let wire = &member.wire;
    let must = if member.required { "must_" } else { "" };
    Ok(match (member.place, &member.ty) {
        (Place::Path, _) if wire == "Bucket" => "fields.bucket()".to_owned(),
        (Place::Path, _) if wire == "Key" => "fields.key()".to_owned(),
        (Place::Query, Type::Timestamp(format)) => {
            format!("fields.{must}query_time({wire:?}, {})", time_format(*format))
        }
        (Place::Query, Type::Text) if wire.starts_with("response-") => format!("fields.query_header({wire:?})"),
        (Place::Query, Type::Text) if member.empty_is_absent => format!("fields.query_filled({wire:?})"),
        (Place::Query, ty) if !ty.is_collection() => format!("fields.{must}query({wire:?})"),
        (Place::Header, Type::Timestamp(format)) => {
            format!("fields.{must}header_time({wire:?}, {})", time_format(*format))
        }
        (Place::Header, Type::List { .. }) => format!("fields.{must}header_list({wire:?})"),
        (Place::Header, _) => format!("fields.{must}header({wire:?})"),
        (Place::HeaderMap, Type::Map(_)) => format!("fields.header_map({wire:?})"),
        (place, _) => bail!("no parser for {} at {place:?}", member.model_name),
    })
}

fn payload_parser(operation: &Operation, member: &Member) -> Result<String> {
    let (name, limit) = match (&member.ty, operation.body) {
        (Type::Struct(name), Body::Document(limit)) => (name, limit),
        (Type::Text, Body::Document(limit)) if member.required => return Ok(format!("text_document(body, {limit})")),
        _ => bail!("no parser for the payload {}", member.model_name),
    };
    let read = if member.required { "document" } else { "optional_document" };
    Ok(format!("{read}(body, {:?}, {limit}, read_{})", member.wire, snake(name)))
}

fn writer_body(code: &mut String, operation: &Operation) -> Result<()> {
    let output = &operation.output;
    for member in &output.members {
        let field = format!("output.{}", member.field);
        let wire = &member.wire;
        match (member.place, &member.ty) {
            (Place::Body, _) => {}
            (Place::Header, Type::Timestamp(format)) => {
                let value = if member.required { format!("Some({field})") } else { field };
                let _ = writeln!(code, "answer.header_time({wire:?}, {value}, {});", time_format(*format));
            }
            (Place::Header, ty) if !ty.is_collection() => {
                let value = if member.required { format!("Some(&{field})") } else { format!("{field}.as_ref()") };
                let _ = writeln!(code, "answer.header({wire:?}, {value});");
            }
            (Place::HeaderMap, Type::Map(_)) => {
                let _ = writeln!(code, "answer.header_map({wire:?}, &{field});");
            }
            (place, _) => bail!("no writer for {} at {place:?}", member.model_name),
        }
    }
    if let Some(payload) = output.payload.map(|index| &output.members[index]) {
        ensure!(!payload.required, "a required payload of an answer");
        let field = &payload.field;
        match &payload.ty {
            Type::Struct(name) => {
                let _ = writeln!(code, "if let Some(payload) = &output.{field} {{");
                code.push_str("let mut xml = XmlWriter::new(XMLNS);\n");
                let _ = writeln!(code, "write_{}(&mut xml, {:?}, payload);", snake(name), operation.root);
                code.push_str("answer.document(xml);\n}\n");
            }
            Type::Text => {
                let kind = operation.payload_type.as_deref().unwrap_or("text/plain");
                let _ = writeln!(code, "answer.text({kind:?}, output.{field}.as_deref());");
            }
            _ => bail!("no writer for the payload {}", payload.model_name),
        }
    } else if output.members.iter().any(|member| member.place == Place::Body) {
        code.push_str("let mut xml = XmlWriter::new(XMLNS);\n");
        if operation.unwrapped {
            let member = output.members.iter().find(|member| member.place == Place::Body);
            let field = member.map(|member| member.field.as_str()).unwrap_or_default();
            let _ = writeln!(code, "xml.unwrapped({:?}, output.{field}.as_ref());", operation.root);
        } else {
            let _ = writeln!(code, "xml.open({:?});", operation.root);
            for member in output.members.iter().filter(|member| member.place == Place::Body) {
                member_writer(code, member, "output")?;
            }
            let _ = writeln!(code, "xml.close({:?});", operation.root);
        }
        code.push_str("answer.document(xml);\n");
    }
    Ok(())
}

/// Statements that print one member of `owner` as elements.
fn member_writer(code: &mut String, member: &Member, owner: &str) -> Result<()> {
    let tag = &member.wire;
    let field = format!("{owner}.{}", member.field);
    let _ = match (&member.ty, member.required) {
        (Type::Timestamp(format), true) => writeln!(code, "xml.time({tag:?}, {field}, {});", time_format(*format)),
        (Type::Timestamp(format), false) => {
            writeln!(code, "xml.optional_time({tag:?}, {field}, {});", time_format(*format))
        }
        (Type::Struct(name), true) => writeln!(code, "write_{}({}, {tag:?}, &{field});", snake(name), xml(owner)),
        (Type::Struct(name), false) => {
            let (name, xml) = (snake(name), xml(owner));
            writeln!(code, "if let Some(inner) = &{field} {{ write_{name}({xml}, {tag:?}, inner); }}")
        }
        (Type::List { item, tag: item_tag, flattened, .. }, _) => {
            if !flattened {
                let _ = writeln!(code, "xml.open({tag:?});");
            }
            let item_tag = if *flattened { tag } else { item_tag };
            let statement = match item.as_ref() {
                Type::Struct(name) => format!("write_{}({}, {item_tag:?}, item);", snake(name), xml(owner)),
                Type::Text | Type::Enum(_) | Type::Integer | Type::Long => format!("xml.element({item_tag:?}, item);"),
                _ => bail!("no writer for the items of {}", member.model_name),
            };
            let _ = writeln!(code, "for item in &{field} {{ {statement} }}");
            if *flattened { Ok(()) } else { writeln!(code, "xml.close({tag:?});") }
        }
        (Type::Map(_), _) => bail!("no writer for the map {}", member.model_name),
        (_, true) => writeln!(code, "xml.element({tag:?}, &{field});"),
        (_, false) => writeln!(code, "xml.optional({tag:?}, {field}.as_ref());"),
    };
    Ok(())
}

/// How the writer is passed on: an operation owns it, a structure's writer borrows it.
fn xml(owner: &str) -> &'static str {
    if owner == "output" { "&mut xml" } else { "xml" }
}

fn structure_writer(structure: &Struct) -> Result<String> {
    let argument = if structure.members.is_empty() { "_value" } else { "value" };
    let mut code = format!(
        "pub(crate) fn write_{}(xml: &mut XmlWriter, tag: &str, {argument}: &{}) {{\n",
        snake(&structure.name),
        structure.name
    );
    let mut attributes = Vec::new();
    attributes.extend(structure.namespace.iter().map(|(prefix, uri)| format!("(\"xmlns:{prefix}\", {uri:?})")));
    for member in structure.members.iter().filter(|member| member.place == Place::Attribute) {
        ensure!(member.required && matches!(member.ty, Type::Enum(_)), "attribute {}", member.model_name);
        attributes.push(format!("({:?}, value.{}.as_str())", member.wire, member.field));
    }
    if attributes.is_empty() {
        code += "xml.open(tag);\n";
    } else {
        let _ = writeln!(code, "xml.open_with(tag, &[{}]);", attributes.join(", "));
    }
    for member in structure.members.iter().filter(|member| member.place == Place::Body) {
        member_writer(&mut code, member, "value")?;
    }
    code += "xml.close(tag);\n}\n\n";
    Ok(code)
}

fn structure_reader(structure: &Struct) -> Result<String> {
    let mut code = format!(
        "pub(crate) fn read_{}(xml: &mut XmlReader<'_>) -> Result<{}, WireError> {{\n",
        snake(&structure.name),
        structure.name
    );
    let mut arms = String::new();
    let mut fields = String::new();
    for member in &structure.members {
        let field = &member.field;
        if member.place == Place::Attribute {
            let _ = writeln!(code, "let {field} = xml.attribute({:?})?;", member.wire);
        } else {
            let start = if member.ty.is_collection() { "Vec::new()" } else { "None" };
            let _ = writeln!(code, "let mut {field} = {start};");
            let reader = element_reader(member)?;
            let _ = if may_be_empty(member) {
                let _ = writeln!(code, "let mut has_{field} = false;");
                writeln!(arms, "{:?} => {{\nhas_{field} = true;\n{reader}?;\n}}", member.wire)
            } else {
                writeln!(arms, "{:?} => {reader}?,", member.wire)
            };
        }
        let _ = match (member.required, member.ty.is_collection()) {
            _ if may_be_empty(member) => {
                writeln!(fields, "{field}: xml.required(has_{field}.then_some({field}))?,")
            }
            (true, true) => writeln!(fields, "{field}: xml.filled({field})?,"),
            (true, false) => writeln!(fields, "{field}: xml.required({field})?,"),
            (false, _) => writeln!(fields, "{field},"),
        };
    }
    for member in &structure.refused {
        let _ = writeln!(arms, "{:?} => return Err(xml.refused()),", member.wire);
    }
    if arms.is_empty() {
        code += "if xml.next_child()? { return Err(xml.unexpected()); }\n";
    } else {
        let _ = writeln!(
            code,
            "while xml.next_child()? {{\nmatch xml.name() {{\n{arms}_ => return Err(xml.unexpected()),\n}}\n}}"
        );
    }
    let _ = writeln!(code, "Ok({} {{ {fields} }})\n}}\n", structure.name);
    Ok(code)
}

/// An expression, to be followed by `?`, that reads one element into the member's variable.
fn may_be_empty(member: &Member) -> bool {
    member.may_be_empty && member.required && matches!(member.ty, Type::List { flattened: false, .. })
}

fn element_reader(member: &Member) -> Result<String> {
    let field = &member.field;
    Ok(match &member.ty {
        Type::Timestamp(format) => format!("xml.time(&mut {field}, {})", time_format(*format)),
        Type::Struct(name) => format!("xml.structure(&mut {field}, read_{})", snake(name)),
        Type::List { item, tag, flattened, limit, .. } => {
            let limit = limit.unwrap_or(LIST_ITEMS);
            match (item.as_ref(), flattened) {
                (Type::Struct(name), true) => format!("xml.item(&mut {field}, {limit}, read_{})", snake(name)),
                (Type::Struct(name), false) => {
                    format!("xml.list(&mut {field}, {tag:?}, {limit}, read_{})", snake(name))
                }
                (Type::Text | Type::Enum(_), true) => format!("xml.scalar_item(&mut {field}, {limit})"),
                (Type::Text | Type::Enum(_), false) => format!("xml.scalar_list(&mut {field}, {tag:?}, {limit})"),
                _ => bail!("no reader for the items of {}", member.model_name),
            }
        }
        Type::Map(_) => bail!("no reader for the map {}", member.model_name),
        _ => format!("xml.scalar(&mut {field})"),
    })
}
