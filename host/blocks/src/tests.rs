//! Tests of writing and reading together.

use proptest::prelude::*;

use super::*;

const MAGIC: [u8; 8] = *b"KARUTATS";

fn header() -> Header {
    Header {
        magic: MAGIC,
        format: 1,
        flags: 3,
        created: 1_700_000_000_000,
        parameter: 2700,
        file_id: *b"0123456789abcdef",
        writer: Header::writer("karuta 1.2.3, and more"),
    }
}

/// Writes records, each in a block of its own if `apart`.
fn written(records: &[(u16, Vec<u8>)], apart: bool) -> Vec<u8> {
    let mut writer = Writer::create(Vec::new(), &header()).unwrap();
    for (kind, record) in records {
        writer
            .append((*kind, *kind == 7), record.len(), |_, block| block.extend_from_slice(record))
            .unwrap();
        if apart {
            writer.seal().unwrap();
        }
    }
    let (bytes, size) = writer.end(b"sum").unwrap();
    assert_eq!(size, bytes.len() as u64);
    bytes
}

/// The blocks of a file, with their kinds and whether they are essential.
type Blocks = Vec<(u16, bool, Vec<u8>)>;

fn read(bytes: &[u8]) -> Result<(Blocks, Found), NotReadable> {
    let mut reader = Reader::open(bytes, MAGIC, 1)?;
    assert_eq!(*reader.header(), header());
    let mut blocks = Vec::new();
    while let Some(Block { kind, essential, payload }) = reader.next_block()? {
        blocks.push((kind, essential, payload.to_vec()));
    }
    Ok((blocks, reader.found()))
}

fn small() -> (Vec<(u16, Vec<u8>)>, Vec<u8>) {
    let records = vec![(1, vec![1; 600]), (2, vec![2; 5]), (7, vec![3; 496])];
    let bytes = written(&records, true);
    (records, bytes)
}

#[test]
fn the_layout_is_as_documented() {
    let (_, bytes) = small();
    assert_eq!(bytes.len(), 512 + 1024 + 512 + 512 + 512);
    assert_eq!(bytes[..12], *b"KARUTATS\x01\x00\x40\x00");
    assert_eq!(bytes[44..60], *b"karuta 1.2.3, an");
    assert_eq!(bytes[512..524], [1, 0, 0, 0, 0x58, 2, 0, 0, 0, 0, 0, 0]);
    let end = &bytes[512 + 2048..];
    assert_eq!(end[..12], [0xff, 0xff, 0, 0, 7, 0, 0, 0, 3, 0, 0, 0]);
    assert_eq!(end[16..23], *b"\x03\x00\x00\x00sum");
}

#[test]
fn records_share_a_block_until_it_is_full() {
    let records: Vec<_> = (0..100_u8).map(|byte| (1, vec![byte; 10_000])).collect();
    let (blocks, _) = read(&written(&records, false)).unwrap();
    let lengths: Vec<_> = blocks.iter().map(|(_, _, payload)| payload.len()).collect();
    assert_eq!(lengths, [260_000, 260_000, 260_000, 220_000, 3]);
}

#[test]
fn a_record_that_is_too_large_is_refused() {
    let mut writer = Writer::create(Vec::new(), &header()).unwrap();
    let mut append =
        |len| writer.append((1, false), len, |_, block| block.resize(block.len() + len, 1));
    assert!(append(MAX_PAYLOAD).is_ok());
    assert!(append(MAX_PAYLOAD + 1).is_err());
    assert!(append(1).is_ok());
    let (blocks, _) = read(&writer.end(b"").unwrap().0).unwrap();
    assert_eq!(blocks.len(), 3);
}

#[test]
fn other_files_are_refused() {
    let (_, bytes) = small();
    let open = |bytes: &[u8]| Reader::open(bytes, MAGIC, 1).map(drop).unwrap_err().to_string();
    assert_eq!(open(b""), "it is of another kind");
    assert_eq!(open(b"KARUTAX"), "it is of another kind");
    assert_eq!(open(&bytes[..63]), "its header is damaged");
    let mut newer = bytes.clone();
    newer[8] = 2;
    assert_eq!(open(&newer), "it has format 2, expected 1");
    let mut damaged = bytes;
    damaged[30] ^= 1;
    assert_eq!(open(&damaged), "its header is damaged");
}

/// Asserts that what was found was written, in order.
fn assert_some_of(blocks: &Blocks, records: &[(u16, Vec<u8>)]) {
    let mut left = records.iter();
    for (kind, essential, payload) in blocks {
        if *kind == END {
            assert_eq!(payload, b"sum");
        } else {
            assert_eq!(*essential, *kind == 7);
            assert!(left.any(|record| record == &(*kind, payload.clone())));
        }
    }
}

#[test]
fn a_flipped_bit_costs_no_more_than_its_block() {
    let (records, bytes) = small();
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        match read(&bytes) {
            Ok((blocks, found)) => {
                assert_some_of(&blocks, &records);
                assert!(blocks.len() >= records.len(), "byte {at}");
                let whole = blocks.len() > records.len();
                assert_eq!(found.lost == 0 && found.ended, whole, "byte {at}");
            }
            Err(_) => assert!(at < 64, "byte {at}"),
        }
    }
}

#[test]
fn every_prefix_has_its_whole_blocks() {
    let (records, bytes) = small();
    for len in 0..bytes.len() {
        let Ok((blocks, found)) = read(&bytes[..len]) else {
            assert!(len < 64);
            continue;
        };
        assert_some_of(&blocks, &records);
        let ends = [512 + 616, 512 + 1024 + 21, 512 + 1024 + 512 + 512, 512 + 2048 + 23];
        assert_eq!(blocks.len(), ends.iter().filter(|end| **end <= len).count(), "{len}");
        assert_eq!(found.lost, 0);
        assert_eq!(found.ended, len >= ends[3]);
    }
}

#[test]
fn a_block_of_another_file_is_not_taken() {
    let (_, bytes) = small();
    let mut writer = Writer::create(Vec::new(), &Header { file_id: [1; 16], ..header() }).unwrap();
    writer.append((1, false), 600, |_, block| block.resize(616, 9)).unwrap();
    let (other, _) = writer.end(b"").unwrap();
    let mixed = [&bytes[..512], &other[512..1536], &bytes[1536..]].concat();
    let (blocks, found) = read(&mixed).unwrap();
    assert_eq!((blocks.len(), found.lost, found.ended), (3, 1, true));
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        records in prop::collection::vec(
            (1..9_u16, prop::collection::vec(any::<u8>(), 1..3000)), 0..40),
    ) {
        let (blocks, found) = read(&written(&records, true)).unwrap();
        prop_assert_eq!((found.lost, found.ended), (0, true));
        let read = blocks.into_iter().map(|(kind, _, payload)| (kind, payload));
        let mut expected = records;
        expected.push((END, b"sum".to_vec()));
        prop_assert_eq!(read.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn nothing_is_made_up(
        records in prop::collection::vec(
            (1..9_u16, prop::collection::vec(any::<u8>(), 1..3000)), 0..20),
        holes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 1..700_usize), 0..6),
        keep in any::<prop::sample::Index>(),
    ) {
        let mut bytes = written(&records, true);
        for (at, byte, len) in holes {
            let at = at.index(bytes.len());
            let end = (at + len).min(bytes.len());
            bytes[at..end].fill(byte);
        }
        bytes.truncate(keep.index(bytes.len() + 1));
        if let Ok((blocks, _)) = read(&bytes) {
            assert_some_of(&blocks, &records);
        }
    }
}
