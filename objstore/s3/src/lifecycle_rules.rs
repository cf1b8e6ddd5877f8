//! Rules of a lifecycle document, checked as AWS checks them and put into the service's words.

use std::collections::BTreeSet;

use karri_objstore_service::{LifecycleFilter, LifecycleRule, LifecycleTime, NoncurrentTime};
use karri_objstore_wire::types;
use karri_ring_types::Timestamp;

use crate::error::{S3Result, error, invalid_request, malformed_xml};

const ID_LENGTH_MAX: usize = 255;
const NEWER_VERSIONS_MAX: i32 = 100;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Days that objects stay before they move to an infrequent access class.
const INFREQUENT_DAYS_MIN: i32 = 30;

/// The rules that are in force.
pub(crate) fn compile(rules: &[types::LifecycleRule]) -> S3Result<Vec<LifecycleRule>> {
    let mut ids = BTreeSet::new();
    let mut compiled = Vec::new();
    for rule in rules {
        let id = rule.id.as_deref().unwrap_or_default();
        if id.chars().count() > ID_LENGTH_MAX {
            return Err(invalid(format!("ID length should not exceed allowed limit of {ID_LENGTH_MAX}")));
        }
        if !ids.insert(id) {
            return Err(invalid("Rule ID must be unique. Found same ID for more than one rule"));
        }
        let read = compile_rule(rule)?;
        if rule.status == types::ExpirationStatus::Enabled {
            compiled.push(read);
        }
    }
    Ok(compiled)
}

fn invalid(message: impl Into<String>) -> karri_objstore_gateway::ApiError {
    error("InvalidArgument", 400, message)
}

fn compile_rule(rule: &types::LifecycleRule) -> S3Result<LifecycleRule> {
    let filter = filter(rule)?;
    let mut compiled = LifecycleRule { id: rule.id.clone().unwrap_or_default(), filter, ..LifecycleRule::default() };
    if let Some(expiration) = &rule.expiration {
        read_expiration(expiration, &mut compiled)?;
    }
    for transition in &rule.transitions {
        compiled.transitions.push(read_transition(transition)?);
    }
    if let Some(expiration) = &rule.noncurrent_version_expiration {
        let time = noncurrent_time(expiration.noncurrent_days, expiration.newer_noncurrent_versions, rule, 1)?;
        compiled.noncurrent_expiration = Some(time);
    }
    for transition in &rule.noncurrent_version_transitions {
        let class = class(transition.storage_class)?;
        let time = noncurrent_time(transition.noncurrent_days, transition.newer_noncurrent_versions, rule, 0)?;
        check_infrequent("NoncurrentVersionTransition", &class, i32::try_from(time.days).unwrap_or(i32::MAX))?;
        compiled.noncurrent_transitions.push((time, class));
    }
    if let Some(abort) = &rule.abort_incomplete_multipart_upload {
        let days = abort.days_after_initiation.ok_or_else(malformed_xml)?;
        let action = "'DaysAfterInitiation' for AbortIncompleteMultipartUpload action";
        compiled.abort_uploads_after_days = Some(positive(days, action)?);
    }
    check_together(&compiled, rule)?;
    Ok(compiled)
}

/// What a rule is about. A prefix stands in a filter, or in the rule itself as it once did.
fn filter(rule: &types::LifecycleRule) -> S3Result<LifecycleFilter> {
    let given = match (&rule.prefix, &rule.filter) {
        (Some(prefix), None) => return Ok(LifecycleFilter { prefix: prefix.clone(), ..Default::default() }),
        (None, Some(given)) => given,
        _ => return Err(malformed_xml()),
    };
    let alone = [
        // An empty prefix beside something else says nothing.
        given.prefix.as_ref().is_some_and(|prefix| !prefix.is_empty()),
        given.tag.is_some(),
        given.object_size_greater_than.is_some(),
        given.object_size_less_than.is_some(),
        given.and.is_some(),
    ];
    if alone.iter().filter(|given| **given).count() > 1 {
        return Err(malformed_xml());
    }
    let (prefix, tags, larger, smaller) = match &given.and {
        Some(and) => (&and.prefix, &and.tags[..], and.object_size_greater_than, and.object_size_less_than),
        None => (&given.prefix, given.tag.as_slice(), given.object_size_greater_than, given.object_size_less_than),
    };
    let names: BTreeSet<&str> = tags.iter().map(|tag| tag.key.as_str()).collect();
    if names.len() < tags.len() {
        return Err(invalid_request("Duplicate Tag Keys are not allowed."));
    }
    if tags.iter().any(|tag| tag.key.is_empty() || tag.key.chars().count() > 128 || tag.value.chars().count() > 256) {
        return Err(error("InvalidTag", 400, "The TagKey or TagValue you have provided is invalid"));
    }
    let larger_than = larger.map(|bound| size(bound, "ObjectSizeGreaterThan")).transpose()?;
    let smaller_than = smaller.map(|bound| size(bound, "ObjectSizeLessThan")).transpose()?;
    if let (Some(larger), Some(smaller)) = (larger_than, smaller_than)
        && larger >= smaller
    {
        return Err(invalid_request("'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'"));
    }
    let tags = tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect();
    Ok(LifecycleFilter { prefix: prefix.clone().unwrap_or_default(), tags, larger_than, smaller_than })
}

fn size(bound: i64, name: &str) -> S3Result<u64> {
    u64::try_from(bound).map_err(|_| invalid_request(format!("'{name}' should be greater than or equal to 0")))
}

fn read_expiration(expiration: &types::LifecycleExpiration, rule: &mut LifecycleRule) -> S3Result<()> {
    match (expiration.days, expiration.date, expiration.expired_object_delete_marker) {
        (Some(days), None, None) => {
            rule.expiration = Some(LifecycleTime::Days(positive(days, "'Days' for Expiration action")?));
        }
        (None, Some(date), None) => rule.expiration = Some(LifecycleTime::Date(midnight(date)?)),
        (None, None, Some(marker)) => rule.expires_lone_markers = marker,
        _ => return Err(malformed_xml()),
    }
    Ok(())
}

fn read_transition(transition: &types::Transition) -> S3Result<(LifecycleTime, String)> {
    let time = match (transition.days, transition.date) {
        (Some(days), None) => {
            let days = u32::try_from(days).map_err(|_| invalid("'Days' for Transition action must be nonnegative"));
            LifecycleTime::Days(days?)
        }
        (None, Some(date)) => LifecycleTime::Date(midnight(date)?),
        _ => return Err(malformed_xml()),
    };
    let class = class(transition.storage_class)?;
    if let Some(days) = transition.days {
        check_infrequent("Transition", &class, days)?;
    }
    Ok((time, class))
}

/// The class of a transition.
fn class(wire: Option<types::TransitionStorageClass>) -> S3Result<String> {
    Ok(wire.ok_or_else(malformed_xml)?.as_str().to_owned())
}

fn check_infrequent(action: &str, class: &str, days: i32) -> S3Result<()> {
    let infrequent = matches!(class, "STANDARD_IA" | "ONEZONE_IA");
    match infrequent && days < INFREQUENT_DAYS_MIN {
        true => Err(invalid(format!(
            "'Days' in {action} action must be greater than or equal to {INFREQUENT_DAYS_MIN} for storageClass \
             '{class}'"
        ))),
        false => Ok(()),
    }
}

fn noncurrent_time(
    days: Option<i32>,
    newer: Option<i32>,
    rule: &types::LifecycleRule,
    days_min: i32,
) -> S3Result<NoncurrentTime> {
    let days = days.ok_or_else(malformed_xml)?;
    if days < days_min {
        return Err(invalid("'NoncurrentDays' for NoncurrentVersionExpiration action must be a positive integer"));
    }
    let newer_kept = match newer {
        None => 0,
        Some(_) if rule.filter.is_none() => {
            let message = "NewerNoncurrentVersions can only be specified with a Filter, not with a Prefix";
            return Err(invalid_request(message));
        }
        Some(count) if !(1..=NEWER_VERSIONS_MAX).contains(&count) => {
            let message = format!("'NewerNoncurrentVersions' must be between 1 and {NEWER_VERSIONS_MAX}");
            return Err(invalid(message));
        }
        Some(count) => count.unsigned_abs(),
    };
    Ok(NoncurrentTime { days: days.unsigned_abs(), newer_kept })
}

fn positive(days: i32, what: &str) -> S3Result<u32> {
    match u32::try_from(days) {
        Ok(days @ 1..) => Ok(days),
        _ => Err(invalid(format!("{what} must be a positive integer"))),
    }
}

fn midnight(date: karri_objstore_wire::Timestamp) -> S3Result<Timestamp> {
    match u64::try_from(date.millis()) {
        Ok(millis) if millis.is_multiple_of(DAY_MS) => Ok(Timestamp(millis)),
        _ => Err(invalid("'Date' must be at midnight GMT")),
    }
}

/// What parts of one rule must be to each other.
fn check_together(rule: &LifecycleRule, wire: &types::LifecycleRule) -> S3Result<()> {
    let acts = wire.expiration.is_some()
        || wire.abort_incomplete_multipart_upload.is_some()
        || wire.noncurrent_version_expiration.is_some()
        || !wire.transitions.is_empty()
        || !wire.noncurrent_version_transitions.is_empty();
    if !acts {
        return Err(invalid_request("At least one action needs to be specified in a rule."));
    }
    if rule.expires_lone_markers && !rule.filter.tags.is_empty() {
        return Err(invalid_request("ExpiredObjectDeleteMarker cannot be specified with Tags."));
    }
    let sized = rule.filter.larger_than.is_some() || rule.filter.smaller_than.is_some();
    if rule.abort_uploads_after_days.is_some() && !rule.filter.tags.is_empty() {
        return Err(invalid_request("AbortIncompleteMultipartUpload cannot be specified with Tags."));
    }
    if rule.abort_uploads_after_days.is_some() && sized {
        return Err(invalid_request("AbortIncompleteMultipartUpload cannot be specified with Object Size."));
    }
    check_order(rule)
}

/// Objects move before they end, at one kind of time, and to each class once.
fn check_order(rule: &LifecycleRule) -> S3Result<()> {
    let classes: BTreeSet<&str> = rule.transitions.iter().map(|(_, class)| class.as_str()).collect();
    if classes.len() < rule.transitions.len() {
        return Err(invalid_request("'StorageClass' must be different for 'Transition' actions in same 'Rule'"));
    }
    let prefix = &rule.filter.prefix;
    for (time, _) in &rule.transitions {
        match (time, rule.expiration) {
            (LifecycleTime::Days(_), Some(LifecycleTime::Date(_)))
            | (LifecycleTime::Date(_), Some(LifecycleTime::Days(_))) => {
                return Err(invalid_request(format!(
                    "Found mixed 'Date' and 'Days' based Expiration and Transition actions in lifecycle rule for \
                     prefix '{prefix}'"
                )));
            }
            (LifecycleTime::Days(moves), Some(LifecycleTime::Days(ends))) if *moves >= ends => {
                return Err(invalid(format!(
                    "'Days' in the Expiration action for prefix '{prefix}' must be greater than 'Days' in the \
                     Transition action"
                )));
            }
            (LifecycleTime::Date(moves), Some(LifecycleTime::Date(ends))) if *moves >= ends => {
                return Err(invalid(format!(
                    "'Date' in the Expiration action for prefix '{prefix}' must be later than 'Date' in the \
                     Transition action"
                )));
            }
            _ => {}
        }
    }
    Ok(())
}
