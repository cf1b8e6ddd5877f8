//! What a website's configuration says of a request.

use std::sync::Arc;

use http::{StatusCode, Uri};
use karri_objstore_wire::{parse_put_bucket_website, types};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::dispatch::stored_request;

/// What a key keeps in the path of a URL.
const PATH_KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// What is escaped of texts that a configuration has: it may well write a fragment or a query.
const TEXT_ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`');

/// A website, ready to be visited.
#[derive(Clone, Debug)]
pub(super) struct Site {
    index: String,
    error: Option<String>,
    all: Option<types::RedirectAllRequestsTo>,
    rules: Vec<types::RoutingRule>,
}

/// A visitor's request.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// Decoded, without the first slash.
    pub(super) key: &'a str,
    pub(super) host: String,
    pub(super) secure: bool,
    pub(super) uri: Uri,
}

/// A redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) status: StatusCode,
    pub(super) location: String,
}

impl Site {
    /// Reads a kept document; one that cannot be read is no website.
    pub(super) fn read(document: &[u8]) -> Option<Arc<Self>> {
        let input = stored_request(|request| parse_put_bucket_website(request, document)).ok()?;
        let configuration = input.website_configuration;
        Some(Arc::new(Self {
            index: configuration.index_document.map(|index| index.suffix).unwrap_or_default(),
            error: configuration.error_document.map(|document| document.key),
            all: configuration.redirect_all_requests_to,
            rules: configuration.routing_rules,
        }))
    }

    pub(super) fn index(&self) -> &str {
        &self.index
    }

    pub(super) fn error_document(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Where everything goes, with its path and query.
    pub(super) fn redirect_of_all(&self, asked: &Asked<'_>) -> Option<Move> {
        let all = self.all.as_ref()?;
        let scheme = scheme(all.protocol.as_ref(), asked);
        let path = asked.uri.path_and_query().map_or("/", |path| path.as_str());
        let location = format!("{scheme}://{}{path}", all.host_name);
        Some(Move { status: StatusCode::MOVED_PERMANENTLY, location })
    }

    /// What the first rule that fits says: without `failed`, of those that ask for no error.
    pub(super) fn redirect(&self, asked: &Asked<'_>, failed: Option<u16>) -> Option<Move> {
        let rule = self.rules.iter().find(|rule| fits(rule, asked.key, failed))?;
        let prefix = rule.condition.as_ref().and_then(|condition| condition.key_prefix_equals.as_deref());
        let redirect = &rule.redirect;
        let text = |text: &str| utf8_percent_encode(text, TEXT_ESCAPED).to_string();
        let path = |key: &str| utf8_percent_encode(key, PATH_KEPT).to_string();
        let key = match (&redirect.replace_key_with, &redirect.replace_key_prefix_with) {
            (Some(whole), _) => text(whole),
            (None, Some(begin)) => {
                let rest = asked.key.strip_prefix(prefix.unwrap_or_default()).unwrap_or(asked.key);
                format!("{}{}", text(begin), path(rest))
            }
            (None, None) => path(asked.key),
        };
        let host = redirect.host_name.as_deref().unwrap_or(&asked.host);
        let code = redirect.http_redirect_code.as_deref().and_then(|code| code.parse().ok());
        let status = code.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::MOVED_PERMANENTLY);
        let scheme = scheme(redirect.protocol.as_ref(), asked);
        Some(Move { status, location: format!("{scheme}://{host}/{key}") })
    }
}

fn fits(rule: &types::RoutingRule, key: &str, failed: Option<u16>) -> bool {
    let condition = rule.condition.as_ref();
    let prefix = condition.and_then(|condition| condition.key_prefix_equals.as_deref()).unwrap_or_default();
    let error = condition.and_then(|condition| condition.http_error_code_returned_equals.as_deref());
    key.starts_with(prefix) && error.and_then(|error| error.parse::<u16>().ok()) == failed
}

/// The protocol that is asked for, else that of the request.
fn scheme(protocol: Option<&types::Protocol>, asked: &Asked<'_>) -> &'static str {
    match protocol {
        Some(types::Protocol::Https) => "https",
        Some(_) => "http",
        None if asked.secure => "https",
        None => "http",
    }
}

/// Visits a kept site, for a fuzzer: what it answers can be sent.
#[cfg(any(test, fuzzing))]
pub(crate) fn try_site(document: &[u8]) {
    let site = Site::read(document).expect("what is kept is a website");
    for key in ["", "docs/a b", "images/\u{fc}"] {
        let uri = Uri::from_static("/docs/a%20b?x=y");
        let asked = Asked { key, host: "b.web.test:80".to_owned(), secure: key.is_empty(), uri };
        let moves = [site.redirect_of_all(&asked), site.redirect(&asked, None), site.redirect(&asked, Some(404))];
        for redirect in moves.into_iter().flatten() {
            assert!(redirect.status.is_redirection(), "{}", redirect.status);
            assert!(http::HeaderValue::try_from(&redirect.location).is_ok(), "{:?}", redirect.location);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(rules: &str) -> Arc<Site> {
        let document = format!(
            "<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix></IndexDocument><RoutingRules>{rules}\
             </RoutingRules></WebsiteConfiguration>"
        );
        Site::read(document.as_bytes()).expect("a website")
    }

    fn rule(condition: &str, redirect: &str) -> String {
        let condition =
            if condition.is_empty() { String::new() } else { format!("<Condition>{condition}</Condition>") };
        format!("<RoutingRule>{condition}<Redirect>{redirect}</Redirect></RoutingRule>")
    }

    fn to(site: &Site, key: &str, failed: Option<u16>) -> Option<(u16, String)> {
        let asked = Asked { key, host: "b.web.test:80".to_owned(), secure: false, uri: Uri::from_static("/") };
        site.redirect(&asked, failed).map(|redirect| (redirect.status.as_u16(), redirect.location))
    }

    #[test]
    fn rules_move_prefixes_keys_hosts_and_protocols() {
        let prefix = |text: &str| format!("<KeyPrefixEquals>{text}</KeyPrefixEquals>");
        for (condition, redirect, key, expected) in [
            (
                prefix("docs/"),
                "<ReplaceKeyPrefixWith>documents/</ReplaceKeyPrefixWith>",
                "docs/a b",
                Some((301, "http://b.web.test:80/documents/a%20b")),
            ),
            (prefix("docs/"), "<ReplaceKeyPrefixWith>documents/</ReplaceKeyPrefixWith>", "doc/a", None),
            (
                prefix("images/"),
                "<ReplaceKeyWith>gone.html</ReplaceKeyWith><HttpRedirectCode>302</HttpRedirectCode>",
                "images/a",
                Some((302, "http://b.web.test:80/gone.html")),
            ),
            (
                String::new(),
                "<HostName>h.test</HostName><Protocol>https</Protocol>",
                "a/b?c",
                Some((301, "https://h.test/a/b%3Fc")),
            ),
            (
                String::new(),
                "<ReplaceKeyPrefixWith>#!/</ReplaceKeyPrefixWith>",
                "page",
                Some((301, "http://b.web.test:80/#!/page")),
            ),
        ] {
            let site = site(&rule(&condition, redirect));
            assert_eq!(to(&site, key, None), expected.map(|(code, url)| (code, url.to_owned())), "{key}");
        }
    }

    #[test]
    fn rules_about_errors_wait_for_them() {
        let on_404 = rule(
            "<HttpErrorCodeReturnedEquals>404</HttpErrorCodeReturnedEquals><KeyPrefixEquals>a</KeyPrefixEquals>",
            "<HostName>other.test</HostName>",
        );
        let site = site(&on_404);
        assert_eq!(to(&site, "a", None), None);
        assert_eq!(to(&site, "a", Some(403)), None);
        assert_eq!(to(&site, "b", Some(404)), None);
        assert_eq!(to(&site, "a", Some(404)), Some((301, "http://other.test/a".to_owned())));
    }

    #[test]
    fn line_breaks_of_a_configuration_stay_out_of_headers() {
        let site = site(&rule("", "<ReplaceKeyWith>a&#13;&#10;Set-Cookie: b</ReplaceKeyWith>"));
        let (_, location) = to(&site, "x", None).expect("moved");
        assert_eq!(location, "http://b.web.test:80/a%0D%0ASet-Cookie:%20b");
    }
}
