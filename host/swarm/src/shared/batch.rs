//! Batches of records: the entries of a log, in format 1.

use karuta_bittorrent::InfoHash;

use crate::Seconds;
use crate::announced::{Announced, NoRecord, read_varint, take, write_varint};

/// The only format so far.
pub const FORMAT: u8 = 1;
/// The most bytes of a batch.
pub const MOST: usize = 64 * 1024;
/// The most bytes of a header.
pub const HEADER: usize = 1 + 8 + 8 + 1 + 5;

const AGAIN: u8 = 1;

/// What a batch says of all its records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Who sends it: a number that a node chooses at random whenever it starts.
    pub node: u64,
    /// Counted by that node, for each part.
    pub sequence: u64,
    /// It was sent before, perhaps with more records.
    pub again: bool,
    /// How long its last record had waited when it was sent.
    pub waited: Seconds,
}

/// A batch whose records have all been checked.
pub struct Batch<'a> {
    pub header: Header,
    records: &'a [u8],
}

/// Why an entry of a log is refused, as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RefusedBatch {
    #[error("a batch has 1 to {MOST} bytes and at least one record, this entry has {0} bytes")]
    Length(usize),
    #[error("the batch has format {0}, this node reads format {FORMAT}")]
    Format(u8),
    #[error("the header of the batch is malformed")]
    Header,
    #[error("record {0} of the batch is malformed")]
    Record(usize),
    #[error("record {0} of the batch belongs to another part; do all nodes have as many parts?")]
    Part(usize),
}

impl RefusedBatch {
    /// Every [`reason`](Self::reason).
    pub const REASONS: [&str; 5] = ["length", "format", "header", "record", "part"];

    /// Returns the reason in one word, for metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Length(_) => "length",
            Self::Format(_) => "format",
            Self::Header => "header",
            Self::Record(_) => "record",
            Self::Part(_) => "part",
        }
    }
}

impl Header {
    /// Returns a batch of these records: the format (1 byte), node and sequence (8 bytes each,
    /// little-endian), a byte of flags (1: again), how long it waited (a varint of seconds), and the
    /// records.
    pub fn with(self, records: &[u8]) -> Vec<u8> {
        let mut batch = Vec::with_capacity(HEADER + records.len());
        batch.push(FORMAT);
        batch.extend_from_slice(&self.node.to_le_bytes());
        batch.extend_from_slice(&self.sequence.to_le_bytes());
        batch.push(if self.again { AGAIN } else { 0 });
        write_varint(self.waited, &mut batch);
        batch.extend_from_slice(records);
        batch
    }

    fn read(rest: &mut &[u8]) -> Result<Self, NoRecord> {
        let [node, sequence] = [take(rest)?, take(rest)?].map(u64::from_le_bytes);
        let again = match take(rest)? {
            [0] => false,
            [AGAIN] => true,
            _ => return Err(NoRecord),
        };
        Ok(Self { node, sequence, again, waited: read_varint(rest)? })
    }
}

impl<'a> Batch<'a> {
    /// Reads an entry. `belongs` says whether a torrent is one of its log.
    ///
    /// # Errors
    ///
    /// The entry is no batch of format 1, or a record is malformed or belongs to another log.
    pub fn read(entry: &'a [u8], belongs: impl Fn(InfoHash) -> bool) -> Result<Self, RefusedBatch> {
        let mut rest = entry;
        if entry.len() > MOST {
            return Err(RefusedBatch::Length(entry.len()));
        }
        match take(&mut rest) {
            Ok([FORMAT]) => {}
            Ok([format]) => return Err(RefusedBatch::Format(format)),
            Err(NoRecord) => return Err(RefusedBatch::Length(0)),
        }
        let header = Header::read(&mut rest).map_err(|NoRecord| RefusedBatch::Header)?;
        if rest.is_empty() {
            return Err(RefusedBatch::Length(entry.len()));
        }
        let records = rest;
        let mut number = 0;
        while !rest.is_empty() {
            number += 1;
            let record = Announced::read(&mut rest);
            let record = record.map_err(|NoRecord| RefusedBatch::Record(number))?;
            if !belongs(record.info_hash) {
                return Err(RefusedBatch::Part(number));
            }
        }
        Ok(Self { header, records })
    }

    /// Returns the records, each with its bytes.
    pub fn records(&self) -> impl Iterator<Item = (Announced, &'a [u8])> + 'a {
        records(self.records)
    }
}

/// Returns the records, each with its bytes, up to the first that is malformed.
pub fn records(mut rest: &[u8]) -> impl Iterator<Item = (Announced, &[u8])> {
    std::iter::from_fn(move || {
        let before = rest;
        let announced = Announced::read(&mut rest).ok()?;
        Some((announced, &before[..before.len() - rest.len()]))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: Header =
        Header { node: 0x0807_0605_0403_0201, sequence: 9, again: true, waited: 300 };

    /// A downloader's record.
    fn record(first: u8) -> Vec<u8> {
        [&[0, first][..], &[7; 19], &[1, 2, 3, 4, 0, 5]].concat()
    }

    fn refused(entry: &[u8]) -> Option<RefusedBatch> {
        Batch::read(entry, |info_hash| info_hash.0[0] == 7).err()
    }

    #[test]
    fn the_layout_is_as_documented() {
        let batch = HEAD.with(&record(7));
        let header = [1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0xac, 2];
        assert_eq!(batch, [&header[..], &record(7)].concat());
        let read = Batch::read(&batch, |_| true).unwrap();
        assert_eq!((read.header, read.records().count()), (HEAD, 1));
    }

    #[test]
    fn an_entry_that_is_no_batch_is_refused_with_a_reason() {
        let whole = HEAD.with(&[record(7), record(7)].concat());
        assert_eq!(refused(&whole), None);
        assert_eq!(refused(&[]), Some(RefusedBatch::Length(0)));
        assert_eq!(refused(&HEAD.with(&[])), Some(RefusedBatch::Length(20)));
        assert_eq!(refused(&vec![1; MOST + 1]), Some(RefusedBatch::Length(MOST + 1)));
        assert_eq!(refused(&[2, 0, 0]), Some(RefusedBatch::Format(2)));
        assert_eq!(refused(&whole[..18]), Some(RefusedBatch::Header));
        let mut flags = whole.clone();
        flags[17] = 2;
        assert_eq!(refused(&flags), Some(RefusedBatch::Header));
        assert_eq!(refused(&whole[..whole.len() - 1]), Some(RefusedBatch::Record(2)));
        let strange = HEAD.with(&[record(7), record(6)].concat());
        assert_eq!(refused(&strange), Some(RefusedBatch::Part(2)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(mut bytes: Vec<u8>, is_format_1: bool) {
            if let Some(first) = bytes.first_mut().filter(|_| is_format_1) {
                *first = FORMAT;
            }
            if let Ok(batch) = Batch::read(&bytes, |_| true) {
                let mut records = Vec::new();
                batch.records().for_each(|(record, _)| record.write(&mut records));
                let again = batch.header.with(&records);
                let again = Batch::read(&again, |_| true).unwrap();
                prop_assert_eq!(batch.header, again.header);
                let announced = |batch: &Batch| {
                    batch.records().map(|(announced, _)| announced).collect::<Vec<_>>()
                };
                prop_assert_eq!(announced(&batch), announced(&again));
            }
        }
    }
}
