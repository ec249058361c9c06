//! Lines of torrents that others wrote, read back: downloads, and peers where there are any.

use std::net::SocketAddr;

use clap::ValueEnum;
use karuta_bittorrent::{InfoHash, PeerId, canonical_socket};
use karuta_swarm::{PIECE, Piece, Role, SavedPeer, Seconds};
use serde::Deserialize;

/// A format that can be read. They are the exports of the same names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Format {
    /// opentracker's `HASH:MINUTES:DOWNLOADS`; minutes since 1970 of the last announce.
    Statedump,
    /// opentracker's `HASH:SEEDERS:LEECHERS:DOWNLOADS`. The peers are not known, so only downloads are
    /// read.
    Txtp,
    /// A JSON object a line, with peers or without.
    Ndjson,
}

/// The longest line, in bytes: a torrent with some 500 000 peers.
pub const LONGEST: usize = 48 * 1024 * 1024;

#[derive(Deserialize)]
struct Torrent {
    info_hash: String,
    downloaded: u32,
    #[serde(default)]
    peers: Vec<Peer>,
}

#[derive(Deserialize)]
struct Peer {
    address: SocketAddr,
    role: RoleName,
    age_seconds: Seconds,
    #[serde(default)]
    hidden: bool,
}

/// A role by its name in exports.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RoleName {
    Downloader,
    PartialSeed,
    Seeder,
}

impl Format {
    /// Returns its name in queries and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Statedump => "statedump",
            Self::Txtp => "txtp",
            Self::Ndjson => "ndjson",
        }
    }

    /// Reads a line without its line break, and appends its torrent: several pieces, if it has many
    /// peers. `unix_seconds` is the time.
    ///
    /// # Errors
    ///
    /// What the line should have been. Nothing is appended.
    pub fn read(self, line: &[u8], unix_seconds: u64, into: &mut Vec<Piece>) -> Result<(), String> {
        match self {
            Self::Statedump => {
                let expected = "expected HASH:MINUTES:DOWNLOADS";
                let (info_hash, [minutes, downloads]) = fields(line).ok_or(expected)?;
                let silent = unix_seconds.saturating_sub(u64::from(minutes) * 60);
                let deserted = Seconds::try_from(silent).unwrap_or(Seconds::MAX);
                into.push(Piece { info_hash, downloads, deserted, ..Piece::default() });
            }
            Self::Txtp => {
                let expected = "expected HASH:SEEDERS:LEECHERS:DOWNLOADS";
                let (info_hash, [_, _, downloads]) = fields(line).ok_or(expected)?;
                into.push(Piece { info_hash, downloads, ..Piece::default() });
            }
            Self::Ndjson => {
                let torrent = serde_json::from_slice(line).map_err(|error| error.to_string());
                torrent.and_then(|torrent| pieces(torrent, into))?;
            }
        }
        Ok(())
    }
}

/// Reads an info-hash and numbers with colons between them.
fn fields<const N: usize>(line: &[u8]) -> Option<(InfoHash, [u32; N])> {
    let line = str::from_utf8(line).ok()?;
    let (info_hash, numbers) = line.strip_suffix('\r').unwrap_or(line).split_once(':')?;
    let info_hash = InfoHash::from_hex(info_hash).filter(|_| info_hash.len() == 40)?;
    let numbers: Result<Vec<u32>, _> = numbers.split(':').map(str::parse).collect();
    Some((info_hash, numbers.ok()?.try_into().ok()?))
}

fn pieces(torrent: Torrent, into: &mut Vec<Piece>) -> Result<(), String> {
    let Torrent { info_hash, downloaded: downloads, peers } = torrent;
    let info_hash = InfoHash::from_hex(&info_hash).ok_or("info_hash: expected 40 hex digits")?;
    let is_nowhere = |peer: &Peer| {
        let address = canonical_socket(peer.address);
        address.port() == 0 || address.ip().is_unspecified() || address.ip().is_multicast()
    };
    if peers.iter().any(is_nowhere) {
        return Err("a peer has no address or no port".to_owned());
    }
    if peers.is_empty() {
        into.push(Piece { info_hash, downloads, ..Piece::default() });
    }
    into.extend(peers.chunks(PIECE).map(|peers| Piece {
        info_hash,
        downloads,
        peers: peers.iter().map(SavedPeer::from).collect(),
        deserted: 0,
    }));
    Ok(())
}

impl From<&Peer> for SavedPeer {
    fn from(peer: &Peer) -> Self {
        let role = match peer.role {
            RoleName::Downloader => Role::Downloader,
            RoleName::PartialSeed => Role::PartialSeed,
            RoleName::Seeder => Role::Seeder,
        };
        Self {
            address: canonical_socket(peer.address),
            role,
            age: peer.age_seconds,
            // As if its download had been counted: it is part of the torrent's count.
            downloaded: role == Role::Seeder,
            is_hidden: peer.hidden,
            peer_id: PeerId::UNKNOWN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "ab1234567890abcdef00ab1234567890ABCDEF00";
    const NOW: u64 = 1_800_000_000;

    fn read(format: Format, line: &str) -> Result<Vec<Piece>, String> {
        let mut pieces = Vec::new();
        format.read(line.as_bytes(), NOW, &mut pieces).map(|()| pieces)
    }

    #[test]
    fn downloads_are_read_with_the_time_since_the_last_announce() {
        let minutes = NOW / 60 - 3;
        let [piece] = &read(Format::Statedump, &format!("{HASH}:{minutes}:7\r")).unwrap()[..]
        else {
            panic!("a line is a torrent")
        };
        assert_eq!((piece.info_hash, piece.downloads), (InfoHash::from_hex(HASH).unwrap(), 7));
        assert_eq!((piece.deserted, piece.peers.len()), (180, 0));
        let later = read(Format::Statedump, &format!("{HASH}:{}:7", minutes + 60)).unwrap();
        assert_eq!(later[0].deserted, 0);
        let [piece] = &read(Format::Txtp, &format!("{HASH}:1:2:9")).unwrap()[..] else {
            panic!("a line is a torrent")
        };
        assert_eq!((piece.downloads, piece.deserted, piece.peers.len()), (9, 0, 0));
    }

    #[test]
    fn many_peers_come_in_pieces() {
        let peer = |number: usize| {
            let port = number + 1;
            format!(r#"{{"address":"10.0.0.1:{port}","role":"seeder","age_seconds":9}}"#)
        };
        let peers: Vec<_> = (0..2 * PIECE + 1).map(peer).collect();
        let line = format!(
            r#"{{"info_hash":"{HASH}","complete":1,"incomplete":0,"downloaded":5,"peers":[{}]}}"#,
            peers.join(",")
        );
        let pieces = read(Format::Ndjson, &line).unwrap();
        let sizes: Vec<_> = pieces.iter().map(|piece| piece.peers.len()).collect();
        assert_eq!(sizes, [PIECE, PIECE, 1]);
        assert!(pieces.iter().all(|piece| piece.downloads == 5));
        let last = pieces[2].peers[0];
        assert_eq!(last.address, format!("10.0.0.1:{}", 2 * PIECE + 1).parse().unwrap());
        assert_eq!((last.role, last.age), (Role::Seeder, 9));
    }

    #[test]
    fn what_is_no_torrent_is_refused_whole() {
        let form = "expected HASH:MINUTES:DOWNLOADS";
        for line in [
            "",
            HASH,
            &format!("{HASH}:1"),
            &format!("{HASH}:1:2:3"),
            &format!("{HASH}:-1:2"),
            &format!("{HASH}:1:4294967296"),
            &format!("{}:1:2", &HASH[1..]),
            &format!(" {HASH}:1:2"),
            &format!("{HASH}{}:1:2", &HASH[..24]),
        ] {
            assert_eq!(read(Format::Statedump, line), Err(form.to_owned()), "{line}");
        }
        assert!(Format::Txtp.read(b"\xff:1:2:3", NOW, &mut Vec::new()).is_err());
        let with_peers = |peer: &str| {
            read(
                Format::Ndjson,
                &format!(r#"{{"info_hash":"{HASH}","downloaded":1,"peers":[{peer}]}}"#),
            )
        };
        for peer in [
            r#"{"address":"10.0.0.1:0","role":"seeder","age_seconds":0}"#,
            r#"{"address":"0.0.0.0:1","role":"seeder","age_seconds":0}"#,
            r#"{"address":"[::ffff:0.0.0.0]:1","role":"seeder","age_seconds":0}"#,
            r#"{"address":"224.0.0.1:1","role":"seeder","age_seconds":0}"#,
            r#"{"address":"example.org:1","role":"seeder","age_seconds":0}"#,
            r#"{"address":"10.0.0.1:1","role":"king","age_seconds":0}"#,
            r#"{"address":"10.0.0.1:1","role":"seeder","age_seconds":-1}"#,
            "7",
        ] {
            assert!(with_peers(peer).is_err(), "{peer}");
        }
        assert!(read(Format::Ndjson, r#"{"info_hash":"ab","downloaded":1}"#).is_err());
        assert!(read(Format::Ndjson, "[]").is_err());
    }
}
