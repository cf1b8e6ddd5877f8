//! Pages of lists: `Marker`, `MaxItems`, `IsTruncated`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use karri_iam_wire::iam::ErrorCode;

use super::Answer;

/// Items of a page when the request does not say.
const ITEMS_DEFAULT: usize = 100;
/// Most items of a page.
const ITEMS_MAX: usize = 1000;

/// A page of a list.
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) is_truncated: Option<bool>,
    pub(super) marker: Option<String>,
}

/// The page of `items` (with their keys, in the keys' order) behind `marker`.
pub(super) fn page<T>(
    items: impl IntoIterator<Item = (String, T)>,
    marker: Option<&str>,
    max_items: Option<i32>,
) -> Answer<Page<T>> {
    let after = marker.map(read).transpose()?;
    let limit = max_items.and_then(|max| usize::try_from(max).ok()).unwrap_or(ITEMS_DEFAULT).clamp(1, ITEMS_MAX);
    let mut rest = items.into_iter().filter(|(key, _)| after.as_ref().is_none_or(|after| key > after));
    let (mut found, mut last) = (Vec::new(), String::new());
    for (key, item) in rest.by_ref().take(limit) {
        found.push(item);
        last = key;
    }
    let is_truncated = rest.next().is_some();
    let marker = is_truncated.then(|| URL_SAFE_NO_PAD.encode(last));
    Ok(Page { items: found, is_truncated: Some(is_truncated), marker })
}

fn read(marker: &str) -> Answer<String> {
    let bytes = URL_SAFE_NO_PAD.decode(marker).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.ok_or_else(|| ErrorCode::ValidationError.with(format!("Invalid Marker: {marker}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_a_list_without_gap_or_overlap() {
        let all: Vec<(String, u32)> = (0..257).map(|n| (format!("k{n:04}"), n)).collect();
        for size in [1, 2, 100, 256, 257, 300] {
            let (mut found, mut marker) = (Vec::new(), None::<String>);
            loop {
                let part = page(all.clone(), marker.as_deref(), Some(size)).ok().unwrap();
                assert!(part.items.len() <= size as usize);
                found.extend(part.items);
                assert_eq!(part.is_truncated, Some(part.marker.is_some()));
                marker = part.marker;
                if marker.is_none() {
                    break;
                }
            }
            assert_eq!(found, (0..257).collect::<Vec<_>>(), "pages of {size}");
        }
        assert_eq!(page(all, Some("*"), None).err().unwrap().code, "ValidationError");
    }
}
