//! Uploads by the form of a browser, signed and then spoilt.
//!
//! Source: AWS, "Browser-Based Uploads Using POST (AWS Signature Version 4)".

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::request::{Request, Sent};
use crate::sign::{Keys, Kind, Signer};

/// The key that forms upload.
pub const FORM_KEY: &str = "by-form";

/// The fields of a form, which tests change before it is sent.
#[derive(Clone, Debug)]
pub struct Form {
    /// Names and values before the file.
    pub fields: Vec<(String, String)>,
}

impl Form {
    /// A form that its signer lets upload [`FORM_KEY`] for some minutes from now on.
    pub fn signed(keys: &Keys, good_for_seconds: i64) -> Self {
        Self::signed_by(&Signer::new(keys, Kind::Header), good_for_seconds)
    }

    /// As [`Form::signed`], by a signer with knobs.
    #[allow(clippy::disallowed_methods, reason = "a client signs with the machine's clock")]
    pub fn signed_by(signer: &Signer, good_for_seconds: i64) -> Self {
        let until = OffsetDateTime::now_utc() + time::Duration::seconds(good_for_seconds);
        let until = until.replace_nanosecond(0).expect("no nanoseconds").format(&Rfc3339).expect("a date");
        let document = format!(
            r#"{{"expiration":"{until}","conditions":[{{"bucket":"victim"}},["starts-with","$key","by-"],
            ["starts-with","$x-amz-algorithm",""],["starts-with","$x-amz-credential",""],
            ["starts-with","$x-amz-date",""],["starts-with","$x-amz-security-token",""]]}}"#
        );
        let policy = STANDARD.encode(document);
        let (credential, date, signature) = signer.sign_policy(&policy);
        let mut form = Self { fields: Vec::new() };
        form.set("key", FORM_KEY);
        if let Some(token) = &signer.keys.token {
            form.set("x-amz-security-token", token);
        }
        form.set("policy", &policy);
        form.set("x-amz-algorithm", "AWS4-HMAC-SHA256");
        form.set("x-amz-credential", &credential);
        form.set("x-amz-date", &date);
        form.set("x-amz-signature", &signature);
        form
    }

    /// Without a field.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.fields.retain(|(known, _)| known != name);
        self
    }

    /// With another value of a field.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> &str {
        self.fields.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    fn set(&mut self, name: &str, value: &str) {
        match self.fields.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => value.clone_into(known),
            None => self.fields.push((name.to_owned(), value.to_owned())),
        }
    }

    /// As it goes out.
    pub fn send(&self, host: &str) -> Sent {
        let mut body = String::new();
        for (name, value) in &self.fields {
            body.push_str(&format!("--x\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"));
        }
        body.push_str(
            "--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nof a form\r\n--x--\r\n",
        );
        let request = Request::new("POST", "/victim").header("content-type", "multipart/form-data; boundary=x");
        request.body(&body).unsigned(host)
    }
}
