//! The protocols of the AWS service models. A protocol is a [`Codec`]: how an input is read from a request and how
//! an output becomes an answer. Types, enums, error codes and the coverage page are common to all.

use anyhow::{Result, bail};

use super::rest_xml::RestXml;
use crate::plan::{Operation, Struct};

/// A model's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// S3: path, query, headers and XML bodies.
    RestXml,
    /// IAM, STS: form parameters, XML answers with a result wrapper.
    Query,
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
            "ec2" => Protocol::Ec2,
            "rest-json" => Protocol::RestJson,
            other => bail!("the generator does not know the protocol {other}"),
        })
    }

    /// What prints this protocol's parsers and writers.
    pub(crate) fn codec(self) -> Result<Box<dyn Codec>> {
        match self {
            Protocol::RestXml => Ok(Box::new(RestXml)),
            Protocol::Query | Protocol::Ec2 | Protocol::RestJson => bail!("no codec for {self:?} yet"),
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
