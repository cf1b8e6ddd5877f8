//! Tags of keys.

use karri_iam_service::model::Tag;
use karri_iam_wire::kms::{ErrorCode, types as t};

use super::Call;
use super::paging::page;
use crate::Answer;
use crate::access::Use;

/// Tags of one key.
const TAGS_MAX: usize = 50;

/// The tags that are there with the new ones laid over them.
pub(super) fn checked(known: &[Tag], new: Vec<t::Tag>) -> Answer<Vec<Tag>> {
    let mut tags = known.to_vec();
    let mut seen = std::collections::HashSet::new();
    for t::Tag { tag_key, tag_value } in new {
        if tag_key.to_ascii_lowercase().starts_with("aws:") {
            return Err(ErrorCode::TagException.with("Tags beginning with aws: are reserved"));
        }
        if !seen.insert(tag_key.clone()) {
            return Err(ErrorCode::TagException.with("Duplicate tag keys"));
        }
        match tags.iter_mut().find(|(key, _)| *key == tag_key) {
            Some((_, value)) => *value = tag_value,
            None => tags.push((tag_key, tag_value)),
        }
    }
    if tags.len() > TAGS_MAX {
        return Err(ErrorCode::TagException.with("Too many tags"));
    }
    Ok(tags)
}

/// With the condition keys of tags that a request brings.
pub(super) fn with_request_tags<'a>(mut wanted: Use<'a>, tags: &[Tag]) -> Use<'a> {
    for (key, value) in tags {
        wanted = wanted.with(format!("aws:RequestTag/{key}"), vec![value.clone()]);
    }
    wanted.with("aws:TagKeys", tags.iter().map(|(key, _)| key.clone()).collect())
}

pub(super) async fn tag(call: &Call<'_>, input: t::TagResourceInput) -> Answer<()> {
    let found = call.find(&input.key_id).await?;
    let asked = checked(&[], input.tags.clone())?;
    call.kms.authorize(call.asker, &found, &with_request_tags(Use::of("kms:TagResource"), &asked))?;
    call.edit(&found, |key, _, newest| {
        call.kms.require_staying(newest)?;
        key.tags = checked(&key.tags, input.tags.clone())?;
        Ok(())
    })
    .await
}

pub(super) async fn untag(call: &Call<'_>, input: t::UntagResourceInput) -> Answer<()> {
    let found = call.find(&input.key_id).await?;
    let wanted = Use::of("kms:UntagResource").with("aws:TagKeys", input.tag_keys.clone());
    call.kms.authorize(call.asker, &found, &wanted)?;
    call.edit(&found, |key, _, newest| {
        call.kms.require_staying(newest)?;
        key.tags.retain(|(key, _)| !input.tag_keys.contains(key));
        Ok(())
    })
    .await
}

pub(super) async fn list(call: &Call<'_>, input: t::ListResourceTagsInput) -> Answer<t::ListResourceTagsOutput> {
    let found = call.find_own(&input.key_id, "kms:ListResourceTags").await?;
    let mut tags = found.key.tags.clone();
    tags.sort();
    let entry = |(key, value): Tag| (key.clone(), t::Tag { tag_key: key, tag_value: value });
    let page = page(tags.into_iter().map(entry), input.marker.as_deref(), input.limit)?;
    Ok(t::ListResourceTagsOutput { tags: page.items, next_marker: page.marker, truncated: page.truncated })
}
