//! Pages of lists: `Marker`, `Limit`, `Truncated`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use karri_iam_wire::kms::ErrorCode;

use crate::Answer;

/// Items of a page when the request does not say.
const ITEMS_DEFAULT: usize = 100;
/// Most items of a page.
const ITEMS_MAX: usize = 1000;

/// A page of a list.
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) truncated: Option<bool>,
    pub(super) marker: Option<String>,
}

/// The page of `items` (with their keys, in the keys' order) behind `marker`.
pub(super) fn page<T>(
    items: impl IntoIterator<Item = (String, T)>,
    marker: Option<&str>,
    limit: Option<i32>,
) -> Answer<Page<T>> {
    let after = marker.map(read).transpose()?;
    let limit = limit.and_then(|max| usize::try_from(max).ok()).unwrap_or(ITEMS_DEFAULT).clamp(1, ITEMS_MAX);
    let mut rest = items.into_iter().filter(|(key, _)| after.as_ref().is_none_or(|after| key > after));
    let (mut found, mut last) = (Vec::new(), String::new());
    for (key, item) in rest.by_ref().take(limit) {
        found.push(item);
        last = key;
    }
    let truncated = rest.next().is_some();
    let marker = truncated.then(|| URL_SAFE_NO_PAD.encode(last));
    Ok(Page { items: found, truncated: Some(truncated), marker })
}

fn read(marker: &str) -> Answer<String> {
    let bytes = URL_SAFE_NO_PAD.decode(marker).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| ErrorCode::InvalidMarkerException.into())
}
