use karri_ring_types::VersionId;
use proptest::prelude::*;

use super::*;
use crate::records::{CurrentRecord, Etag, encode};

fn owner() -> impl Strategy<Value = Owner> {
    ("[0-9]{0,12}", ".{0,8}", ".{0,8}").prop_map(|(account_id, user_id, display_name)| Owner {
        account_id,
        user_id,
        display_name,
    })
}

fn checksum() -> impl Strategy<Value = (ChecksumAlgorithm, ChecksumType)> {
    use ChecksumAlgorithm::{Crc32, Crc32c, Crc64Nvme, Sha1, Sha256};
    let kinds = prop_oneof![Just(ChecksumType::Composite), Just(ChecksumType::FullObject)];
    (prop_oneof![Just(Crc32), Just(Crc32c), Just(Crc64Nvme), Just(Sha1), Just(Sha256)], kinds)
}

fn record() -> impl Strategy<Value = CurrentRecord> {
    let etag = prop_oneof![
        any::<[u8; 16]>().prop_map(Etag::Md5),
        any::<([u8; 16], u16)>().prop_map(|(md5, parts)| Etag::Parts(md5, parts)),
    ];
    let class = prop::option::of("[A-Z_]{1,12}");
    (
        any::<u128>(),
        any::<u64>(),
        etag,
        any::<u64>(),
        class,
        prop::option::of(checksum()),
        any::<bool>(),
        prop::option::of(owner()),
    )
        .prop_map(|(version, size, etag, modified, storage_class, checksum, null, owner)| CurrentRecord {
            version: VersionId(version),
            size,
            etag,
            modified: Timestamp(modified),
            storage_class,
            checksum,
            null,
            owner,
        })
}

/// A line of objects or of a common prefix, with what its row says.
fn line() -> impl Strategy<Value = (String, Option<CurrentRecord>)> {
    (".{0,200}", prop::option::of(record()))
}

fn message(lines: &[(String, Option<CurrentRecord>)], resume: Option<Vec<u8>>) -> ListedPage {
    let line = |(text, record): &(String, Option<CurrentRecord>)| match record {
        Some(record) => Line::Object(text.clone(), encode(record).into()),
        None => Line::Prefix(text.clone()),
    };
    ListedPage { lines: lines.iter().map(line).collect(), resume }
}

fn entry(key: &str, record: &CurrentRecord) -> ListEntry {
    ListEntry {
        key: key.to_owned(),
        size: record.size,
        etag: record.etag.text(),
        last_modified: record.modified,
        storage_class: record.storage_class.clone().unwrap_or_else(|| STORAGE_CLASS_DEFAULT.to_owned()),
        checksum_algorithm: record.checksum.map(|(algorithm, _)| algorithm),
        checksum_type: record.checksum.map(|(_, kind)| kind),
        owner: record.owner.clone(),
    }
}

proptest! {
    #[test]
    fn pages_are_written_and_read_as_every_version_does(
        lines in prop::collection::vec(line(), 0..6),
        many in prop_oneof![Just(1_usize), Just(40)],
        resume in prop::option::of(prop::collection::vec(any::<u8>(), 0..200)),
        limit in 0_usize..300,
    ) {
        let lines: Vec<_> = std::iter::repeat_n(lines, many).flatten().collect();
        let message = message(&lines, resume.clone());
        let mut writer = PageWriter::new(lines.len());
        for (text, record) in &lines {
            match record {
                Some(record) => writer.object(text.as_bytes(), &encode(record)),
                None => writer.prefix(text),
            }
        }
        prop_assert_eq!(writer.lines(), lines.len());
        let written = writer.finish(resume.as_ref());
        // One that knows the messages alone reads what is written here.
        prop_assert_eq!(decode::<Answer<ListedPage>>(&written).expect("readable"), Ok(message.clone()));

        // And what it writes is read here.
        let by_message = encode(&Ok::<_, crate::messages::Refusal>(message));
        for answer in [written, by_message] {
            let mut page = ListedObjects::default();
            prop_assert_eq!(page.add(answer.into()).expect("readable"), resume.clone());
            prop_assert_eq!(page.len(), lines.len());
            page.truncate(limit);
            let kept = &lines[..limit.min(lines.len())];
            prop_assert_eq!(page.last(), kept.last().map(|(text, _)| text.clone()));
            let prefix = kept.last().filter(|(_, record)| record.is_none());
            prop_assert_eq!(page.told(), prefix.map(|(text, _)| text.clone()));
            let page = page.into_page().expect("readable");
            let entries = kept.iter().filter_map(|(key, record)| Some(entry(key, record.as_ref()?)));
            prop_assert_eq!(page.entries, entries.collect::<Vec<_>>());
            let prefixes = kept.iter().filter(|(_, record)| record.is_none()).map(|(text, _)| text.clone());
            prop_assert_eq!(page.common_prefixes, prefixes.collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_cut_short_or_torn_is_told(lines in prop::collection::vec(line(), 1..4), cut: prop::sample::Index, bit: u16) {
        let whole = encode(&Ok::<_, crate::messages::Refusal>(message(&lines, None)));
        let mut page = ListedObjects::default();
        prop_assert!(page.add(Bytes::copy_from_slice(&whole[..cut.index(whole.len())])).is_err());
        let mut torn = whole.clone();
        let at = cut.index(torn.len());
        torn[at] ^= 1 << (bit % 8);
        let mut page = ListedObjects::default();
        if page.add(torn.into()).is_ok() {
            // Whatever it says now, it is read without a panic.
            let _ = page.into_page();
        }
    }
}

#[test]
fn a_refusal_is_one() {
    let refused: Answer<ListedPage> = Err(crate::messages::Refusal::NoSuchBucket);
    assert!(matches!(ListedObjects::default().add(encode(&refused).into()), Err(ServiceError::NoSuchBucket)));
}

#[test]
fn tags_of_parts_have_their_number() {
    for parts in [0, 1, 9, 10, 99, 100, 101, 9_999, 10_000, u16::MAX] {
        let text = EtagText::new(&[0xab; 16], Some(parts));
        assert_eq!(text.as_str(), Etag::Parts([0xab; 16], parts).text());
    }
    assert_eq!(EtagText::new(&[0x0f; 16], None).as_str(), Etag::Md5([0x0f; 16]).text());
}
