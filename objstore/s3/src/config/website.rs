//! The website configuration of a bucket.

use bytes::Bytes;
use karri_objstore_gateway::ApiRequest;
use karri_objstore_wire::{parse_put_bucket_website, types, write_get_bucket_website};

use super::kept;
use crate::dispatch::wire_request;
use crate::error::{S3Result, invalid_argument, invalid_request, malformed_xml};
use crate::fault::from_wire;

/// Most routing rules.
const RULES_MAX: usize = 50;

/// The configuration to keep.
pub(super) fn check(request: &ApiRequest, body: &[u8]) -> S3Result<Bytes> {
    let input = parse_put_bucket_website(&wire_request(request), body).map_err(from_wire)?;
    let configuration = input.website_configuration;
    check_documents(&configuration)?;
    if configuration.routing_rules.len() > RULES_MAX {
        let count = configuration.routing_rules.len();
        return Err(invalid_request(format!(
            "{count} routing rules provided, the number of routing rules in a website configuration is limited to 50."
        )));
    }
    configuration.routing_rules.iter().try_for_each(check_rule)?;
    let written = kept(write_get_bucket_website(&types::GetBucketWebsiteOutput {
        redirect_all_requests_to: configuration.redirect_all_requests_to,
        index_document: configuration.index_document,
        error_document: configuration.error_document,
        routing_rules: configuration.routing_rules,
    }))?;
    // Without rules there is no list of them either.
    Ok(String::from_utf8_lossy(&written).replace("<RoutingRules></RoutingRules>", "").into())
}

fn check_documents(configuration: &types::WebsiteConfiguration) -> S3Result<()> {
    if let Some(redirect) = &configuration.redirect_all_requests_to {
        let alone = configuration.index_document.is_none()
            && configuration.error_document.is_none()
            && configuration.routing_rules.is_empty();
        return match alone && !redirect.host_name.is_empty() {
            true => Ok(()),
            false => Err(invalid_request(
                "RedirectAllRequestsTo cannot be provided in conjunction with other Routing Rules.",
            )),
        };
    }
    let Some(index) = &configuration.index_document else {
        let message = "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty";
        return Err(invalid_argument("IndexDocument", "null", message));
    };
    if index.suffix.is_empty() || index.suffix.contains('/') {
        return Err(invalid_argument("IndexDocument", &index.suffix, "The IndexDocument Suffix is not well formed"));
    }
    match &configuration.error_document {
        Some(document) if document.key.is_empty() => {
            Err(invalid_argument("ErrorDocument", "", "The ErrorDocument Key is not well formed"))
        }
        _ => Ok(()),
    }
}

fn check_rule(rule: &types::RoutingRule) -> S3Result<()> {
    let redirect = &rule.redirect;
    if *redirect == types::Redirect::default() {
        return Err(malformed_xml());
    }
    if redirect.replace_key_with.is_some() && redirect.replace_key_prefix_with.is_some() {
        return Err(invalid_request("You can only define ReplaceKeyPrefix or ReplaceKey but not both."));
    }
    if let Some(code) = &redirect.http_redirect_code
        && status(code).is_none_or(|code| !(301..400).contains(&code))
    {
        return Err(invalid_request(format!(
            "The provided HTTP redirect code ({code}) is not valid. Valid codes are 3XX except 300."
        )));
    }
    let Some(condition) = &rule.condition else { return Ok(()) };
    if condition.key_prefix_equals.is_none() && condition.http_error_code_returned_equals.is_none() {
        return Err(invalid_request(
            "Condition cannot be empty. To redirect all requests without a condition, the condition element shouldn't \
             be present.",
        ));
    }
    match &condition.http_error_code_returned_equals {
        Some(code) if status(code).is_none_or(|code| !(400..600).contains(&code)) => Err(invalid_request(format!(
            "The provided HTTP error code ({code}) is not valid. Valid codes are 4XX or 5XX."
        ))),
        _ => Ok(()),
    }
}

fn status(code: &str) -> Option<u16> {
    code.parse().ok().filter(|_| code.len() == 3)
}
