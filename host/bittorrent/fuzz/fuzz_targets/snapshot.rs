//! A file of blocks with pieces of swarms, damaged in any way or made up.
#![no_main]

use karuta_blocks::{Block, Header, Reader, Writer};
use karuta_swarm::{Codec, Memory, Options, Piece, Store};
use libfuzzer_sys::fuzz_target;

const MAGIC: [u8; 8] = *b"KARUTASW";

/// Restores what can be read of a file.
fn restore(file: &[u8], store: &Memory) {
    let Ok(mut reader) = Reader::open(file, MAGIC, 1) else { return };
    let header = *reader.header();
    let codec = Codec::new(header.parameter, header.flags & 1 == 1);
    let mut piece = Piece::default();
    while let Ok(Some(Block { kind, payload, .. })) = reader.next_block() {
        let mut rest = payload;
        while !rest.is_empty() {
            let read = match kind {
                1 => codec.read(&mut rest, &mut piece),
                _ => codec.read_deserted(&mut rest, &mut piece),
            };
            if read.is_err() {
                break;
            }
            store.restore(&piece, 1);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let options = Options { keep_peer_ids: true, shards: 2, ..Options::default() };
    let store = Memory::new(options);
    restore(bytes, &store);
    // The same bytes as the payload of a block whose checksum is right.
    let header = Header {
        magic: MAGIC,
        format: 1,
        flags: bytes.first().map_or(0, |byte| u32::from(byte & 1)),
        created: 0,
        parameter: 2700,
        file_id: [0; 16],
        writer: [0; 16],
    };
    let mut writer = Writer::create(Vec::new(), &header).expect("memory");
    let kind = (1 + bytes.len() as u16 % 2, true);
    writer.append(kind, bytes.len(), |_, block| block.extend_from_slice(bytes)).expect("memory");
    let (file, _) = writer.end(&[]).expect("memory");
    restore(&file, &store);
    // The totals are those of the swarms that are there.
    let totals = store.totals();
    let (mut walk, mut piece) = (Default::default(), Piece::default());
    let mut peers = 0;
    while store.next_piece(&mut walk, 1, &mut piece) {
        peers += piece.peers.len() as u64;
    }
    let all = [totals.ipv4, totals.ipv6].map(|of| of.seeders + of.leechers);
    assert_eq!(peers, all.iter().sum::<u64>());
});
