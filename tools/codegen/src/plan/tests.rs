//! Plans of small models.

use super::{Body, Kind, Place, Plan, Type};
use crate::model::Model;
use crate::settings::Settings;

const MODEL: &str = r#"{
  "metadata": {"protocol": "rest-xml"},
  "operations": {
    "PutThing": {"http": {"method": "PUT", "requestUri": "/{Bucket}"}, "input": {"shape": "PutThingRequest"}},
    "CopyThing": {"http": {"method": "PUT", "requestUri": "/{Bucket}"}, "input": {"shape": "CopyThingRequest"}},
    "PutThingTags": {"http": {"method": "PUT", "requestUri": "/{Bucket}?tags"}, "input": {"shape": "PutThingRequest"}}
  },
  "shapes": {
    "PutThingRequest": {"type": "structure", "required": ["Bucket"], "payload": "Tags", "members": {
      "Bucket": {"shape": "Text", "location": "uri", "locationName": "Bucket"},
      "Kind": {"shape": "Kind", "location": "header", "locationName": "X-Kind"},
      "Secret": {"shape": "Text", "location": "header", "locationName": "X-Secret"},
      "Tags": {"shape": "Tags", "locationName": "Tagging"}}},
    "CopyThingRequest": {"type": "structure", "required": ["Source"], "members": {
      "Source": {"shape": "Text", "location": "header", "locationName": "X-Source"}}},
    "Tags": {"type": "structure", "members": {"Tag": {"shape": "TagList"}}},
    "TagList": {"type": "list", "flattened": true, "member": {"shape": "Text"}},
    "Kind": {"type": "string", "enum": ["A", "B"]},
    "Text": {"type": "string"}
  }
}"#;

const SETTINGS: &str = r#"
title = "Things"
xmlns = "urn:things"
operations = ["PutThing", "CopyThing"]
deciding_headers = ["x-source"]
refused_members = ["Secret"]
[errors]
InvalidArgument = [400, "Invalid Argument"]
"#;

fn plan(model: &str, settings: &str) -> anyhow::Result<Plan> {
    let settings: Settings = toml::from_str(settings)?;
    Plan::resolve(&Model::parse(model)?, &settings)
}

#[test]
fn members_get_their_place_and_type() {
    let plan = plan(MODEL, SETTINGS).expect("plan");
    let put = plan.operations.iter().find(|operation| operation.name == "PutThing").expect("PutThing");
    let places: Vec<_> = put.input.members.iter().map(|member| (member.wire.as_str(), member.place)).collect();
    assert_eq!(places, [("Bucket", Place::Path), ("x-kind", Place::Header), ("Tagging", Place::Body)]);
    assert_eq!(put.input.members[0].rust(), "String");
    assert_eq!(put.input.members[1].rust(), "Option<Kind>");
    assert_eq!(put.input.refused[0].wire, "x-secret");
    assert!(put.body == Body::Document(super::DOCUMENT_BYTES));
    assert_eq!(put.output.members.len(), 0);
    assert!(put.own.contains("Tags") && put.own.contains("Kind"));
    let tags = &plan.structs["Tags"];
    assert!(tags.read && !tags.written);
    assert!(matches!(&tags.members[0].ty, Type::List { flattened: true, .. }));
}

#[test]
fn what_is_not_served_keeps_its_rule() {
    let plan = plan(MODEL, SETTINGS).expect("plan");
    let rules = &plan.routing.as_ref().expect("routing").rules[&(Kind::Bucket, "PUT".to_owned())];
    let rows: Vec<_> = rules.iter().map(|rule| (rule.operation.as_str(), rule.served, rule.header)).collect();
    assert_eq!(rows[0], ("PutThingTags", false, None));
    assert!(rows[1..].contains(&("PutThing", true, Some(false))));
    assert!(rows[1..].contains(&("CopyThing", true, Some(true))));
    assert!(!plan.coverage["PutThingTags"]);
}

#[test]
fn a_plan_that_cannot_be_right_is_refused() {
    let cases = [
        (MODEL.to_owned(), SETTINGS.replace("[\"x-source\"]", "[]"), "cannot be told apart"),
        (MODEL.to_owned(), SETTINGS.replace("\"PutThing\", ", "\"PutNothing\", "), "PutNothing"),
        (MODEL.to_owned(), SETTINGS.replace("title", "tilte"), "unknown field"),
        (MODEL.replace("rest-xml", "cbor"), SETTINGS.to_owned(), "protocol cbor"),
        (MODEL.replace(r#"{"shape": "TagList"}"#, r#"{"shape": "Tags"}"#), SETTINGS.to_owned(), "contains itself"),
        (MODEL.replace(r#""location": "uri""#, r#""location": "moon""#), SETTINGS.to_owned(), "moon"),
    ];
    for (model, settings, reason) in cases {
        let error = plan(&model, &settings).err().map(|error| format!("{error:#}")).unwrap_or_default();
        assert!(error.contains(reason), "{reason}: {error}");
    }
}

#[test]
fn three_protocols_have_a_codec() {
    for (name, known) in [("rest-xml", true), ("query", true), ("json", true), ("ec2", false), ("rest-json", false)] {
        let plan = plan(&MODEL.replace("rest-xml", name), SETTINGS).expect("plan");
        assert_eq!(plan.protocol.codec().is_ok(), known, "{name}");
    }
}
