//! The body of an error answer.

use crate::xml_write::XmlWriter;

/// What an error document says. It has no namespace, as S3's has none.
#[derive(Clone, Copy, Debug)]
pub struct ErrorDocument<'a> {
    /// The error code.
    pub code: &'a str,
    /// What the client is told.
    pub message: &'a str,
    /// The path that the request named.
    pub resource: &'a str,
    /// The request's id.
    pub request_id: &'a str,
    /// The id of what answered.
    pub host_id: &'a str,
    /// Elements between message and resource, such as `BucketName`.
    pub extra: &'a [(&'a str, &'a str)],
}

impl ErrorDocument<'_> {
    /// The document's bytes.
    pub fn to_xml(&self) -> Vec<u8> {
        let mut xml = XmlWriter::without_namespace();
        xml.open("Error");
        xml.element("Code", self.code);
        xml.element("Message", self.message);
        for (name, value) in self.extra {
            xml.element(name, *value);
        }
        xml.element("Resource", self.resource);
        xml.element("RequestId", self.request_id);
        xml.element("HostId", self.host_id);
        xml.close("Error");
        xml.finish()
    }
}
