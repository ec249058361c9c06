//! Writes a snapshot.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use karuta_blocks::{Header, Writer};
use karuta_swarm::{Codec, Piece, Seconds, Store};

use super::{DESERTED, FORMAT, KEY_VALUES, LEDGER, MAGIC, PEER_IDS, SWARMS, unix_ms};
use crate::policy::{Kept, KeptKind};
use crate::process;

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Saved {
    pub swarms: u64,
    /// IPv4 peers and IPv6 peers.
    pub peers: [u64; 2],
    pub bytes: u64,
    /// When the swarms were like this: milliseconds since 1970.
    pub created: u64,
    pub took: Duration,
}

/// Writes the swarms and the state of the policies, while both are in use. `now` is the time of the
/// store. Holds no lock while it writes.
///
/// # Errors
///
/// Writing fails.
pub fn write<W: Write>(
    to: W,
    store: &impl Store,
    (lifetime, peer_ids, now): (Seconds, bool, Seconds),
    policies: &[Kept],
) -> io::Result<(W, Saved)> {
    let start = Instant::now();
    let header = Header {
        magic: MAGIC,
        format: FORMAT,
        flags: if peer_ids { PEER_IDS } else { 0 },
        created: unix_ms(),
        parameter: lifetime,
        file_id: rand::random(),
        writer: Header::writer(concat!("karuta ", env!("CARGO_PKG_VERSION"))),
    };
    let mut writer = Writer::create(to, &header)?;
    let (swarms, peers) = swarms(&mut writer, store, Codec::new(lifetime, peer_ids), now)?;
    for kept in policies {
        let name = kept.policy.as_bytes();
        kept.save(start, |kind, record| {
            let kind = match kind {
                KeptKind::KeyValue => KEY_VALUES,
                KeptKind::Row => LEDGER,
            };
            writer.append(kind, record.len(), |is_new, block| {
                if is_new {
                    // The configuration limits names to 40 bytes.
                    block.push(name.len() as u8);
                    block.extend_from_slice(name);
                }
                block.extend_from_slice(record);
            })
        })?;
        writer.seal()?;
    }
    let end: Vec<u8> =
        [swarms, peers[0], peers[1]].into_iter().flat_map(u64::to_le_bytes).collect();
    let (to, bytes) = writer.end(&end)?;
    let created = header.created;
    Ok((to, Saved { swarms, peers, bytes, created, took: start.elapsed() }))
}

/// Returns the numbers of swarms and of peers.
fn swarms<S: Store>(
    writer: &mut Writer<impl Write>,
    store: &S,
    codec: Codec,
    now: Seconds,
) -> io::Result<(u64, [u64; 2])> {
    let (mut walk, mut piece) = (S::Walk::default(), Piece::default());
    let (mut swarms, mut peers, mut last) = (0, [0; 2], None);
    // Between the swarms, but blocks of their own.
    let mut deserted = Vec::new();
    let mut copied = 0;
    while store.next_piece(&mut walk, now, &mut piece) {
        copied += piece.peers.len() + OF_A_PIECE;
        if copied >= AT_ONCE {
            copied = 0;
            process::give_way();
        }
        if piece.peers.is_empty() {
            codec.write(&mut piece, &mut deserted);
            if deserted.len() >= MANY {
                append_deserted(writer, &mut deserted)?;
            }
            continue;
        }
        // The pieces of a large swarm follow one another.
        swarms += u64::from(last.replace(piece.info_hash) != Some(piece.info_hash));
        let of_v6 = piece.peers.iter().filter(|peer| peer.address.is_ipv6()).count() as u64;
        peers[0] += piece.peers.len() as u64 - of_v6;
        peers[1] += of_v6;
        writer.append(SWARMS, Codec::ROOM, |_, block| codec.write(&mut piece, block))?;
    }
    append_deserted(writer, &mut deserted)?;
    Ok((swarms, peers))
}

/// After how many peers the workers may go first. A scheduler may let a thread run for milliseconds
/// while another one of higher priority, on the same processor, has packets to answer.
const AT_ONCE: usize = 512;
/// What a piece takes beside its peers, in peers.
const OF_A_PIECE: usize = 16;
/// How many bytes of torrents without peers are collected before they are written.
const MANY: usize = 64 * 1024;

fn append_deserted(writer: &mut Writer<impl Write>, deserted: &mut Vec<u8>) -> io::Result<()> {
    writer.append(DESERTED, deserted.len(), |_, block| block.append(deserted))
}
