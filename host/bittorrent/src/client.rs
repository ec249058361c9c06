//! The client's side of the protocols: the requests of a client, and the answers to them.

use std::fmt::Write as _;

use crate::metainfo::{Reader, Wrong};
use crate::udp::{ANNOUNCE, CONNECT, ERROR, PROTOCOL, SCRAPE, URL_DATA};
use crate::{Announce, Event, InfoHash};

/// What a tracker answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// To an announce.
    Announce {
        /// Seconds until the next announce.
        interval: u32,
    },
    /// To a scrape; 0 for a torrent that the tracker does not know.
    Scrape {
        /// Peers that have everything.
        seeders: u32,
        /// All other peers.
        leechers: u32,
    },
    /// The `failure reason`, or the text of a UDP error.
    Failure(String),
}

/// Why an answer is not one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreadable {
    /// The transaction is another one: the packet is not for this request.
    #[error("it belongs to another request")]
    Other,
    /// A packet is too short, or its action is not that of the request.
    #[error("it is not an answer of BEP 15")]
    Packet,
    /// It is not bencode.
    #[error("{0}")]
    Bencode(#[from] Wrong),
    /// A key is missing, or is not what it should be.
    #[error("it has no usable `{0}`")]
    Lacks(&'static str),
}

/// Returns the request for a connection id over UDP (BEP 15).
pub fn udp_connect(transaction: u32) -> Vec<u8> {
    header(PROTOCOL, CONNECT, transaction)
}

/// Returns an announce over UDP (BEP 15), with the path and query of its URL (BEP 41).
pub fn udp_announce(
    connection_id: u64,
    transaction: u32,
    announce: &Announce,
    target: &str,
) -> Vec<u8> {
    let mut packet = header(connection_id, ANNOUNCE, transaction);
    packet.extend(announce.info_hash.0);
    packet.extend(announce.peer_id.0);
    packet.extend(announce.downloaded.to_be_bytes());
    packet.extend(announce.left.unwrap_or(u64::MAX).to_be_bytes());
    packet.extend(announce.uploaded.to_be_bytes());
    let event: u32 = match announce.event {
        Event::None => 0,
        Event::Completed => 1,
        Event::Started => 2,
        Event::Stopped => 3,
        Event::Paused => 4,
    };
    packet.extend(event.to_be_bytes());
    // The address, which trackers ignore, and a key that nothing depends on.
    packet.extend([0; 8]);
    let num_want = announce.num_want.map(|want| i32::try_from(want).unwrap_or(i32::MAX));
    packet.extend(num_want.unwrap_or(-1).to_be_bytes());
    packet.extend(announce.port.to_be_bytes());
    for data in target.as_bytes().chunks(usize::from(u8::MAX)) {
        packet.extend([URL_DATA, data.len() as u8]);
        packet.extend(data);
    }
    packet
}

/// Returns a scrape of one torrent over UDP.
pub fn udp_scrape(connection_id: u64, transaction: u32, info_hash: InfoHash) -> Vec<u8> {
    let mut packet = header(connection_id, SCRAPE, transaction);
    packet.extend(info_hash.0);
    packet
}

fn header(connection_id: u64, action: u32, transaction: u32) -> Vec<u8> {
    let mut packet = connection_id.to_be_bytes().to_vec();
    packet.extend(action.to_be_bytes());
    packet.extend(transaction.to_be_bytes());
    packet
}

/// Reads the answer to [`udp_connect`]: the connection id, or the tracker's error.
///
/// # Errors
///
/// It is not the answer to this request.
pub fn read_udp_connect(
    packet: &[u8],
    transaction: u32,
) -> Result<Result<u64, String>, Unreadable> {
    match body(packet, transaction)? {
        (CONNECT, rest) => {
            let id = rest.first_chunk().ok_or(Unreadable::Packet)?;
            Ok(Ok(u64::from_be_bytes(*id)))
        }
        (ERROR, text) => Ok(Err(error(text))),
        _ => Err(Unreadable::Packet),
    }
}

/// Reads the answer to [`udp_announce`] or [`udp_scrape`].
///
/// # Errors
///
/// It is not the answer to this request.
pub fn read_udp(packet: &[u8], transaction: u32) -> Result<Answer, Unreadable> {
    let (action, rest) = body(packet, transaction)?;
    let number = |bytes: &[u8; 4]| u32::from_be_bytes(*bytes);
    match (action, rest.as_chunks().0) {
        (ANNOUNCE, [interval, _, _, ..]) => Ok(Answer::Announce { interval: number(interval) }),
        (SCRAPE, [seeders, _, leechers, ..]) => {
            Ok(Answer::Scrape { seeders: number(seeders), leechers: number(leechers) })
        }
        (ERROR, _) => Ok(Answer::Failure(error(rest))),
        _ => Err(Unreadable::Packet),
    }
}

/// Returns the action of a packet and what follows its transaction.
fn body(packet: &[u8], transaction: u32) -> Result<(u32, &[u8]), Unreadable> {
    let (action, rest) = packet.split_first_chunk().ok_or(Unreadable::Packet)?;
    let (its, rest) = rest.split_first_chunk().ok_or(Unreadable::Packet)?;
    match u32::from_be_bytes(*its) == transaction {
        true => Ok((u32::from_be_bytes(*action), rest)),
        false => Err(Unreadable::Other),
    }
}

/// Returns the text of an error, which may end with a NUL.
fn error(text: &[u8]) -> String {
    String::from_utf8_lossy(text.strip_suffix(&[0]).unwrap_or(text)).into_owned()
}

/// Returns the query of an announce over HTTP (BEP 3), with `compact=1` (BEP 23).
pub fn http_announce(announce: &Announce) -> String {
    let Announce { info_hash, peer_id, port, uploaded, downloaded, .. } = announce;
    let (hash, peer_id) = (escape(&info_hash.0), escape(&peer_id.0));
    let mut query = format!(
        "info_hash={hash}&peer_id={peer_id}&port={port}&uploaded={uploaded}&downloaded={downloaded}\
         &compact=1"
    );
    let event = match announce.event {
        Event::None => None,
        Event::Started => Some("started"),
        Event::Stopped => Some("stopped"),
        Event::Completed => Some("completed"),
        Event::Paused => Some("paused"),
    };
    let event = event.map(|event| format!("&event={event}"));
    let left = announce.left.map(|left| format!("&left={left}"));
    let num_want = announce.num_want.map(|want| format!("&numwant={want}"));
    query.extend([left, num_want, event].into_iter().flatten());
    query
}

/// Returns the query of a scrape of one torrent over HTTP (BEP 48).
pub fn http_scrape(info_hash: InfoHash) -> String {
    format!("info_hash={}", escape(&info_hash.0))
}

fn escape(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        match byte.is_ascii_alphanumeric() {
            true => text.push(char::from(*byte)),
            // Writing to a string cannot fail.
            false => drop(write!(text, "%{byte:02X}")),
        }
        text
    })
}

/// Reads the body of the answer to [`http_announce`].
///
/// # Errors
///
/// It is neither an answer nor a failure.
pub fn read_http_announce(body: &[u8]) -> Result<Answer, Unreadable> {
    let (mut failure, mut interval) = (None, None);
    Reader::new(body).dictionary(|key, value| match key {
        b"failure reason" => failure = string(value),
        b"interval" => interval = number(value),
        _ => {}
    })?;
    match (failure, interval) {
        (Some(failure), _) => Ok(Answer::Failure(failure)),
        (None, Some(interval)) => Ok(Answer::Announce { interval }),
        (None, None) => Err(Unreadable::Lacks("interval")),
    }
}

/// Reads the body of the answer to [`http_scrape`].
///
/// # Errors
///
/// It is neither an answer nor a failure.
pub fn read_http_scrape(body: &[u8], info_hash: InfoHash) -> Result<Answer, Unreadable> {
    let (mut failure, mut files) = (None, None);
    Reader::new(body).dictionary(|key, value| match key {
        b"failure reason" => failure = string(value),
        b"files" => files = Some(value),
        _ => {}
    })?;
    if let Some(failure) = failure {
        return Ok(Answer::Failure(failure));
    }
    let mut file = None;
    Reader::new(files.ok_or(Unreadable::Lacks("files"))?).dictionary(|key, value| {
        if key == info_hash.0 {
            file = Some(value);
        }
    })?;
    let (mut seeders, mut leechers) = (None, None);
    // A torrent that the tracker does not know may be missing.
    let Some(file) = file else { return Ok(Answer::Scrape { seeders: 0, leechers: 0 }) };
    Reader::new(file).dictionary(|key, value| match key {
        b"complete" => seeders = number(value),
        b"incomplete" => leechers = number(value),
        _ => {}
    })?;
    Ok(Answer::Scrape {
        seeders: seeders.ok_or(Unreadable::Lacks("complete"))?,
        leechers: leechers.ok_or(Unreadable::Lacks("incomplete"))?,
    })
}

fn string(value: &[u8]) -> Option<String> {
    let bytes = Reader::new(value).string().ok()?;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

fn number(value: &[u8]) -> Option<u32> {
    let digits = value.strip_prefix(b"i")?.strip_suffix(b"e")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::{AnnounceAnswer, write_failure, write_scrape};
    use crate::parameters::Parameters;
    use crate::udp::{self, Action, Header};
    use crate::{Counts, Family, PeerForm, PeerId, Peers, query};

    const COUNTS: Counts = Counts { seeders: 3, leechers: 2, partial_seeds: 1, completed: 7 };
    const HASH: InfoHash = InfoHash(*b"e: d4%&=aaaaaaaaaaa\0");

    fn announces() -> impl Strategy<Value = Announce> {
        let events =
            vec![Event::None, Event::Started, Event::Stopped, Event::Completed, Event::Paused];
        (
            any::<([u8; 20], [u8; 20])>(),
            1..=u16::MAX,
            prop::sample::select(events),
            any::<[u64; 3]>(),
            prop::option::of(0..=i32::MAX as u32),
        )
            .prop_map(|((info_hash, peer_id), port, event, numbers, num_want)| Announce {
                info_hash: InfoHash(info_hash),
                peer_id: PeerId(peer_id),
                port,
                event,
                left: Some(numbers[0]),
                uploaded: numbers[1],
                downloaded: numbers[2],
                num_want,
                ip: None,
                has_totals: true,
                corrupt: 0,
                form: PeerForm::Compact,
            })
    }

    proptest! {
        #[test]
        fn the_server_reads_what_the_client_writes(
            announce in announces(), id: u64, transaction: u32, target in "(/[a-z?=]{0,600})?"
        ) {
            let packet = udp_announce(id, transaction, &announce, &target);
            let header = Header { connection_id: id, action: Action::Announce, transaction };
            prop_assert_eq!(Header::parse(&packet), Some(header));
            let mut url_data = Vec::new();
            prop_assert_eq!(&udp::announce(&packet, &mut url_data), &Ok(announce));
            prop_assert_eq!(url_data, target.as_bytes());

            let packet = udp_scrape(id, transaction, announce.info_hash);
            prop_assert_eq!(Header::parse(&packet).map(|header| header.action), Some(Action::Scrape));
            let hashes: Vec<_> = udp::scrape(&packet).unwrap().collect();
            prop_assert_eq!(hashes, [announce.info_hash]);

            let query = http_announce(&announce);
            let parameters = Parameters::of(query.as_bytes());
            prop_assert_eq!(query::announce(query.as_bytes(), &parameters), Ok(announce));
        }

        #[test]
        fn any_answer_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_udp_connect(&bytes, 0);
            let _ = read_udp(&bytes, 0);
            let _ = read_http_announce(&bytes);
            let _ = read_http_scrape(&bytes, HASH);
        }
    }

    #[test]
    fn the_client_reads_what_the_server_writes_over_udp() {
        let (mut packet, peers) = (Vec::new(), Peers::default());
        udp::write_connect(&mut packet, 5, 77);
        assert_eq!(read_udp_connect(&packet, 5), Ok(Ok(77)));
        assert_eq!(read_udp_connect(&packet, 6), Err(Unreadable::Other));
        assert_eq!(read_udp(&packet, 5), Err(Unreadable::Packet));

        let request = Header { connection_id: 77, action: Action::Announce, transaction: 5 };
        packet.clear();
        udp::write_announce(&mut packet, &request, 1800, COUNTS, Family::Ipv4, &peers);
        assert_eq!(read_udp(&packet, 5), Ok(Answer::Announce { interval: 1800 }));
        for end in 0..packet.len() {
            assert_eq!(read_udp(&packet[..end], 5), Err(Unreadable::Packet), "{end}");
        }
        packet.clear();
        udp::write_scrape(&mut packet, 5, [COUNTS]);
        assert_eq!(read_udp(&packet, 5), Ok(Answer::Scrape { seeders: 3, leechers: 2 }));
        packet.clear();
        udp::write_error(&mut packet, 5, "no");
        assert_eq!(read_udp(&packet, 5), Ok(Answer::Failure("no".into())));
        assert_eq!(read_udp_connect(&packet, 5), Ok(Err("no".into())));
    }

    #[test]
    fn the_client_reads_what_the_server_writes_over_http() {
        let mut body = Vec::new();
        let answer = AnnounceAnswer {
            counts: COUNTS,
            interval: 1800,
            min_interval: 900,
            peers: &Peers::default(),
            form: PeerForm::Compact,
            external_ip: None,
            warning: Some("careful"),
        };
        answer.write(&mut body);
        assert_eq!(read_http_announce(&body), Ok(Answer::Announce { interval: 1800 }));
        assert_eq!(read_http_scrape(&body, HASH), Err(Unreadable::Lacks("files")));
        body.clear();
        write_scrape(&mut body, &mut [(HASH, COUNTS)]);
        let expected = Ok(Answer::Scrape { seeders: 3, leechers: 2 });
        assert_eq!(read_http_scrape(&body, HASH), expected);
        let unknown = Ok(Answer::Scrape { seeders: 0, leechers: 0 });
        assert_eq!(read_http_scrape(&body, InfoHash([0; 20])), unknown);
        assert_eq!(read_http_announce(&body), Err(Unreadable::Lacks("interval")));
        body.clear();
        write_failure(&mut body, "no", None);
        assert_eq!(read_http_announce(&body), Ok(Answer::Failure("no".into())));
        assert_eq!(read_http_scrape(&body, HASH), Ok(Answer::Failure("no".into())));
    }

    #[test]
    fn what_is_not_an_answer_is_refused() {
        for (body, expected) in [
            (&b""[..], Unreadable::Bencode(Wrong::Form)),
            (b"<html>", Unreadable::Bencode(Wrong::Form)),
            (b"d8:interval", Unreadable::Bencode(Wrong::Short)),
            (b"de", Unreadable::Lacks("interval")),
            (b"d8:interval1:1e", Unreadable::Lacks("interval")),
            (b"d8:intervali-1ee", Unreadable::Lacks("interval")),
            (b"d8:intervali4294967296ee", Unreadable::Lacks("interval")),
            (b"d8:intervali1e8:intervali2ee", Unreadable::Bencode(Wrong::Twice)),
        ] {
            assert_eq!(read_http_announce(body), Err(expected), "{}", body.escape_ascii());
        }
        let hash = InfoHash([b'a'; 20]);
        for (body, key) in [
            (&b"d5:filesd20:aaaaaaaaaaaaaaaaaaaad8:completei1eeee"[..], "incomplete"),
            (b"d5:filesd20:aaaaaaaaaaaaaaaaaaaad10:incompletei1eeee", "complete"),
        ] {
            assert_eq!(read_http_scrape(body, hash), Err(Unreadable::Lacks(key)));
        }
    }
}
