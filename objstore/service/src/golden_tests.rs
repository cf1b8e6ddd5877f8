//! Commands, answers and rows that every later version must read.

use karri_tests_golden::{Book, add_all};

use crate::inspect::{InspectCursor, Inspection, Standing};
use crate::lifecycle::{Lifecycle, LifecycleProgress};
use crate::messages::{
    Answer, Collected, Command, DirectoryCommand, DirectoryQuery, ListedPage, ObjectState, PartRows, Query,
    SettingsAnswer, Verdict, VersionLine, Written,
};
use crate::meter_messages::Reserved;
use crate::moves::Staged;
use crate::records::{
    BucketRecord, CompletedRecord, CondemnedRecord, ConfigRevisionRecord, CurrentRecord, DirectoryEntry, GarbageRecord,
    HoldingRecord, MeterRecord, MovingRecord, OperationRecord, PartRecord, ReservationRecord, ToldRecord, UploadRecord,
    UsageRecord, VersionRecord, decode, encode,
};

#[test]
fn commands_answers_and_rows_are_as_they_were() {
    let mut book = Book::open(env!("CARGO_MANIFEST_DIR"), 1);
    add_all!(book, encode, decode, [Command, Query, DirectoryCommand, DirectoryQuery]);
    add_all!(
        book,
        encode,
        decode,
        [
            Answer<Written>,
            Answer<Staged>,
            Answer<Reserved>,
            Collected,
            Verdict,
            SettingsAnswer,
            PartRows,
            ObjectState,
            VersionLine,
            ListedPage,
            InspectCursor,
            Inspection,
            Standing,
        ]
    );
    add_all!(
        book,
        encode,
        decode,
        [
            VersionRecord,
            CurrentRecord,
            BucketRecord,
            UsageRecord,
            MeterRecord,
            ToldRecord,
            ReservationRecord,
            ConfigRevisionRecord,
            DirectoryEntry,
            UploadRecord,
            PartRecord,
            CompletedRecord,
            OperationRecord,
            MovingRecord,
            GarbageRecord,
            HoldingRecord,
            CondemnedRecord,
            LifecycleProgress,
            Lifecycle,
        ]
    );
    book.close(&[]);
}
