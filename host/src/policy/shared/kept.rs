//! What outlives the process of a policy: its key-values and its ledger, as records of a snapshot.
//!
//! A record is an expiry in milliseconds (8 bytes; all ones: never), whether the value is a counter
//! (1 byte), the lengths of key and value (2 and 4 bytes), and both; or it is a row of a ledger. All
//! numbers are little-endian.

use std::sync::Arc;
use std::time::{Duration, Instant};

use karuta_accounts::Bytes;
use karuta_bittorrent::{InfoHash, PeerId};
use parking_lot::Mutex;

use super::keyvalues::{KeyValues, MAX_KEY, MAX_VALUE, Saved};
use super::ledger::{Ledger, Row};

/// The state of one policy.
#[derive(Clone)]
pub struct Kept {
    pub policy: Arc<str>,
    pub store: Arc<KeyValues>,
    /// `limits.storage` in bytes.
    pub storage: u64,
    pub ledger: Arc<Mutex<Ledger>>,
}

/// What a record is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeptKind {
    KeyValue,
    Row,
}

/// A record that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed record of a policy")]
pub struct Malformed;

impl Kept {
    /// Passes every record to `write`, while the policy goes on. No lock is held then, and each only
    /// for as long as it takes to copy a small part of the records.
    ///
    /// # Errors
    ///
    /// The first error of `write`.
    pub fn save<E>(
        &self,
        now: Instant,
        mut write: impl FnMut(KeptKind, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut record = Vec::new();
        let mut entries = Vec::new();
        for part in 0..KeyValues::PARTS {
            self.store.copy(part, now, &mut entries);
            for entry in entries.drain(..) {
                record.clear();
                write_entry(&entry, now, &mut record);
                write(KeptKind::KeyValue, &record)?;
            }
        }
        let mut rows = Vec::new();
        for part in 0..Ledger::PARTS {
            self.ledger.lock().copy(part, &mut rows);
            for row in rows.drain(..) {
                record.clear();
                write_row(&row, now, &mut record);
                write(KeptKind::Row, &record)?;
            }
        }
        Ok(())
    }

    /// Enters a record off the front of `rest`, which was written `passed` ago. What the policy has
    /// set meanwhile stays. Returns whether the record was entered: it may have expired, or there is
    /// no room for it.
    ///
    /// # Errors
    ///
    /// The record is malformed.
    pub fn restore(
        &self,
        kind: KeptKind,
        rest: &mut &[u8],
        now: Instant,
        passed: Duration,
    ) -> Result<bool, Malformed> {
        match kind {
            KeptKind::KeyValue => {
                let entry = read_entry(rest, now, passed)?;
                Ok(self.store.put_back(entry, self.storage, now))
            }
            KeptKind::Row => {
                let row = read_row(rest, now, passed)?;
                Ok(row.is_some_and(|row| self.ledger.lock().put_back(row)))
            }
        }
    }

    /// Skips a record as [`Self::restore`] does, for a policy that is no longer there.
    ///
    /// # Errors
    ///
    /// The record is malformed.
    pub fn skip(kind: KeptKind, rest: &mut &[u8]) -> Result<(), Malformed> {
        let now = Instant::now();
        match kind {
            KeptKind::KeyValue => read_entry(rest, now, Duration::ZERO).map(drop),
            KeptKind::Row => read_row(rest, now, Duration::ZERO).map(drop),
        }
    }
}

#[cfg(test)]
impl Kept {
    /// Returns the state of a policy that has just begun.
    pub fn empty(policy: &str) -> Self {
        let storage = 1 << 20;
        Self { policy: policy.into(), store: Arc::default(), storage, ledger: Arc::default() }
    }

    /// Returns the state of a policy with three key-values and a row of the ledger.
    pub fn with_records(policy: &str) -> Self {
        let kept = Self::empty(policy);
        let now = Instant::now();
        for key in [b"a", b"b"] {
            let put = kept.store.put(key, b"value", None, kept.storage, now);
            assert_eq!(put, Ok(()));
        }
        assert_eq!(kept.store.increment(b"c", 7, Some(1 << 20), kept.storage, now), Ok(7));
        let row = Row {
            info_hash: InfoHash([7; 20]),
            peer_id: PeerId([8; 20]),
            said: Bytes { uploaded: 1, downloaded: 2 },
            at: now,
        };
        assert!(kept.ledger.lock().put_back(row));
        kept
    }
}

fn write_entry(entry: &Saved, now: Instant, into: &mut Vec<u8>) {
    let left = entry.expires.map_or(u64::MAX, |at| milliseconds(at.saturating_duration_since(now)));
    let (counter, value) = match &entry.value {
        Ok(bytes) => (0, &bytes[..]),
        Err(count) => (1, &count.to_le_bytes()[..]),
    };
    into.extend_from_slice(&left.to_le_bytes());
    into.push(counter);
    into.extend_from_slice(&(entry.key.len() as u16).to_le_bytes());
    into.extend_from_slice(&(value.len() as u32).to_le_bytes());
    into.extend_from_slice(&entry.key);
    into.extend_from_slice(value);
}

fn read_entry(rest: &mut &[u8], now: Instant, passed: Duration) -> Result<Saved, Malformed> {
    let left = u64::from_le_bytes(take(rest)?);
    let [counter] = take(rest)?;
    let key = usize::from(u16::from_le_bytes(take(rest)?));
    let value = u32::from_le_bytes(take(rest)?) as usize;
    if key > MAX_KEY || value > MAX_VALUE {
        return Err(Malformed);
    }
    let (key, after) = rest.split_at_checked(key).ok_or(Malformed)?;
    let (value, after) = after.split_at_checked(value).ok_or(Malformed)?;
    *rest = after;
    let left = Duration::from_millis(left).saturating_sub(passed);
    Ok(Saved {
        key: key.into(),
        value: match counter {
            0 => Ok(value.into()),
            1 => Err(i64::from_le_bytes(value.try_into().map_err(|_| Malformed)?)),
            _ => return Err(Malformed),
        },
        // Further away than a clock can count: never.
        expires: now.checked_add(left).filter(|_| left < FOREVER),
    })
}

/// More than any time to live, and less than "never" after any time.
const FOREVER: Duration = Duration::from_hours(200 * 365 * 24);

fn write_row(row: &Row, now: Instant, into: &mut Vec<u8>) {
    let age = milliseconds(now.saturating_duration_since(row.at));
    into.extend_from_slice(&row.info_hash.0);
    into.extend_from_slice(&row.peer_id.0);
    into.extend_from_slice(&row.said.uploaded.to_le_bytes());
    into.extend_from_slice(&row.said.downloaded.to_le_bytes());
    into.extend_from_slice(&age.to_le_bytes());
}

/// Returns `None` if the row is older than the clock can count.
fn read_row(rest: &mut &[u8], now: Instant, passed: Duration) -> Result<Option<Row>, Malformed> {
    let info_hash = InfoHash(take(rest)?);
    let peer_id = PeerId(take(rest)?);
    let uploaded = u64::from_le_bytes(take(rest)?);
    let downloaded = u64::from_le_bytes(take(rest)?);
    let age = Duration::from_millis(u64::from_le_bytes(take(rest)?)).saturating_add(passed);
    let at = now.checked_sub(age);
    let said = Bytes { uploaded, downloaded };
    Ok(at.map(|at| Row { info_hash, peer_id, said, at }))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (first, after) = rest.split_first_chunk().ok_or(Malformed)?;
    *rest = after;
    Ok(*first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STORAGE: u64 = 1 << 20;

    fn kept() -> Kept {
        Kept::empty("a")
    }

    fn saved(kept: &Kept, now: Instant) -> Vec<(KeptKind, Vec<u8>)> {
        let mut records = Vec::new();
        let done = kept.save(now, |kind, record| {
            records.push((kind, record.to_vec()));
            Ok::<_, ()>(())
        });
        assert_eq!(done, Ok(()));
        records
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn key_values_go_on_where_they_were() {
        let now = Instant::now() + seconds(1000);
        let (before, after) = (kept(), kept());
        before.store.put(b"short", b"1", Some(10), STORAGE, now).unwrap();
        before.store.put(b"long", b"2", Some(20), STORAGE, now).unwrap();
        before.store.put(b"ever", &[3; MAX_VALUE], None, STORAGE, now).unwrap();
        before.store.increment(b"count", -7, Some(20), STORAGE, now).unwrap();
        before.store.put(b"newer", b"old", None, STORAGE, now).unwrap();
        after.store.put(b"newer", b"new", None, STORAGE, now).unwrap();
        let mut entered = 0;
        for (kind, record) in saved(&before, now + seconds(5)) {
            assert_eq!(kind, KeptKind::KeyValue);
            let mut rest = &record[..];
            entered += u8::from(after.restore(kind, &mut rest, now, seconds(5)).unwrap());
            assert_eq!(rest, b"");
        }
        assert_eq!(entered, 3);
        let get = |key: &[u8], at| after.store.get(key, now + seconds(at));
        assert_eq!(get(b"short", 0), None);
        assert_eq!((get(b"long", 9), get(b"long", 10)), (Some(b"2".to_vec()), None));
        assert_eq!(get(b"ever", 1 << 30), Some(vec![3; MAX_VALUE]));
        assert_eq!(get(b"newer", 0), Some(b"new".to_vec()));
        assert_eq!(after.store.increment(b"count", 1, None, STORAGE, now), Ok(-6));
        assert_eq!(get(b"count", 10), None, "its time goes on");
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let now = Instant::now();
        let (before, after) = (kept(), Kept { storage: 400, ..kept() });
        for key in 0..10_u8 {
            before.store.put(&[key], b"1", None, STORAGE, now).unwrap();
        }
        let restore = |(kind, record): &(KeptKind, Vec<u8>)| {
            after.restore(*kind, &mut &record[..], now, Duration::ZERO).unwrap()
        };
        assert_eq!(saved(&before, now).iter().filter(|record| restore(record)).count(), 3);
    }

    #[test]
    fn a_row_is_as_old_as_it_is() {
        let now = Instant::now();
        let (before, after) = (kept(), kept());
        let row = Row {
            info_hash: InfoHash([7; 20]),
            peer_id: PeerId([8; 20]),
            said: Bytes { uploaded: 1, downloaded: u64::MAX },
            at: now,
        };
        before.ledger.lock().put_back(row);
        let [(kind, record)] = saved(&before, now + seconds(30)).try_into().unwrap();
        let later = now + seconds(1000);
        assert_eq!(after.restore(kind, &mut &record[..], later, seconds(5)), Ok(true));
        assert_eq!(after.restore(kind, &mut &record[..], later, seconds(5)), Ok(false));
        let mut rows = Vec::new();
        (0..Ledger::PARTS).for_each(|part| after.ledger.lock().copy(part, &mut rows));
        assert_eq!(rows, [Row { at: later - seconds(35), ..row }]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, row: bool, passed: u64) {
            let kind = if row { KeptKind::Row } else { KeptKind::KeyValue };
            let (now, passed) = (Instant::now(), Duration::from_millis(passed));
            let _ = kept().restore(kind, &mut &bytes[..], now, passed);
        }

        #[test]
        fn every_prefix_is_refused(key: Vec<u8>, value: Vec<u8>, ttl: Option<u32>) {
            let now = Instant::now();
            let kept = kept();
            kept.store.put(&key, &value, ttl, STORAGE, now).unwrap();
            for (kind, record) in saved(&kept, now) {
                for len in 0..record.len() {
                    prop_assert_eq!(Kept::skip(kind, &mut &record[..len]), Err(Malformed));
                }
                prop_assert_eq!(Kept::skip(kind, &mut &record[..]), Ok(()));
            }
        }
    }
}
