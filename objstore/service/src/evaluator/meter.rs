//! How much is in all buckets of an account. They are in different ranges, so nothing adds them up in one transaction;
//! the meter is exact all the same (ADR 0013):
//!
//! - A bucket that it counts changes its size under a reservation only, so what the meter has settled and reserved is
//!   never less than what is there.
//! - A reservation ends by what the bucket says of its size after the change, or after a fence behind which it is void.
//! - Nobody is refused for a sum that has reservations in it, or that is of a bucket that has changed since.

use karri_ring_meta::EvaluateError;
use karri_ring_types::{DataId, Timestamp};

use super::reply;
use crate::keys::{self, BucketId, METERS, MeterId, RESERVATIONS};
use crate::messages::{Answer, Refusal};
use crate::meter_messages::{MeterChange, Reserved, Told};
use crate::records::{MeterRecord, ReservationRecord, ToldRecord, decode};
use crate::rows::{Rows, Step, load, store};

/// A reservation of this age may be of a gateway that is gone: whoever waits for it has the bucket fenced. The age
/// says when to ask, the fence what is so.
const RESERVATION_AGE_MS_MAX: u64 = 1_000;

/// Reservations that one command looks at.
const RESERVATIONS_SEEN_MAX: usize = 1_000;

/// Carries out a change of a meter.
pub(super) fn change(
    rows: &mut dyn Rows,
    meter: MeterId,
    change: MeterChange,
    now: Timestamp,
) -> Result<Vec<u8>, EvaluateError> {
    let mut record = load::<MeterRecord>(rows, METERS, &meter.0)?.unwrap_or_default();
    match change {
        MeterChange::Reserve { bucket, id, bytes, bytes_max, sequence, fence } => {
            let reservation = ReservationRecord { bytes, fence, since: now };
            if let Some(bytes_max) = bytes_max
                && let Some(answer) = refusal(rows, meter, &record, bucket, (&reservation, bytes_max), sequence)?
            {
                return reply(&answer);
            }
            let row = meter.reservation(bucket, id);
            if rows.get(RESERVATIONS, &row)?.is_none() {
                record.reserved = record.reserved.saturating_add(bytes);
                store(rows, RESERVATIONS, row, &reservation);
                store(rows, METERS, meter.0.to_vec(), &record);
            }
            reply(&Ok::<_, Refusal>(Reserved::Done))
        }
        MeterChange::Settle { bucket, id, told } => {
            let before = record.clone();
            end_reservations(rows, meter, &mut record, bucket, id, told)?;
            take_in(rows, meter, &mut record, bucket, told)?;
            if record != before {
                store(rows, METERS, meter.0.to_vec(), &record);
            }
            reply(&Ok::<_, Refusal>(()))
        }
        MeterChange::Complete => {
            if !record.complete {
                record.complete = true;
                store(rows, METERS, meter.0.to_vec(), &record);
            }
            reply(&Ok::<_, Refusal>(()))
        }
    }
}

/// What stands against a reservation.
fn refusal(
    rows: &mut dyn Rows,
    meter: MeterId,
    record: &MeterRecord,
    bucket: BucketId,
    (reservation, bytes_max): (&ReservationRecord, u64),
    sequence: u64,
) -> Result<Option<Answer<Reserved>>, EvaluateError> {
    if !record.complete {
        return Ok(Some(Ok(Reserved::NotMetered)));
    }
    let sum = record.settled.saturating_add(record.reserved).saturating_add(reservation.bytes);
    // What makes less, or nothing more, is never refused.
    if reservation.bytes == 0 || sum <= bytes_max {
        return Ok(None);
    }
    let told = load::<ToldRecord>(rows, METERS, &meter.bucket(bucket))?;
    if told.is_some_and(|told| told.sequence > sequence) {
        return Ok(Some(Ok(Reserved::Changed)));
    }
    let mut old = Vec::new();
    let mut seen = 0;
    rows.scan(RESERVATIONS, &meter.0, &keys::successor(&meter.0), &mut |key, row| {
        seen += 1;
        let is_old = reservation.since.as_millis().saturating_sub(decode::<ReservationRecord>(row)?.since.as_millis());
        if is_old > RESERVATION_AGE_MS_MAX
            && let Some(bucket) = keys::reserved_bucket(key)
            && old.last() != Some(&bucket)
        {
            old.push(bucket);
        }
        Ok(if seen < RESERVATIONS_SEEN_MAX { Step::Next } else { Step::Stop })
    })?;
    Ok(Some(match seen {
        0 => Err(Refusal::QuotaExceeded),
        _ => Ok(Reserved::Wait { old }),
    }))
}

/// Takes out the reservation that has ended, and those that are void.
fn end_reservations(
    rows: &mut dyn Rows,
    meter: MeterId,
    record: &mut MeterRecord,
    bucket: BucketId,
    id: Option<DataId>,
    told: Told,
) -> Result<(), EvaluateError> {
    let start = meter.bucket(bucket);
    let ended = id.map(|id| meter.reservation(bucket, id));
    let mut rest = Vec::new();
    rows.scan(RESERVATIONS, &start, &keys::successor(&start), &mut |key, row| {
        let reservation = decode::<ReservationRecord>(row)?;
        let is_void = match told {
            Told::Nothing => false,
            Told::Usage(usage) => reservation.fence < usage.fence,
            Told::Gone => true,
        };
        if is_void || ended.as_deref() == Some(key) {
            rest.push((key.to_vec(), reservation.bytes));
        }
        Ok(Step::Next)
    })?;
    for (key, bytes) in rest {
        record.reserved = record.reserved.saturating_sub(bytes);
        rows.delete(RESERVATIONS, key);
    }
    Ok(())
}

/// Takes in what a bucket tells, unless it has told later things before.
fn take_in(
    rows: &mut dyn Rows,
    meter: MeterId,
    record: &mut MeterRecord,
    bucket: BucketId,
    told: Told,
) -> Result<(), EvaluateError> {
    let row = meter.bucket(bucket);
    let before = load::<ToldRecord>(rows, METERS, &row)?;
    let bytes_before = before.as_ref().map_or(0, |before| before.bytes);
    let bytes = match told {
        Told::Usage(usage) if before.as_ref().is_none_or(|before| before.sequence < usage.sequence) => {
            store(rows, METERS, row, &ToldRecord { bytes: usage.bytes, sequence: usage.sequence });
            usage.bytes
        }
        // Stays, against what was told earlier and arrives later.
        Told::Gone => {
            store(rows, METERS, row, &ToldRecord { bytes: 0, sequence: u64::MAX });
            0
        }
        _ => return Ok(()),
    };
    record.settled = record.settled.saturating_sub(bytes_before).saturating_add(bytes);
    Ok(())
}
