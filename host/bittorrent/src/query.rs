//! Parses the query of an HTTP announce or scrape (BEP 3, 23, 48), and of the URL data of a UDP
//! announce (BEP 41).
//!
//! Names are case-insensitive, except for `info_hash`, which must be lower case. The last of a
//! repeated parameter counts. Only `info_hash`, `peer_id` and `port` can fail an announce, because
//! a peer cannot be entered without them. Any other malformed value is ignored, and a number that
//! is too large becomes the largest (docs/announce-parameters.md).

use std::net::{IpAddr, Ipv4Addr};

use memchr::memchr;

use super::parameters::{Parameter, Parameters, Unescape, WrongEscape, unescape};
use super::{Announce, Event, InfoHash, Invalid, PeerForm, PeerId, canonical};

/// Splits a request target, or the URL data of a UDP announce, into path and query.
pub fn split(target: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b'?', target) {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, &[]),
    }
}

/// Parses an announce from a query and the positions of its parameters.
///
/// If there are several errors, the first in this order is returned: `info_hash`, `peer_id`,
/// `port`.
pub fn announce(query: &[u8], parameters: &Parameters) -> Result<Announce, Invalid> {
    let mut fields = Fields::default();
    for parameter in parameters.of_query(query) {
        fields.add(&parameter)?;
    }

    let info_hash = fields.info_hash.ok_or(Invalid::NoInfoHash)?;
    if fields.several_info_hashes {
        return Err(Invalid::SeveralInfoHashes);
    }
    let peer_id = fields.peer_id.ok_or(Invalid::Parameter("peer_id"))?;
    let peer_id = PeerId(twenty_bytes(peer_id)?.ok_or(Invalid::PeerId)?);
    let port = fields.port.and_then(number).and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or(Invalid::Parameter("port"))?;
    if port == 0 {
        return Err(Invalid::Port);
    }
    let form = if fields.compact.is_some_and(switched_on) {
        PeerForm::Compact
    } else if fields.no_peer_id.is_some_and(switched_on) {
        PeerForm::DictionaryWithoutId
    } else {
        PeerForm::Dictionary
    };
    let num_want = fields.num_want.and_then(number);
    let (uploaded, downloaded) =
        (fields.uploaded.and_then(number), fields.downloaded.and_then(number));
    Ok(Announce {
        info_hash,
        peer_id,
        port,
        event: fields.event.map_or(Event::None, event),
        left: fields.left.and_then(number),
        uploaded: uploaded.unwrap_or(0),
        downloaded: downloaded.unwrap_or(0),
        has_totals: uploaded.is_some() && downloaded.is_some(),
        corrupt: fields.corrupt.and_then(number).unwrap_or(0),
        num_want: num_want.map(|number| u32::try_from(number).unwrap_or(u32::MAX)),
        ip: fields.ip.and_then(address),
        form,
    })
}

/// Appends the info-hashes of a scrape to `into`, in order, and ignores those beyond `max`.
pub fn scrape(
    query: &[u8],
    parameters: &Parameters,
    max: usize,
    into: &mut Vec<InfoHash>,
) -> Result<(), Invalid> {
    into.clear();
    let mut found = false;
    for Parameter { key, value, .. } in parameters.of_query(query) {
        let Ok(name) = unescape::<NAME>(key) else { continue };
        if name.get() == Some(INFO_HASH) {
            let info_hash = InfoHash(twenty_bytes(value)?.ok_or(Invalid::InfoHash)?);
            found = true;
            if into.len() < max {
                into.push(info_hash);
            }
        }
    }
    if found { Ok(()) } else { Err(Invalid::NoInfoHash) }
}

const INFO_HASH: &[u8] = b"info_hash";
/// The longest name of a parameter that is read.
const NAME: usize = 16;

/// The parameters of an announce, still escaped; the last of each name.
#[derive(Default)]
struct Fields<'a> {
    info_hash: Option<InfoHash>,
    several_info_hashes: bool,
    peer_id: Option<&'a [u8]>,
    event: Option<&'a [u8]>,
    left: Option<&'a [u8]>,
    downloaded: Option<&'a [u8]>,
    uploaded: Option<&'a [u8]>,
    corrupt: Option<&'a [u8]>,
    num_want: Option<&'a [u8]>,
    port: Option<&'a [u8]>,
    compact: Option<&'a [u8]>,
    no_peer_id: Option<&'a [u8]>,
    ip: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn add(&mut self, parameter: &Parameter<'a>) -> Result<(), Invalid> {
        let &Parameter { key, value, is_plain } = parameter;
        if is_plain {
            return self.set(key, value);
        }
        // A name with a wrong escape is not one of the required ones.
        let Ok(mut name) = unescape::<NAME>(key) else { return Ok(()) };
        if name.get() != Some(INFO_HASH) {
            name.bytes.make_ascii_lowercase();
            if name.get() == Some(INFO_HASH) {
                return Ok(());
            }
        }
        self.set(name.get().unwrap_or_default(), value)
    }

    fn set(&mut self, name: &[u8], value: &'a [u8]) -> Result<(), Invalid> {
        let field = match name {
            INFO_HASH => {
                let info_hash = InfoHash(twenty_bytes(value)?.ok_or(Invalid::InfoHash)?);
                let before = self.info_hash.replace(info_hash);
                self.several_info_hashes |= before.is_some_and(|before| before != info_hash);
                return Ok(());
            }
            b"peer_id" => &mut self.peer_id,
            b"event" => &mut self.event,
            b"left" => &mut self.left,
            b"downloaded" => &mut self.downloaded,
            b"uploaded" => &mut self.uploaded,
            b"corrupt" => &mut self.corrupt,
            b"numwant" => &mut self.num_want,
            b"port" => &mut self.port,
            b"compact" => &mut self.compact,
            b"no_peer_id" => &mut self.no_peer_id,
            b"ip" => &mut self.ip,
            _ => return Ok(()),
        };
        *field = Some(value);
        Ok(())
    }
}

fn event(value: &[u8]) -> Event {
    let Ok(mut value) = unescape::<9>(value) else { return Event::None };
    value.bytes.make_ascii_lowercase();
    match value.get() {
        Some(b"started") => Event::Started,
        Some(b"stopped") => Event::Stopped,
        Some(b"completed") => Event::Completed,
        Some(b"paused") => Event::Paused,
        _ => Event::None,
    }
}

/// Parses a number, saturating at the maximum; `None` if it is negative or not a number.
fn number(value: &[u8]) -> Option<u64> {
    // That many digits always fit.
    if (1..20).contains(&value.len()) && value.iter().all(u8::is_ascii_digit) {
        return Some(value.iter().fold(0, |number, digit| 10 * number + u64::from(digit - b'0')));
    }
    let mut number = None;
    for byte in Unescape(value) {
        let digit = char::from(byte.ok()?).to_digit(10)?;
        let tens = number.unwrap_or(0u64).saturating_mul(10);
        number = Some(tens.saturating_add(digit.into()));
    }
    number
}

fn switched_on(value: &[u8]) -> bool {
    unescape::<1>(value).is_ok_and(|value| !matches!(value.get(), Some(b"" | b"0")))
}

/// Parses an address that a peer could have: no names, ports or zones.
fn address(value: &[u8]) -> Option<IpAddr> {
    // The longest address has 45 characters.
    let value = unescape::<45>(value).ok()?;
    let text = std::str::from_utf8(value.get()?).ok()?;
    text.parse().ok().map(canonical).filter(|ip: &IpAddr| {
        !ip.is_unspecified() && !ip.is_multicast() && *ip != Ipv4Addr::BROADCAST
    })
}

/// Returns the unescaped value, or `None` if it is not 20 bytes long.
fn twenty_bytes(value: &[u8]) -> Result<Option<[u8; 20]>, WrongEscape> {
    let value = unescape::<20>(value)?;
    Ok((value.length == 20).then_some(value.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::tests::escape;
    use proptest::prelude::*;

    fn announce(query: &[u8]) -> Result<Announce, Invalid> {
        super::announce(query, &Parameters::of(query))
    }

    fn scrape(query: &[u8], max: usize, into: &mut Vec<InfoHash>) -> Result<(), Invalid> {
        super::scrape(query, &Parameters::of(query), max, into)
    }

    const HASH: &str = "info_hash=aaaaaaaaaaaaaaaaaaaa";
    const ID: &str = "peer_id=-TR4050-abcdefghijkl";

    /// Parses an announce with all required parameters, and `more`.
    fn with(more: &str) -> Result<Announce, Invalid> {
        announce(format!("{HASH}&{ID}&port=6881&left=1&{more}").as_bytes())
    }

    fn text(result: Result<Announce, Invalid>) -> String {
        result.map_or_else(|error| error.to_string(), |announce| format!("{announce:?}"))
    }

    #[test]
    fn the_announce_of_a_client_is_parsed() {
        let query = b"info_hash=%12%34%56%78%9a%bc%de%f1%23%45%67%89%ab%cd%ef%124Vx%9A\
            &peer_id=-TR4050-abcdefghijkl&port=51413&uploaded=1&downloaded=2&left=3&numwant=80\
            &key=7f2a&compact=1&supportcrypto=1&event=started&corrupt=4";
        assert_eq!(
            announce(query),
            Ok(Announce {
                info_hash: InfoHash::from_hex("123456789abcdef123456789abcdef123456789a").unwrap(),
                peer_id: PeerId(*b"-TR4050-abcdefghijkl"),
                port: 51413,
                event: Event::Started,
                left: Some(3),
                uploaded: 1,
                downloaded: 2,
                num_want: Some(80),
                ip: None,
                has_totals: true,
                corrupt: 4,
                form: PeerForm::Compact,
            })
        );
    }

    #[test]
    fn errors_have_the_texts_of_chihaya() {
        for (query, reason) in [
            ("info_hash=%", "invalid query escape"),
            ("peer_id=%zz", "invalid query escape"),
            ("info_hash=a", "provided invalid infohash"),
            ("info_hash=aaaaaaaaaaaaaaaaaaaaa", "provided invalid infohash"),
            ("info_hash", "provided invalid infohash"),
            ("info_hash=bbbbbbbbbbbbbbbbbbbb", "multiple info_hash parameters supplied"),
            ("peer_id=short", "failed to provide valid peer_id"),
            ("peer_id=", "failed to provide valid peer_id"),
            ("peer_id=-TR4050-abcdefghijklm", "failed to provide valid peer_id"),
            ("port=65536", "failed to parse parameter: port"),
            ("port=18446744073709551617", "failed to parse parameter: port"),
            ("port=-1", "failed to parse parameter: port"),
            ("port=", "failed to parse parameter: port"),
            ("port", "failed to parse parameter: port"),
            ("port=%", "failed to parse parameter: port"),
            ("port=0", "invalid port"),
        ] {
            assert_eq!(text(with(query)), reason, "{query}");
        }
        for (query, reason) in [
            (String::new(), "no info_hash parameter supplied"),
            (
                format!("INFO_HASH=aaaaaaaaaaaaaaaaaaaa&{ID}&port=1"),
                "no info_hash parameter supplied",
            ),
            (format!("{HASH}&port=1"), "failed to parse parameter: peer_id"),
            (format!("{HASH}&{ID}"), "failed to parse parameter: port"),
        ] {
            assert_eq!(text(announce(query.as_bytes())), reason, "{query}");
        }
    }

    /// Each line also has every error of the lines before it.
    #[test]
    fn the_first_error_wins() {
        for (query, reason) in [
            (format!("{HASH}&{ID}&port=x"), "failed to parse parameter: port"),
            (format!("{HASH}&peer_id=x&port=x"), "failed to provide valid peer_id"),
            (
                format!("{HASH}&info_hash=bbbbbbbbbbbbbbbbbbbb&peer_id=x&port=x"),
                "multiple info_hash parameters supplied",
            ),
            ("peer_id=x&port=x".to_owned(), "no info_hash parameter supplied"),
            (format!("{HASH}&info_hash=x&peer_id=x"), "provided invalid infohash"),
        ] {
            assert_eq!(text(announce(query.as_bytes())), reason, "{query}");
        }
    }

    #[test]
    fn one_torrent_may_be_named_twice() {
        assert_eq!(with(HASH).unwrap().info_hash, InfoHash([b'a'; 20]));
        assert_eq!(
            with("info_hash=%61aaaaaaaaaaaaaaaaaaa").unwrap().info_hash,
            InfoHash([b'a'; 20])
        );
    }

    /// Only the info-hash, the peer id and the port are required.
    #[test]
    fn wrong_escapes_in_optional_parameters_are_ignored() {
        for more in ["a=%zz", "a=%4", "a%=1", "%", "%6", "inf%o_hash=x", "event=%", "compact=%"] {
            assert_eq!(with(more), with(""), "{more}");
        }
        assert_eq!(with("left=%").unwrap().left, None);
        assert_eq!(with("event=starte%zz").unwrap().event, Event::None);
    }

    #[test]
    fn separators_and_spaces_vary_and_the_last_repetition_counts() {
        let query = b";;&info%5fhash=%61+%2baaaaaaaaaaaaaaaaa;PEER_ID=-TR4050-abcdefghijkl;&Port=1\
            &port=2;pORT=3&left=5&Left=0&novalue&=nokey&left=7";
        let announce = announce(query).unwrap();
        assert_eq!(announce.info_hash, InfoHash(*b"a +aaaaaaaaaaaaaaaaa"));
        assert_eq!(announce.port, 3);
        assert_eq!(announce.left, Some(7));
    }

    #[test]
    fn events_are_read_in_any_case() {
        for (value, event) in [
            ("", Event::None),
            ("none", Event::None),
            ("None", Event::None),
            ("started", Event::Started),
            ("sTOPPed", Event::Stopped),
            ("COMPLETED", Event::Completed),
            ("complete%64", Event::Completed),
            ("paused", Event::Paused),
            ("seeding", Event::None),
            ("started%00", Event::None),
            ("completedcompleted", Event::None),
        ] {
            assert_eq!(with(&format!("event={value}")).unwrap().event, event, "{value}");
        }
        assert_eq!(with("").unwrap().event, Event::None);
    }

    #[test]
    fn numbers_that_cannot_be_read_are_as_if_missing() {
        let bare = announce(format!("{HASH}&{ID}&port=1").as_bytes()).unwrap();
        assert!(!bare.has_totals);
        assert_eq!((bare.left, bare.uploaded, bare.downloaded, bare.num_want), (None, 0, 0, None));
        assert!(!bare.is_seeder());
        for (value, number) in [
            ("=0", Some(0)),
            ("=007", Some(7)),
            ("=%31+", None),
            ("=%312", Some(12)),
            ("=18446744073709551615", Some(u64::MAX)),
            ("=18446744073709551616", Some(u64::MAX)),
            ("=99999999999999999999999999999999999999", Some(u64::MAX)),
            ("=00000000000000000000000000000000000005", Some(5)),
            ("", None),
            ("=", None),
            ("=many", None),
            ("=-", None),
            ("=-1", None),
            ("=--1", None),
            ("=+1", None),
            ("=%2b1", None),
            ("=1.5", None),
            ("=0x10", None),
            ("=1%", None),
            ("=99999999999999999999x", None),
        ] {
            let more = format!(
                "left{value}&uploaded{value}&downloaded{value}&numwant{value}&corrupt{value}"
            );
            let found = with(&more).unwrap();
            assert_eq!(found.left, number, "{value}");
            let amounts = [found.uploaded, found.downloaded, found.corrupt];
            assert_eq!(amounts, [number.unwrap_or(0); 3]);
            let num_want = number.map(|number| u32::try_from(number).unwrap_or(u32::MAX));
            assert_eq!(found.num_want, num_want, "{value}");
        }
        assert_eq!(with("numwant=4294967296").unwrap().num_want, Some(u32::MAX));
        assert_eq!(with("left=7&left=").unwrap().left, None, "the last one counts");
    }

    /// A client's stop must not fail because of a meaningless `left`.
    #[test]
    fn left_may_be_any_u64() {
        for left in [0, 16384, u64::MAX] {
            let announce = with(&format!("event=stopped&left={left}")).unwrap();
            assert_eq!((announce.event, announce.left), (Event::Stopped, Some(left)));
        }
    }

    #[test]
    fn compact_comes_before_no_peer_id() {
        for (query, form) in [
            ("", PeerForm::Dictionary),
            ("compact=", PeerForm::Dictionary),
            ("compact", PeerForm::Dictionary),
            ("compact=0", PeerForm::Dictionary),
            ("compact=%30", PeerForm::Dictionary),
            ("compact=1", PeerForm::Compact),
            ("compact=00", PeerForm::Compact),
            ("compact=yes", PeerForm::Compact),
            ("compact=1&no_peer_id=1", PeerForm::Compact),
            ("compact=1&compact=0", PeerForm::Dictionary),
            ("no_peer_id=1", PeerForm::DictionaryWithoutId),
            ("no_peer_id=0", PeerForm::Dictionary),
            ("no_peer_id=", PeerForm::Dictionary),
        ] {
            assert_eq!(with(query).unwrap().form, form, "{query}");
        }
    }

    #[test]
    fn only_a_unicast_address_in_ip_is_used() {
        for (query, ip) in [
            ("ip=192.0.2.1", "192.0.2.1"),
            ("ip=%3a%3AFFFF:192.0.2.1", "192.0.2.1"),
            ("ip=127.0.0.1", "127.0.0.1"),
            ("ip=2001:db8::1&ipv4=192.0.2.4", "2001:db8::1"),
            ("ip=192.0.2.1&ip=192.0.2.2", "192.0.2.2"),
        ] {
            assert_eq!(with(query).unwrap().ip, Some(ip.parse().unwrap()), "{query}");
        }
        for query in [
            "",
            "ip",
            "ip=",
            "ipv4=192.0.2.4",
            "ipv6=2001:db8::1&ipv4=192.0.2.4",
            "ip=seed.example.org",
            "ip=example.org",
            "ip=192.0.2.1:80",
            "ip=+192.0.2.1",
            "ip=192.0.2.1,192.0.2.2",
            "ip=256.0.0.1",
            "ip=fe80::1%25eth0",
            "ip=%ff",
            "ip=0.0.0.0",
            "ip=::",
            "ip=::ffff:0.0.0.0",
            "ip=224.0.0.1",
            "ip=ff02::1",
            "ip=255.255.255.255",
            "ip=x&ipv4=192.0.2.4",
            "ip=000000000000000000000000000000000000000000000000000000000000000000192.0.2.1",
        ] {
            assert_eq!(with(query).unwrap().ip, None, "{query}");
        }
    }

    #[test]
    fn scrapes_are_cut_at_their_maximum() {
        let mut found = vec![InfoHash([9; 20])];
        let query = b"info_hash=aaaaaaaaaaaaaaaaaaaa;info_hash=bbbbbbbbbbbbbbbbbbbb&x=%20\
            &info_hash=aaaaaaaaaaaaaaaaaaaa";
        let [a, b] = [InfoHash([b'a'; 20]), InfoHash([b'b'; 20])];
        assert_eq!(scrape(query, 10, &mut found), Ok(()));
        assert_eq!(found, [a, b, a]);
        assert_eq!(scrape(query, 2, &mut found), Ok(()));
        assert_eq!(found, [a, b]);
        for (query, error) in [
            ("", Invalid::NoInfoHash),
            ("INFO_HASH=aaaaaaaaaaaaaaaaaaaa", Invalid::NoInfoHash),
            ("info_hash=aaaaaaaaaaaaaaaaaaaa&info_hash=a", Invalid::InfoHash),
            ("info_hash=aaaaaaaaaaaaaaaaaaaa&info_hash=%", Invalid::Escape),
        ] {
            assert_eq!(scrape(query.as_bytes(), 10, &mut found), Err(error), "{query}");
        }
        let query = b"x=%&info_hash=aaaaaaaaaaaaaaaaaaaa&%=x&info_has%=x";
        assert_eq!(scrape(query, 10, &mut found), Ok(()));
        assert_eq!(found, [a]);
    }

    #[test]
    fn a_target_is_split_at_its_first_question_mark() {
        assert_eq!(split(b"/announce?x=y?z"), (&b"/announce"[..], &b"x=y?z"[..]));
        assert_eq!(split(b"/announce"), (&b"/announce"[..], &b""[..]));
        assert_eq!(split(b""), (&b""[..], &b""[..]));
    }

    /// Optional parameters, with values of all kinds.
    fn not_needed() -> impl Strategy<Value = Vec<u8>> {
        let names = vec![
            "event",
            "left",
            "uploaded",
            "downloaded",
            "numwant",
            "compact",
            "no_peer_id",
            "ip",
            "ipv4",
            "ipv6",
            "key",
            "trackerid",
            "Event",
            "%6ceft",
            "INFO_HASH",
            "%",
            "x",
        ];
        let value = prop_oneof![
            prop::collection::vec(
                any::<u8>().prop_filter("a separator", |byte| !b"&;".contains(byte)),
                0..30
            ),
            "-?[0-9]{0,30}".prop_map(String::into_bytes),
            prop::sample::select(vec!["%", "%zz", "started", "paused", "::1", "1.2.3.4", ""])
                .prop_map(|text| text.as_bytes().to_vec()),
        ];
        (prop::sample::select(names), any::<bool>(), value).prop_map(|(name, has_value, value)| {
            if has_value {
                [name.as_bytes(), b"=", &value].concat()
            } else {
                name.as_bytes().to_vec()
            }
        })
    }

    proptest! {
        #[test]
        fn escaped_bytes_come_back(
            hash: [u8; 20], id: [u8; 20], also in prop::collection::vec(any::<bool>(), 1..9),
        ) {
            let (hash_text, id_text) = (escape(&hash, &also), escape(&id, &also));
            let query = format!("info_hash={hash_text}&peer_id={id_text}&port=1");
            let announce = announce(query.as_bytes()).unwrap();
            prop_assert_eq!(announce.info_hash, InfoHash(hash));
            prop_assert_eq!(announce.peer_id, PeerId(id));
            let mut hashes = Vec::new();
            scrape(query.as_bytes(), 1, &mut hashes).unwrap();
            prop_assert_eq!(hashes, [InfoHash(hash)]);
        }

        #[test]
        fn numbers_come_back(left: u64, uploaded: u64, downloaded: u64, num_want: u32, port in 1u16..) {
            let query = format!(
                "{HASH}&{ID}&left={left}&uploaded={uploaded}&downloaded={downloaded}\
                &numwant={num_want}&port={port}"
            );
            let announce = announce(query.as_bytes()).unwrap();
            prop_assert_eq!(announce.left, Some(left));
            prop_assert_eq!(announce.uploaded, uploaded);
            prop_assert_eq!(announce.downloaded, downloaded);
            prop_assert_eq!(announce.num_want, Some(num_want));
            prop_assert_eq!(announce.port, port);
        }

        #[test]
        fn any_query_with_torrent_peer_id_and_port_is_an_announce(
            port in 1u16..,
            before in prop::collection::vec(not_needed(), 0..5),
            after in prop::collection::vec(not_needed(), 0..5),
        ) {
            let needed = format!("{HASH}&{ID}&port={port}").into_bytes();
            let query = [before, vec![needed], after].concat().join(&b'&');
            let found = announce(&query).unwrap();
            prop_assert_eq!(found.info_hash, InfoHash([b'a'; 20]));
            prop_assert_eq!(found.peer_id, PeerId(*b"-TR4050-abcdefghijkl"));
            prop_assert_eq!(found.port, port);
            prop_assert_eq!(scrape(&query, 2, &mut Vec::new()), Ok(()));
        }

        #[test]
        fn no_bytes_panic(query: Vec<u8>) {
            let _ = announce(&query);
            let _ = scrape(&query, 3, &mut Vec::new());
        }

        /// Like the test before it, with bytes that get further.
        #[test]
        fn no_near_miss_panics(
            parts in prop::collection::vec(
                prop::sample::select(vec![
                    HASH, ID, "port=1", "event=stopped", "numwant=-", "ip=::1", "&", ";", "=", "%", "%4",
                    "%41", "+", "left=", "9999999999", "INFO", "compact",
                ]),
                0..20,
            ),
        ) {
            let query = parts.concat();
            if let Ok(announce) = announce(query.as_bytes()) {
                prop_assert_ne!(announce.port, 0);
            }
            let _ = scrape(query.as_bytes(), 3, &mut Vec::new());
        }
    }
}
