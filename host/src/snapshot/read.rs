//! Reads a snapshot.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek};

use karuta_blocks::{Block, END, Found, Header, NotReadable, Reader};
use karuta_swarm::{Codec, Piece};

use super::{DESERTED, FORMAT, KEY_VALUES, LEDGER, MAGIC, PEER_IDS, SWARMS};
use crate::policy::{Kept, KeptKind};

/// What is in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contents {
    pub header: Header,
    pub swarms: u64,
    /// IPv4 peers and IPv6 peers.
    pub peers: [u64; 2],
    /// Torrents that have downloads, but no peers.
    pub deserted: u64,
    /// Key-values and rows of ledgers by policy.
    pub policies: BTreeMap<String, [u64; 2]>,
    pub found: Found,
}

/// Why nothing of a file can be used.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("not a snapshot, or damaged: {0}")]
    Not(#[from] NotReadable),
    #[error("a newer program wrote it: unknown flags {0:#x}")]
    Flags(u32),
    #[error("a newer program wrote it: unknown blocks of kind {0}")]
    Kind(u16),
}

/// Where what is read goes to.
pub(super) trait Sink {
    /// Is told first what the file says about itself.
    fn begin(&mut self, _: &Header) {}

    fn piece(&mut self, piece: &mut Piece);

    /// Takes a record of a policy off the front of `rest`. Returns `false` if it is malformed.
    fn record(&mut self, policy: &str, kind: KeptKind, rest: &mut &[u8]) -> bool;
}

/// Reads a whole file, and counts what is in it.
///
/// # Errors
///
/// It is not a snapshot that this program can use.
pub fn look(file: impl Read) -> Result<Contents, Unreadable> {
    struct Nowhere;
    impl Sink for Nowhere {
        fn piece(&mut self, _: &mut Piece) {}
        fn record(&mut self, _: &str, kind: KeptKind, rest: &mut &[u8]) -> bool {
            Kept::skip(kind, rest).is_ok()
        }
    }
    read(open(file)?, &mut Nowhere)
}

/// Reads a file to its end, and then again into `sink`, so that nothing is used of a file that must
/// be refused.
///
/// # Errors
///
/// It is not a snapshot that this program can use.
pub(super) fn read_twice<R: Read + Seek>(
    mut file: R,
    sink: &mut dyn Sink,
) -> Result<Contents, Unreadable> {
    let mut reader = open(&mut file)?;
    while let Some(Block { kind, essential, .. }) = next(&mut reader) {
        if essential && !is_known(kind) {
            return Err(Unreadable::Kind(kind));
        }
    }
    file.rewind().map_err(NotReadable::Io)?;
    read(open(file)?, sink)
}

fn open<R: Read>(file: R) -> Result<Reader<R>, Unreadable> {
    let reader = Reader::open(file, MAGIC, FORMAT)?;
    match reader.header().flags & !PEER_IDS {
        0 => Ok(reader),
        unknown => Err(Unreadable::Flags(unknown)),
    }
}

/// Returns the next block. A file is as good as cut off where the disk fails.
fn next<R: Read>(reader: &mut Reader<R>) -> Option<Block<'_>> {
    reader.next_block().unwrap_or_else(|error: io::Error| {
        tracing::error!(%error, "cannot read the rest of the snapshot");
        None
    })
}

fn is_known(kind: u16) -> bool {
    [SWARMS.0, DESERTED.0, KEY_VALUES.0, LEDGER.0, END].contains(&kind)
}

fn read<R: Read>(mut reader: Reader<R>, sink: &mut dyn Sink) -> Result<Contents, Unreadable> {
    let header = *reader.header();
    sink.begin(&header);
    let codec = Codec::new(header.parameter, header.flags & PEER_IDS != 0);
    let mut contents = Contents {
        header,
        swarms: 0,
        peers: [0; 2],
        deserted: 0,
        policies: BTreeMap::new(),
        found: Found::default(),
    };
    let (mut piece, mut last) = (Piece::default(), None);
    while let Some(Block { kind, essential, payload }) = next(&mut reader) {
        let mut rest = payload;
        let whole = match kind {
            _ if kind == SWARMS.0 => loop {
                if rest.is_empty() {
                    break true;
                }
                if codec.read(&mut rest, &mut piece).is_err() {
                    break false;
                }
                let of_v6 = piece.peers.iter().filter(|peer| peer.address.is_ipv6()).count() as u64;
                contents.peers[0] += piece.peers.len() as u64 - of_v6;
                contents.peers[1] += of_v6;
                let is_next = last.replace(piece.info_hash) != Some(piece.info_hash);
                contents.swarms += u64::from(is_next);
                sink.piece(&mut piece);
            },
            _ if kind == DESERTED.0 => loop {
                if rest.is_empty() {
                    break true;
                }
                if codec.read_deserted(&mut rest, &mut piece).is_err() {
                    break false;
                }
                contents.deserted += 1;
                sink.piece(&mut piece);
            },
            _ if kind == KEY_VALUES.0 => {
                records(rest, KeptKind::KeyValue, &mut contents.policies, sink)
            }
            _ if kind == LEDGER.0 => records(rest, KeptKind::Row, &mut contents.policies, sink),
            END => true,
            _ if essential => return Err(Unreadable::Kind(kind)),
            _ => {
                contents.found.unknown += 1;
                true
            }
        };
        contents.found.malformed += u32::from(!whole);
    }
    let Found { malformed, unknown, .. } = contents.found;
    Ok(Contents { found: Found { malformed, unknown, ..reader.found() }, ..contents })
}

/// Reads the records of a policy; returns `false` at a malformed one.
fn records(
    payload: &[u8],
    kind: KeptKind,
    policies: &mut BTreeMap<String, [u64; 2]>,
    sink: &mut dyn Sink,
) -> bool {
    let name = payload.split_first().and_then(|(len, rest)| {
        let (name, rest) = rest.split_at_checked(usize::from(*len))?;
        Some((std::str::from_utf8(name).ok()?, rest))
    });
    let Some((name, mut rest)) = name else { return false };
    let counts = policies.entry(name.to_owned()).or_default();
    while !rest.is_empty() {
        if !sink.record(name, kind, &mut rest) {
            return false;
        }
        counts[usize::from(kind == KeptKind::Row)] += 1;
    }
    true
}
