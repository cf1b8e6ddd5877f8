//! The protocols of the AWS service models. A protocol is a [`Codec`]: how an input is read from a request and how
//! an output becomes an answer. Types, enums, error codes and the coverage page are common to all.

use anyhow::{Result, bail};

use super::json::Json;
use super::query::Query;
use super::rest_xml::RestXml;
use crate::plan::{Operation, Struct};

/// A model's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// S3: path, query, headers and XML bodies.
    RestXml,
    /// IAM, STS: form parameters, XML answers with a result wrapper.
    Query,
    /// KMS: the operation in a header, JSON bodies.
    Json,
    /// EC2: form parameters with other list rules, XML answers.
    Ec2,
    /// EBS direct: path, query, headers and JSON bodies.
    RestJson,
}

impl Protocol {
    /// The protocol by the model's name for it.
    pub(crate) fn named(name: &str) -> Result<Self> {
        Ok(match name {
            "rest-xml" => Protocol::RestXml,
            "query" => Protocol::Query,
            "json" => Protocol::Json,
            "ec2" => Protocol::Ec2,
            "rest-json" => Protocol::RestJson,
            other => bail!("the generator does not know the protocol {other}"),
        })
    }

    /// Operations are told apart by method and path, and not by the parameter `Action`.
    pub(crate) fn routes_by_path(self) -> bool {
        matches!(self, Protocol::RestXml | Protocol::RestJson)
    }

    /// A blob is a body that streams past the parser.
    pub(crate) fn streams_blobs(self) -> bool {
        matches!(self, Protocol::RestXml)
    }

    /// Sensitive texts have a type that does not print them.
    pub(crate) fn hides_secrets(self) -> bool {
        matches!(self, Protocol::Query | Protocol::Json | Protocol::Ec2)
    }

    /// The parser checks the model's bounds and patterns.
    pub(crate) fn checks_bounds(self) -> bool {
        matches!(self, Protocol::Query | Protocol::Json)
    }

    /// The model's exceptions are error codes, with their statuses.
    pub(crate) fn lists_model_errors(self) -> bool {
        matches!(self, Protocol::Query | Protocol::Json)
    }

    /// What prints this protocol's parsers and writers.
    pub(crate) fn codec(self) -> Result<Box<dyn Codec>> {
        match self {
            Protocol::RestXml => Ok(Box::new(RestXml)),
            Protocol::Query => Ok(Box::new(Query)),
            Protocol::Json => Ok(Box::new(Json)),
            Protocol::Ec2 | Protocol::RestJson => bail!("no codec for {self:?} yet"),
        }
    }
}

/// Prints the code that depends on the protocol.
pub(crate) trait Codec {
    /// `parse_{operation}`.
    fn parser(&self, operation: &Operation) -> Result<String>;
    /// `write_{operation}`.
    fn writer(&self, operation: &Operation) -> Result<String>;
    /// `read_{structure}` and `write_{structure}` of a structure inside a body, as far as they are used.
    fn structure(&self, structure: &Struct) -> Result<String>;
}
