//! The formats, and what they say about a torrent.

use std::io::Write;

use clap::ValueEnum;
use karuta_bittorrent::{Counts, InfoHash};
use karuta_swarm::{Role, SavedPeer};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde::{Deserialize, Serialize};

/// A format. Those before `aquatic` are opentracker's, with its names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The bencoded answer to a scrape of everything, sorted by info-hash (BEP 48).
    Ben,
    /// `HASH:SEEDERS:LEECHERS`, in upper case.
    Txt,
    /// `HASH:SEEDERS:LEECHERS:DOWNLOADS`, in upper case.
    Txtp,
    /// 28 bytes a torrent: info-hash, seeders and leechers, big-endian.
    Bin,
    /// `HASH:SEEDERS:LEECHERS`, the info-hash escaped as in URLs.
    Url,
    /// `HASH:MINUTES:DOWNLOADS`, in upper case; minutes since 1970 of the last announce.
    Statedump,
    /// aquatic's: `4 HASH SEEDERS LEECHERS`, and the same with 6, for each address family.
    Aquatic,
    /// A JSON object a line.
    Ndjson,
}

/// What RFC 3986 leaves as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl Format {
    /// Returns its name in queries and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ben => "ben",
            Self::Txt => "txt",
            Self::Txtp => "txtp",
            Self::Bin => "bin",
            Self::Url => "url",
            Self::Statedump => "statedump",
            Self::Aquatic => "aquatic",
            Self::Ndjson => "ndjson",
        }
    }

    /// Returns its content type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Ben => "application/x-bittorrent",
            Self::Bin => "application/octet-stream",
            Self::Ndjson => "application/x-ndjson",
            _ => "text/plain",
        }
    }

    /// Returns whether torrents are in the order of their info-hashes.
    pub fn is_sorted(self) -> bool {
        self == Self::Ben
    }

    /// Returns whether a torrent's peers must be known.
    pub fn needs_peers(self) -> bool {
        matches!(self, Self::Statedump | Self::Aquatic)
    }

    /// Returns what stands before all torrents, and after them.
    pub fn frame(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::Ben => (b"d5:filesd", b"ee"),
            _ => (b"", b""),
        }
    }
}

/// What is known of a torrent.
pub struct Torrent<'a> {
    pub info_hash: InfoHash,
    pub counts: Counts,
    /// When its last peer announced, in minutes since 1970.
    pub minutes: u64,
    /// Its peers, in a format that needs them.
    pub peers: &'a [SavedPeer],
}

impl Torrent<'_> {
    /// Appends the torrent, without the peers of `ndjson`.
    pub fn write(&self, format: Format, into: &mut Vec<u8>) {
        let Self { info_hash, counts, minutes, peers } = self;
        let Counts { seeders, leechers, completed, .. } = counts;
        let hex = hex::encode_upper(info_hash.0);
        let written = match format {
            Format::Ben => {
                into.extend_from_slice(b"20:");
                into.extend_from_slice(&info_hash.0);
                let keys = ("8:complete", "10:downloaded", "10:incomplete");
                let (complete, downloaded, incomplete) = keys;
                write!(
                    into,
                    "d{complete}i{seeders}e{downloaded}i{completed}e{incomplete}i{leechers}ee"
                )
            }
            Format::Txt => writeln!(into, "{hex}:{seeders}:{leechers}"),
            Format::Txtp => writeln!(into, "{hex}:{seeders}:{leechers}:{completed}"),
            Format::Bin => {
                into.extend_from_slice(&info_hash.0);
                into.extend_from_slice(&seeders.to_be_bytes());
                into.extend_from_slice(&leechers.to_be_bytes());
                Ok(())
            }
            Format::Url => {
                let escaped = percent_encode(&info_hash.0, ESCAPED);
                writeln!(into, "{escaped}:{seeders}:{leechers}")
            }
            Format::Statedump => writeln!(into, "{hex}:{minutes}:{completed}"),
            Format::Aquatic => [false, true].into_iter().try_for_each(|ipv6| {
                let of_family = || peers.iter().filter(|peer| peer.address.is_ipv6() == ipv6);
                let seeders = of_family().filter(|peer| peer.role == Role::Seeder).count();
                match of_family().count() {
                    0 => Ok(()),
                    all => {
                        let family = if ipv6 { 6 } else { 4 };
                        writeln!(into, "{family} {info_hash} {seeders} {}", all - seeders)
                    }
                }
            }),
            Format::Ndjson => write!(
                into,
                r#"{{"info_hash":"{info_hash}","complete":{seeders},"incomplete":{leechers},"downloaded":{completed}"#
            ),
        };
        debug_assert!(written.is_ok(), "memory takes everything");
    }
}

/// Appends peers of a line of `ndjson`. `first` is whether they are the first of their torrent.
pub fn write_peers(peers: &[SavedPeer], mut first: bool, into: &mut Vec<u8>) {
    for SavedPeer { address, role, age, is_hidden, .. } in peers {
        let comma = if std::mem::take(&mut first) { "" } else { "," };
        let role = role_name(*role);
        let hidden = if *is_hidden { r#","hidden":true"# } else { "" };
        let written = write!(
            into,
            r#"{comma}{{"address":"{address}","role":"{role}","age_seconds":{age}{hidden}}}"#
        );
        debug_assert!(written.is_ok(), "memory takes everything");
    }
}

/// Returns the name of a role in JSON.
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Downloader => "downloader",
        Role::PartialSeed => "partial-seed",
        Role::Seeder => "seeder",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format) -> String {
        let peer = |address: &str, role| SavedPeer {
            address: address.parse().unwrap(),
            role,
            age: 61,
            downloaded: false,
            is_hidden: false,
            peer_id: karuta_bittorrent::PeerId::UNKNOWN,
        };
        let peers = [
            peer("10.0.0.1:1", Role::Seeder),
            peer("10.0.0.2:1", Role::Downloader),
            peer("[2001:db8::1]:1", Role::PartialSeed),
        ];
        let info_hash = InfoHash(*b"ab+~ \xff\x00cdefghijklmno");
        let counts = Counts { seeders: 1, leechers: 2, partial_seeds: 1, completed: 7 };
        let torrent = Torrent { info_hash, counts, minutes: 29_000_000, peers: &peers };
        let mut into = Vec::new();
        torrent.write(format, &mut into);
        if format == Format::Ndjson {
            into.extend_from_slice(br#","peers":["#);
            write_peers(&peers, true, &mut into);
            into.extend_from_slice(b"]}");
        }
        into.escape_ascii().to_string()
    }

    #[test]
    fn every_format_is_written_as_its_readers_expect() {
        let hex = "61622b7e20ff00636465666768696a6b6c6d6e6f";
        let upper = hex.to_ascii_uppercase();
        assert_eq!(
            written(Format::Ben),
            r"20:ab+~ \xff\x00cdefghijklmnod8:completei1e10:downloadedi7e10:incompletei2ee"
        );
        assert_eq!(written(Format::Txt), format!(r"{upper}:1:2\n"));
        assert_eq!(written(Format::Txtp), format!(r"{upper}:1:2:7\n"));
        assert_eq!(
            written(Format::Bin),
            r"ab+~ \xff\x00cdefghijklmno\x00\x00\x00\x01\x00\x00\x00\x02"
        );
        assert_eq!(written(Format::Url), r"ab%2B~%20%FF%00cdefghijklmno:1:2\n");
        assert_eq!(written(Format::Statedump), format!(r"{upper}:29000000:7\n"));
        assert_eq!(written(Format::Aquatic), format!(r"4 {hex} 1 1\n6 {hex} 0 1\n"));
        let json = written(Format::Ndjson).replace(r#"\""#, r#"""#);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["info_hash"], hex);
        assert_eq!(json["downloaded"], 7);
        assert_eq!(json["peers"][2]["address"], "[2001:db8::1]:1");
        assert_eq!(json["peers"][2]["role"], "partial-seed");
    }

    #[test]
    fn a_format_has_one_name() {
        for format in Format::value_variants() {
            let known = Format::from_str(format.name(), false);
            assert_eq!(known, Ok(*format));
        }
    }
}
