//! The packets of the UDP protocol (BEP 15), with the URL data of BEP 41.
//!
//! All numbers are big-endian.

use super::{Announce, Counts, Event, Family, InfoHash, Invalid, PeerForm, PeerId, Peers};

/// The constant that a connect request has in place of a connection id.
pub(crate) const PROTOCOL: u64 = 0x0417_2710_1980;

pub(crate) const CONNECT: u32 = 0;
pub(crate) const ANNOUNCE: u32 = 1;
pub(crate) const SCRAPE: u32 = 2;
pub(crate) const ERROR: u32 = 3;
const ANNOUNCE_IPV6: u32 = 4;

/// The option of BEP 41 that carries the path and query of a URL.
pub(crate) const URL_DATA: u8 = 2;

const HEADER: usize = 16;

/// The header of every request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Must be checked before the rest of the packet is read, except for [`Action::Connect`].
    pub connection_id: u64,
    /// What is asked.
    pub action: Action,
    /// Chosen by the client, and returned in the answer.
    pub transaction: u32,
}

/// What a UDP packet asks for (BEP 15).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// A connection id.
    Connect,
    /// An announce.
    Announce,
    /// An announce with a 16-byte address field. It is in no BEP; the answer has the same number.
    AnnounceIpv6,
    /// A scrape.
    Scrape,
    /// Answered with [`Invalid::Action`].
    Unknown,
}

impl Header {
    /// Parses the header. Returns `None` if the packet is shorter than any request, or is a connect
    /// request of another protocol. Such a packet gets no answer.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let (connection_id, rest) = packet.split_first_chunk()?;
        let (action, rest) = rest.split_first_chunk()?;
        let (transaction, _) = rest.split_first_chunk()?;
        let connection_id = u64::from_be_bytes(*connection_id);
        let action = match u32::from_be_bytes(*action) {
            CONNECT if connection_id == PROTOCOL => Action::Connect,
            CONNECT => return None,
            ANNOUNCE => Action::Announce,
            ANNOUNCE_IPV6 => Action::AnnounceIpv6,
            SCRAPE => Action::Scrape,
            _ => Action::Unknown,
        };
        let transaction = u32::from_be_bytes(*transaction);
        Some(Self { connection_id, action, transaction })
    }
}

/// Parses an announce after its header, and leaves its URL data (BEP 41) in `url_data`.
///
/// A packet with all fields and a port is an announce: an unknown event becomes none, and unknown
/// options are skipped (docs/announce-parameters.md).
///
/// The URL data is not part of the announce: it holds a path and parameters for policies. The
/// address field is ignored, because clients can forge it.
pub fn announce(packet: &[u8], url_data: &mut Vec<u8>) -> Result<Announce, Invalid> {
    url_data.clear();
    let mut rest = packet;
    let [.., a, b, c, d, _, _, _, _]: [u8; HEADER] = take(&mut rest)?;
    let info_hash = InfoHash(take(&mut rest)?);
    let peer_id = PeerId(take(&mut rest)?);
    let downloaded = u64::from_be_bytes(take(&mut rest)?);
    let left = u64::from_be_bytes(take(&mut rest)?);
    let uploaded = u64::from_be_bytes(take(&mut rest)?);
    // Like chihaya, reads only the last byte.
    let [.., event]: [u8; 4] = take(&mut rest)?;
    if u32::from_be_bytes([a, b, c, d]) == ANNOUNCE_IPV6 {
        take::<16>(&mut rest)?;
    } else {
        take::<4>(&mut rest)?;
    }
    let _key: [u8; 4] = take(&mut rest)?;
    let num_want = i32::from_be_bytes(take(&mut rest)?);
    let port = u16::from_be_bytes(take(&mut rest)?);

    if port == 0 {
        return Err(Invalid::Port);
    }
    let event = match event {
        1 => Event::Completed,
        2 => Event::Started,
        3 => Event::Stopped,
        // In no BEP: libtorrent's number for the event of BEP 21.
        4 => Event::Paused,
        _ => Event::None,
    };
    read_options(rest, url_data);
    Ok(Announce {
        info_hash,
        peer_id,
        port,
        event,
        left: Some(left),
        uploaded,
        downloaded,
        num_want: u32::try_from(num_want).ok(),
        ip: None,
        has_totals: true,
        corrupt: 0,
        form: PeerForm::Compact,
    })
}

/// Iterates over the info-hashes of a scrape in order; there is at least one. A remainder that is
/// too short for another info-hash is ignored.
pub fn scrape(packet: &[u8]) -> Result<impl ExactSizeIterator<Item = InfoHash>, Invalid> {
    match packet.get(HEADER..).map(<[u8]>::as_chunks) {
        Some((hashes @ [_, ..], _)) => Ok(hashes.iter().copied().map(InfoHash)),
        _ => Err(Invalid::Packet),
    }
}

/// Returns the UDP payload of an Ethernet frame in bytes, which is the limit for an answer.
pub const fn max_packet(family: Family) -> usize {
    match family {
        Family::Ipv4 => 1472,
        Family::Ipv6 => 1452,
    }
}

/// Returns how many peers fit in the answer to a client of that family.
pub const fn max_peers(family: Family) -> usize {
    (max_packet(family) - 20) / peer_size(family)
}

/// Returns how many info-hashes fit in the answer to a client of that family.
pub const fn max_scrape(family: Family) -> usize {
    (max_packet(family) - 8) / 12
}

/// Appends a connection id, which the client sends with later requests.
pub fn write_connect(out: &mut Vec<u8>, transaction: u32, connection_id: u64) {
    out.extend(CONNECT.to_be_bytes());
    out.extend(transaction.to_be_bytes());
    out.extend(connection_id.to_be_bytes());
}

/// Appends the answer to an announce: an interval in seconds, and as many peers of the client's
/// family as fit.
pub fn write_announce(
    out: &mut Vec<u8>,
    request: &Header,
    interval: u32,
    counts: Counts,
    family: Family,
    peers: &Peers,
) {
    let action = match request.action {
        Action::AnnounceIpv6 => ANNOUNCE_IPV6,
        _ => ANNOUNCE,
    };
    out.extend(action.to_be_bytes());
    out.extend(request.transaction.to_be_bytes());
    out.extend(interval.to_be_bytes());
    out.extend(counts.leechers.to_be_bytes());
    out.extend(counts.seeders.to_be_bytes());
    let peers = match family {
        Family::Ipv4 => &peers.ipv4,
        Family::Ipv6 => &peers.ipv6,
    };
    let most = max_peers(family) * peer_size(family);
    out.extend_from_slice(&peers[..peers.len().min(most)]);
}

/// Appends the answer to a scrape, in the order of its info-hashes, up to [`max_scrape`].
pub fn write_scrape(out: &mut Vec<u8>, transaction: u32, files: impl IntoIterator<Item = Counts>) {
    out.extend(SCRAPE.to_be_bytes());
    out.extend(transaction.to_be_bytes());
    for counts in files {
        out.extend(counts.seeders.to_be_bytes());
        out.extend(counts.completed.to_be_bytes());
        out.extend(counts.leechers.to_be_bytes());
    }
}

/// Appends an error. Like chihaya's, its text ends with a NUL.
pub fn write_error(out: &mut Vec<u8>, transaction: u32, text: &str) {
    out.extend(ERROR.to_be_bytes());
    out.extend(transaction.to_be_bytes());
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

/// Returns the size of a peer on the wire in bytes: its address and port.
const fn peer_size(family: Family) -> usize {
    match family {
        Family::Ipv4 => 6,
        Family::Ipv6 => 18,
    }
}

/// Collects the URL data. An option holds up to 255 bytes, so there may be several. Skips options
/// of other kinds, and a truncated one.
fn read_options(mut rest: &[u8], url_data: &mut Vec<u8>) {
    const END: u8 = 0;
    const NOTHING: u8 = 1;

    loop {
        rest = match *rest {
            [END, ..] => return,
            [NOTHING, ref after @ ..] => after,
            [option, length, ref after @ ..] => {
                let Some((data, after)) = after.split_at_checked(length.into()) else { return };
                if option == URL_DATA {
                    url_data.extend_from_slice(data);
                }
                after
            }
            _ => return,
        };
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Invalid> {
    let (taken, after) = rest.split_first_chunk().ok_or(Invalid::Packet)?;
    *rest = after;
    Ok(*taken)
}

#[cfg(test)]
mod tests {
    use super::super::parameters::{Parameters, Value};
    use super::super::query;
    use super::*;
    use proptest::prelude::*;

    const COUNTS: Counts = Counts { seeders: 3, leechers: 2, partial_seeds: 1, completed: 7 };
    const ID: u64 = 0x0123_4567_89ab_cdef;
    const TRANSACTION: u32 = 0xfeed_beef;

    /// The fields of an announce by BEP 15, as numbers.
    #[derive(Clone, Debug)]
    struct Sent {
        action: u32,
        info_hash: [u8; 20],
        peer_id: [u8; 20],
        downloaded: u64,
        left: u64,
        uploaded: u64,
        event: u32,
        address: [u8; 16],
        num_want: i32,
        port: u16,
    }

    impl Sent {
        fn new() -> Self {
            Self {
                action: 1,
                info_hash: *b"aaaaaaaaaaaaaaaaaaaa",
                peer_id: *b"-TR4050-abcdefghijkl",
                downloaded: 1,
                left: 2,
                uploaded: 3,
                event: 2,
                address: [0; 16],
                num_want: -1,
                port: 51413,
            }
        }

        fn bytes(&self, options: &[u8]) -> Vec<u8> {
            let mut packet = header(ID, self.action);
            packet.extend(self.info_hash);
            packet.extend(self.peer_id);
            packet.extend(self.downloaded.to_be_bytes());
            packet.extend(self.left.to_be_bytes());
            packet.extend(self.uploaded.to_be_bytes());
            packet.extend(self.event.to_be_bytes());
            packet.extend(&self.address[..if self.action == 4 { 16 } else { 4 }]);
            packet.extend(b"key!");
            packet.extend(self.num_want.to_be_bytes());
            packet.extend(self.port.to_be_bytes());
            assert_eq!(packet.len(), if self.action == 4 { 110 } else { 98 });
            packet.extend(options);
            packet
        }
    }

    fn header(id: u64, action: u32) -> Vec<u8> {
        let mut packet = id.to_be_bytes().to_vec();
        packet.extend(action.to_be_bytes());
        packet.extend(TRANSACTION.to_be_bytes());
        packet
    }

    fn parse(packet: &[u8]) -> Result<Announce, Invalid> {
        announce(packet, &mut Vec::new())
    }

    fn url_data(options: &[u8]) -> Result<Vec<u8>, Invalid> {
        let mut url_data = b"left over from the previous packet".to_vec();
        announce(&Sent::new().bytes(options), &mut url_data).map(|_| url_data)
    }

    #[test]
    fn headers_are_parsed_with_their_actions() {
        for (action, expected) in [
            (1, Action::Announce),
            (2, Action::Scrape),
            (3, Action::Unknown),
            (4, Action::AnnounceIpv6),
            (5, Action::Unknown),
            (u32::MAX, Action::Unknown),
        ] {
            let expected = Header { connection_id: ID, action: expected, transaction: TRANSACTION };
            assert_eq!(Header::parse(&header(ID, action)), Some(expected));
        }
    }

    #[test]
    fn connects_need_their_magic_number_and_may_be_longer() {
        let mut packet = header(0x41727101980, 0);
        let expected = Header {
            connection_id: 0x41727101980,
            action: Action::Connect,
            transaction: TRANSACTION,
        };
        assert_eq!(Header::parse(&packet), Some(expected));
        packet.extend([7; 100]);
        assert_eq!(Header::parse(&packet), Some(expected));
        assert_eq!(Header::parse(&packet[..15]), None);
        assert_eq!(Header::parse(&[]), None);
        assert_eq!(Header::parse(&header(ID, 0)), None);
    }

    #[test]
    fn a_negative_num_want_is_none_and_left_may_be_any_u64() {
        for (sent, num_want) in [
            (-1, None),
            (i32::MIN, None),
            (0, Some(0)),
            (200, Some(200)),
            (i32::MAX, Some(i32::MAX as u32)),
        ] {
            let packet = Sent { num_want: sent, ..Sent::new() }.bytes(&[]);
            assert_eq!(parse(&packet).unwrap().num_want, num_want);
        }
        // Sent by clients that stop before they know the size.
        let packet = Sent { left: u64::MAX, event: 3, ..Sent::new() }.bytes(&[]);
        let announce = parse(&packet).unwrap();
        assert_eq!((announce.left, announce.event), (Some(u64::MAX), Event::Stopped));
    }

    #[test]
    fn errors_have_the_texts_of_chihaya() {
        let text = |packet: &[u8]| parse(packet).map_err(|error| error.to_string());
        let whole = Sent::new().bytes(&[]);
        let wide = Sent { action: 4, ..Sent::new() }.bytes(&[]);
        for short in [&whole[..97], &whole[..16], &whole[..15], &wide[..109], &wide[..98]] {
            assert_eq!(text(short), Err("malformed packet".to_owned()));
        }
        let packet = Sent { port: 0, ..Sent::new() }.bytes(&[]);
        assert_eq!(text(&packet), Err("invalid port".to_owned()));
        for length in [0, 15, 16, 35] {
            assert_eq!(scrape(&vec![0; length]).err(), Some(Invalid::Packet), "{length}");
        }
        assert_eq!(Invalid::Action.to_string(), "unknown action ID");
        assert_eq!(Invalid::ConnectionId.to_string(), "bad connection ID");
    }

    #[test]
    fn events_are_read_by_their_last_byte() {
        for (sent, event) in [
            (0, Event::None),
            (1, Event::Completed),
            (2, Event::Started),
            (3, Event::Stopped),
            (4, Event::Paused),
            (5, Event::None),
            (0xff, Event::None),
            (0xffff_ff01, Event::Completed),
            (u32::MAX, Event::None),
        ] {
            let packet = Sent { event: sent, ..Sent::new() }.bytes(&[]);
            assert_eq!(parse(&packet).unwrap().event, event, "{sent}");
        }
    }

    #[test]
    fn a_scrape_ends_at_its_last_whole_info_hash() {
        let packet = [&header(ID, 2)[..], &[b'a'; 20], &[b'b'; 20], &[b'c'; 19]].concat();
        let found: Vec<_> = scrape(&packet).unwrap().collect();
        assert_eq!(found, [InfoHash([b'a'; 20]), InfoHash([b'b'; 20])]);
    }

    /// Clients append it to each announce in this form.
    #[test]
    fn the_url_data_of_a_client_is_read() {
        let found = url_data(b"\x02\x15/announce?jwt=a.b%2Dc").unwrap();
        let (path, query) = query::split(&found);
        assert_eq!(path, b"/announce");
        let token = Parameters::of(query).get(query, "jwt");
        assert_eq!(token, Some(Value::Unescaped(b"a.b-c".to_vec())));
        assert_eq!(url_data(b"\x02\x09/announce"), Ok(b"/announce".to_vec()));
    }

    #[test]
    fn options_are_read_up_to_the_first_truncated_one() {
        for (options, found) in [
            (&b""[..], &b""[..]),
            (b"\x00\x02\x01a", b""),
            (b"\x01\x01\x02\x02ab\x01\x02\x01c\x00\xff", b"abc"),
            (b"\x02\x00\x02\x01a", b"a"),
            // Not parsed as a parameter of the announce.
            (b"\x02\x0d?info_hash=xx", b"?info_hash=xx"),
            // Other options, with their lengths.
            (b"\x03\x02ab\x02\x01a", b"a"),
            (b"\x02\x01a\xff\x00\x7f\x01\x02\x02\x01b", b"ab"),
            // Truncated.
            (b"\x02", b""),
            (b"\x02\x01", b""),
            (b"\x02\x01a\x02\x03bc", b"a"),
            (b"\x01\x02\xff", b""),
            (b"\x02\x01a\x03", b"a"),
            (b"\x02\x01a\x03\x09bc", b"a"),
        ] {
            assert_eq!(url_data(options), Ok(found.to_vec()), "{options:?}");
        }
    }

    #[test]
    fn answers_are_right_to_the_byte() {
        let mut out = Vec::new();
        write_connect(&mut out, TRANSACTION, ID);
        assert_eq!(out, *b"\0\0\0\0\xfe\xed\xbe\xef\x01\x23\x45\x67\x89\xab\xcd\xef");

        out.clear();
        write_scrape(&mut out, TRANSACTION, [COUNTS, Counts::default()]);
        let expected = *b"\0\0\0\x02\xfe\xed\xbe\xef\0\0\0\x03\0\0\0\x07\0\0\0\x02\
            \0\0\0\0\0\0\0\0\0\0\0\0";
        assert_eq!(out, expected);

        out.clear();
        write_error(&mut out, TRANSACTION, &Invalid::ConnectionId.to_string());
        assert_eq!(out, *b"\0\0\0\x03\xfe\xed\xbe\xefbad connection ID\0");
        assert_eq!(out.len(), 26);
    }

    #[test]
    fn announce_answers_fit_a_frame() {
        let peers = Peers {
            ipv4: (0..6000u32).map(|byte| byte as u8).collect(),
            ipv6: (0..18000u32).map(|byte| byte as u8).collect(),
            ..Peers::default()
        };
        for (action, number) in [(Action::Announce, 1), (Action::AnnounceIpv6, 4)] {
            let request = Header { connection_id: ID, action, transaction: TRANSACTION };
            for (family, bytes, count, most) in
                [(Family::Ipv4, &peers.ipv4, 242, 1472), (Family::Ipv6, &peers.ipv6, 79, 1452)]
            {
                let size = bytes.len() / 1000;
                let mut out = Vec::new();
                write_announce(&mut out, &request, 1800, COUNTS, family, &peers);
                let head =
                    [0, 0, 0, number, 0xfe, 0xed, 0xbe, 0xef, 0, 0, 7, 8, 0, 0, 0, 2, 0, 0, 0, 3];
                assert_eq!(out[..20], head);
                assert_eq!(out[20..], bytes[..count * size]);
                assert!(out.len() <= most && out.len() + size > most);
                assert_eq!(max_peers(family), count);

                out.clear();
                write_announce(&mut out, &request, 1800, COUNTS, family, &Peers::default());
                assert_eq!(out, head);

                out.clear();
                write_scrape(&mut out, 1, vec![COUNTS; max_scrape(family)]);
                assert!(out.len() <= most && out.len() + 12 > most);
            }
        }
    }

    fn any_sent() -> impl Strategy<Value = Sent> {
        let ids = any::<([u8; 20], [u8; 20], [u8; 16])>();
        let amounts = any::<(u64, u64, u64)>();
        let action = prop::sample::select(vec![1, 4]);
        (action, ids, amounts, 0u32..5, any::<i32>(), 1u16..).prop_map(
            |(action, ids, amounts, event, num_want, port)| Sent {
                action,
                info_hash: ids.0,
                peer_id: ids.1,
                address: ids.2,
                downloaded: amounts.0,
                left: amounts.1,
                uploaded: amounts.2,
                event,
                num_want,
                port,
            },
        )
    }

    proptest! {
        #[test]
        fn announces_come_back(sent in any_sent(), data: Vec<u8>, pause in 0usize..3) {
            let mut options = Vec::new();
            for part in data.chunks(7) {
                options.extend(vec![1; pause]);
                options.extend([2, part.len() as u8]);
                options.extend(part);
            }
            let packet = sent.bytes(&options);
            let mut url_data = Vec::new();
            let events =
                [Event::None, Event::Completed, Event::Started, Event::Stopped, Event::Paused];
            prop_assert_eq!(announce(&packet, &mut url_data), Ok(Announce {
                info_hash: InfoHash(sent.info_hash),
                peer_id: PeerId(sent.peer_id),
                port: sent.port,
                event: events[sent.event as usize],
                left: Some(sent.left),
                uploaded: sent.uploaded,
                downloaded: sent.downloaded,
                num_want: (sent.num_want >= 0).then_some(sent.num_want as u32),
                ip: None,
                has_totals: true,
                corrupt: 0,
                form: PeerForm::Compact,
            }));
            prop_assert_eq!(url_data, data);
        }

        #[test]
        fn scrapes_come_back(hashes in prop::collection::vec(any::<[u8; 20]>(), 1..80)) {
            let mut packet = header(ID, 2);
            packet.extend(hashes.concat());
            let found: Vec<_> = scrape(&packet).unwrap().map(|hash| hash.0).collect();
            prop_assert_eq!(found, hashes);
        }

        #[test]
        fn any_long_packet_with_a_port_is_an_announce(sent in any_sent(), event: u32, options: Vec<u8>) {
            let sent = Sent { event, ..sent };
            let found = parse(&sent.bytes(&options)).unwrap();
            prop_assert_eq!(found.info_hash, InfoHash(sent.info_hash));
            prop_assert_eq!(found.peer_id, PeerId(sent.peer_id));
            prop_assert_eq!(found.port, sent.port);
            prop_assert_eq!(parse(&Sent { port: 0, ..sent }.bytes(&options)), Err(Invalid::Port));
        }

        #[test]
        fn no_packet_panics(packet: Vec<u8>, options: Vec<u8>) {
            let _ = Header::parse(&packet);
            let _ = parse(&packet);
            let _ = scrape(&packet);
            let _ = parse(&Sent::new().bytes(&options));
        }
    }
}
