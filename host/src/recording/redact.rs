//! Hides credentials and addresses of records, each always behind the same other one.

use std::borrow::Cow;
use std::hash::Hasher as _;
use std::net::{IpAddr, SocketAddr};

use karuta_bittorrent::{Transport, udp};
use percent_encoding::percent_decode;
use siphasher::sip128::{Hasher128 as _, SipHasher24};

use super::hidden::Hidden;
use super::record::Record;

/// Hides what is to be hidden, with a key that nobody keeps.
pub struct Redactor {
    hidden: Hidden,
    key: (u64, u64),
    /// The parts of paths that are no credentials.
    literals: Vec<String>,
    /// A buffer.
    request: Vec<u8>,
}

/// The parameters of the protocol that are 20 bytes.
const IDS: [&[u8]; 2] = [b"info_hash", b"peer_id"];
/// Those that are numbers.
const NUMBERS: [&[u8]; 13] = [
    b"port",
    b"uploaded",
    b"downloaded",
    b"left",
    b"numwant",
    b"num_want",
    b"compact",
    b"no_peer_id",
    b"corrupt",
    b"redundant",
    b"supportcrypto",
    b"requirecrypto",
    b"hide_client_type",
];
const EVENTS: [&[u8]; 4] = [b"started", b"stopped", b"completed", b"paused"];
/// The parameters that are addresses.
const OWN: [&[u8]; 3] = [b"ip", b"ipv4", b"ipv6"];
/// The headers that are neither credentials nor addresses.
const HARMLESS: [&[u8]; 7] = [
    b"host",
    b"user-agent",
    b"accept",
    b"accept-encoding",
    b"accept-language",
    b"connection",
    b"content-length",
];
/// What a datagram begins with in place of its connection id, with which anybody could send another one.
const NO_CONNECTION: [u8; 8] = [0; 8];
/// Where a datagram has its action, in big endian; what an announce has that has room for an IPv6 address.
const ACTION: std::ops::Range<usize> = 8..12;
const ANNOUNCE_IPV6: [u8; 4] = [0, 0, 0, 4];
/// Where an announce has an address of its client's; a key of 4 bytes follows it, and 6 more bytes before the
/// options.
const ADDRESS: usize = 84;
const KEY: usize = 4;
const REST: usize = 6;
/// What a scrape has before its info-hashes of 20 bytes.
const HEADER: usize = 16;

impl Redactor {
    pub fn new(hidden: Hidden) -> Self {
        Self { hidden, key: rand::random(), literals: Vec::new(), request: Vec::new() }
    }

    /// Says which routes there are: what is written in them is no credential.
    pub fn set_routes<'a>(&mut self, routes: impl IntoIterator<Item = &'a String>) {
        let parts = routes.into_iter().flat_map(|route| route.split('/'));
        let literals = parts.filter(|part| !part.starts_with('{'));
        self.literals = literals.map(str::to_owned).collect();
    }

    /// Writes a record without what is to be hidden.
    pub fn write(&mut self, record: &Record, out: &mut Vec<u8>) {
        if self.hidden == Hidden::default() {
            return record.write(out);
        }
        let mut request = std::mem::take(&mut self.request);
        request.clear();
        match record.transport {
            Transport::Udp => self.datagram(record, &mut request),
            Transport::Http | Transport::Https => self.lines(record.request, &mut request),
        }
        let client =
            if self.hidden.addresses { self.address(record.client) } else { record.client };
        Record { client, request: &request, ..*record }.write(out);
        self.request = request;
    }

    /// Writes a datagram. Of one that nobody can read nothing is left.
    fn datagram(&self, record: &Record, out: &mut Vec<u8>) {
        let request = record.request;
        if record.is_scrape {
            let hashes = udp::scrape(request).map_or(0, |hashes| hashes.len());
            if hashes > 0 {
                out.extend_from_slice(&NO_CONNECTION);
                out.extend_from_slice(&request[ACTION.start..HEADER + 20 * hashes]);
            }
            return;
        }
        let mut url = Vec::new();
        if udp::announce(request, &mut url).is_err() {
            return;
        }
        let key = ADDRESS + if request[ACTION] == ANNOUNCE_IPV6 { 16 } else { 4 };
        let start = out.len();
        out.extend_from_slice(&NO_CONNECTION);
        out.extend_from_slice(&request[ACTION.start..key + KEY + REST]);
        let fixed = &mut out[start..];
        if self.hidden.addresses {
            fixed[ADDRESS..key].fill(0);
        }
        if self.hidden.credentials {
            fixed[key..key + KEY].fill(0);
        }
        let mut hidden = Vec::new();
        self.target(&url, &mut hidden);
        // The options of BEP 41.
        for piece in hidden.chunks(usize::from(u8::MAX)) {
            out.extend([2, piece.len() as u8]);
            out.extend_from_slice(piece);
        }
    }

    fn lines(&self, lines: &[u8], out: &mut Vec<u8>) {
        let mut lines = lines.split(|byte| *byte == b'\n');
        self.target(lines.next().unwrap_or_default(), out);
        for line in lines {
            let colon = memchr::memchr(b':', line).unwrap_or(line.len());
            let (name, value) = line.split_at(colon);
            let is_harmless = HARMLESS.contains(&name);
            if self.hidden.addresses && !is_harmless && may_have_address(value) {
                continue;
            }
            out.push(b'\n');
            out.extend_from_slice(name);
            match self.hidden.credentials && !is_harmless {
                true => {
                    out.extend_from_slice(b": ");
                    out.extend_from_slice(self.hashed(value).as_bytes());
                }
                false => out.extend_from_slice(value),
            }
        }
    }

    /// Writes a path with its query.
    fn target(&self, target: &[u8], out: &mut Vec<u8>) {
        let mark = memchr::memchr(b'?', target).unwrap_or(target.len());
        let (path, query) = target.split_at(mark);
        for (at, part) in path.split(|byte| *byte == b'/').enumerate() {
            if at > 0 {
                out.push(b'/');
            }
            let is_literal = self.literals.iter().any(|literal| literal.as_bytes() == part);
            match !part.is_empty() && !is_literal && self.hides(part) {
                true => out.extend_from_slice(self.hashed(part).as_bytes()),
                false => out.extend_from_slice(part),
            }
        }
        let Some(query) = query.strip_prefix(b"?") else { return };
        for (at, pair) in query.split(|byte| matches!(byte, b'&' | b';')).enumerate() {
            out.push(if at == 0 { b'?' } else { b'&' });
            self.parameter(pair, out);
        }
    }

    /// Writes a parameter. One that has no value, or a name that programs do not give, may be a credential
    /// as a whole.
    fn parameter(&self, pair: &[u8], out: &mut Vec<u8>) {
        let equals = memchr::memchr(b'=', pair);
        let (name, value) = pair.split_at(equals.map_or(pair.len(), |at| at + 1));
        let plain_name = plain(name.strip_suffix(b"=").unwrap_or(name)).to_ascii_lowercase();
        let plain_value = plain(value);
        let Hidden { credentials, addresses } = self.hidden;
        let address = Socket::read(&plain_value);
        let is_own = OWN.contains(&&*plain_name);
        let is_kept = match is_own {
            true => value.is_empty() || (address.is_some() && !addresses),
            false => is_public(&plain_name, &plain_value) || !self.hides(pair),
        };
        if is_kept || pair.is_empty() {
            return out.extend_from_slice(pair);
        }
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
        if value.is_empty() || !plain_name.iter().all(is_name) {
            return out.extend_from_slice(self.hashed(pair).as_bytes());
        }
        out.extend_from_slice(name);
        let hidden = match address.filter(|_| is_own || !credentials) {
            Some(Socket { address, port }) => {
                Socket { address: self.address(address), port }.text()
            }
            None => self.hashed(value),
        };
        out.extend_from_slice(hidden.as_bytes());
    }

    /// Returns whether a part of a target that the protocol does not know is hidden.
    fn hides(&self, part: &[u8]) -> bool {
        self.hidden.credentials || (self.hidden.addresses && may_have_address(part))
    }

    fn hash(&self, kind: u8, bytes: &[u8]) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(self.key.0, self.key.1);
        hasher.write_u8(kind);
        hasher.write(bytes);
        hasher.finish128().h1
    }

    fn hashed(&self, text: &[u8]) -> String {
        format!("h{:016x}", self.hash(0, text))
    }

    /// Returns another address. Two addresses have as many first bits in common as the others have in
    /// their place.
    pub(super) fn address(&self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(v4) => {
                IpAddr::from((self.bits(v4.to_bits().into(), 32) as u32).to_be_bytes())
            }
            IpAddr::V6(v6) => IpAddr::from(self.bits(v6.to_bits(), 128).to_be_bytes()),
        }
    }

    /// Flips each bit or not, as the bits before it say.
    fn bits(&self, bits: u128, width: u32) -> u128 {
        (0..width).fold(0, |out, at| {
            let before = bits.checked_shr(width - at).unwrap_or(0);
            let place = [width as u8, at as u8];
            let flip = self.hash(1, &[&place[..], &before.to_be_bytes()].concat()) & 1;
            out << 1 | ((bits >> (width - 1 - at) & 1) ^ u128::from(flip))
        })
    }
}

/// An address, with a port or without.
struct Socket {
    address: IpAddr,
    port: Option<u16>,
}

impl Socket {
    fn read(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (address, port) = match text.parse::<SocketAddr>() {
            Ok(socket) => (socket.ip(), Some(socket.port())),
            Err(_) => (text.parse().ok()?, None),
        };
        Some(Self { address: address.to_canonical(), port })
    }

    fn text(&self) -> String {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).to_string(),
            None => self.address.to_string(),
        }
    }
}

fn plain(escaped: &[u8]) -> Cow<'_, [u8]> {
    percent_decode(escaped).into()
}

/// Returns whether the protocol knows a parameter, as no credential, and this is what it takes.
fn is_public(name: &[u8], value: &[u8]) -> bool {
    let is = |names: &[&[u8]]| names.contains(&name);
    if is(&IDS) {
        return matches!(value.len(), 0 | 20);
    }
    if is(&NUMBERS) {
        // The largest has 20 digits.
        let digits = value.strip_prefix(b"-").unwrap_or(value);
        return digits.len() <= 20 && digits.iter().all(u8::is_ascii_digit);
    }
    let is_event = || value.is_empty() || EVENTS.iter().any(|one| one.eq_ignore_ascii_case(value));
    name == b"event" && is_event()
}

/// Returns whether there may be an address in a text, however it is written: what looks like one in vain is
/// hidden, too.
fn may_have_address(text: &[u8]) -> bool {
    let text = plain(text);
    let mut runs =
        text.split(|byte| !byte.is_ascii_hexdigit() && !matches!(byte, b'.' | b':' | b'\\'));
    runs.any(|run| {
        let count = |wanted: u8| run.iter().filter(|byte| **byte == wanted).count();
        count(b'.') >= 3 || count(b':') >= 2
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOTH: Hidden = Hidden { credentials: true, addresses: true };

    fn redacted(hidden: Hidden, request: &str) -> String {
        let mut redactor = Redactor::new(hidden);
        redactor.key = (1, 2);
        redactor.set_routes(&["/announce/{passkey}".to_owned(), "/t/announce".to_owned()]);
        let mut out = Vec::new();
        redactor.lines(request.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn credentials_are_hashed_wherever_they_are() {
        let hidden = Hidden { credentials: true, addresses: false };
        let request = "/announce/s3cret?port=1&jwt=abc&k%65y=s3cret&ip=1.2.3.4&compact\n\
                       host: tracker\nauthorization: Bearer abc\nx-forwarded-for: 1.2.3.4";
        let shown = redacted(hidden, request);
        assert!(!shown.contains("s3cret") && !shown.contains("abc"), "{shown}");
        for kept in
            ["/announce/h", "?port=1&jwt=h", "&k%65y=h", "&ip=1.2.3.4&compact\n", "host: tracker\n"]
        {
            assert!(shown.contains(kept), "{kept}: {shown}");
        }
        assert_eq!(shown, redacted(hidden, request), "equal ones stay equal");
        assert_eq!(redacted(hidden, "/t/announce?left=0"), "/t/announce?left=0");
    }

    #[test]
    fn addresses_are_replaced_wherever_they_are() {
        let hidden = Hidden { credentials: false, addresses: true };
        let request = "/announce/s3cret?ip=192.0.2.77&ipv6=%5B2001%3Adb8%3A%3A77%5D%3A80&jwt=abc\n\
                       forwarded: for=192.0.2.77\nx-real-ip: 192.0.2.77\nx: [2001:db8::77]:80, a\nauthorization: b";
        let shown = redacted(hidden, request);
        assert!(!shown.contains("77") && !shown.contains("forwarded"), "{shown}");
        assert!(
            shown.contains("&jwt=abc\nauthorization: b") && shown.contains("s3cret"),
            "{shown}"
        );
    }

    #[test]
    fn an_address_is_found_however_it_is_written() {
        let hidden = Hidden { credentials: false, addresses: true };
        for value in [
            "::ffff:203.0.113.99",
            "::1",
            "203.0.113.99/32",
            "http://203.0.113.99/x",
            "a, 203.0.113.99:80",
            "for=\"[2001:db8::99]:80\"",
            "fe80::99%eth0",
            "2001%3Adb8%3A%3A99",
        ] {
            assert_eq!(redacted(hidden, &format!("/\nx-forwarded-for: {value}")), "/", "{value}");
        }
        let shown = redacted(
            hidden,
            "/203.0.113.99/announce?localip=203.0.113.99&ip=home.example&ip%3d203.0.113.99&redundant=203.0.113.99&\
             203.0.113.99&203.0.113.99=1&u=http%3a//203.0.113.99/&jwt=a.b.c&left=1&x",
        );
        assert!(!shown.contains("203.0.113") && !shown.contains("home"), "{shown}");
        assert!(shown.contains("&u=h") && shown.ends_with("&jwt=a.b.c&left=1&x"), "{shown}");
        let local = shown.split_once("localip=").unwrap().1.split('&').next().unwrap();
        assert!(local.parse::<IpAddr>().is_ok(), "{local}");
    }

    #[test]
    fn a_credential_is_found_in_odd_places() {
        let kept =
            "/t/announce?info_hash=%61aaaaaaaaaaaaaaaaaaa&numwant=-1&Event=Started&left=&event";
        assert_eq!(redacted(BOTH, kept), kept);
        for odd in [
            "s3cret",
            "s3cret=",
            "=s3cret",
            "jwt%3ds3cret",
            "jwt%3ds3cret=1",
            "event%00=s3cret",
            "left=s3cret",
            "corrupt=s3cret",
            "event=s3cret",
            "peer_id=s3cret",
            "ip=s3cret",
            "ip=s3cret;s3cret",
        ] {
            let hidden = Hidden { credentials: true, addresses: false };
            for hidden in [hidden, BOTH] {
                let shown = redacted(hidden, &format!("/t/announce?{odd}&port=1"));
                assert!(!shown.contains("s3cret") && shown.ends_with("&port=1"), "{odd}: {shown}");
            }
        }
    }

    #[test]
    fn a_datagram_keeps_what_is_read_of_it() {
        let datagram = |is_scrape: bool, request: &[u8]| {
            let bytes = [[0; 36].as_slice(), request].concat();
            let record = Record { is_scrape, ..Record::read(&bytes).unwrap() };
            let mut out = Vec::new();
            Redactor::new(BOTH).datagram(&record, &mut out);
            out
        };
        let scrape = [[0; 8].as_slice(), &[7; 48]].concat();
        let sent = [&[7; 56], b"s3cret".as_slice()].concat();
        assert_eq!(datagram(true, &sent), scrape);
        assert_eq!(datagram(true, b"s3cret"), b"");
        assert_eq!(datagram(false, b"s3cret"), b"");
        for (action, key) in [(1, 88), (4, 100)] {
            let mut announce = vec![7; key + 10];
            announce[8..12].copy_from_slice(&[0, 0, 0, action]);
            let mut expected = announce.clone();
            expected[..8].fill(0);
            expected[84..key + 4].fill(0);
            announce.extend(b"\x02\x09/?s3cret1\0s3cret");
            let shown = datagram(false, &announce);
            let (fixed, options) = shown.split_at(key + 10);
            assert_eq!(fixed, expected);
            assert!(options.starts_with(b"\x02\x13/?h"), "{options:?}");
            assert_eq!(options.len(), 21);
        }
    }

    proptest! {
        #[test]
        fn common_prefixes_stay_as_long(one: u32, other: u32, six: (u128, u128)) {
            let redactor = Redactor::new(BOTH);
            let as_v4 = |bits: u32| redactor.bits(bits.into(), 32) as u32;
            prop_assert_eq!(
                (one ^ other).leading_zeros(),
                (as_v4(one) ^ as_v4(other)).leading_zeros()
            );
            let (a, b) = six;
            let near = a ^ (b >> 64);
            let as_v6 = |bits| redactor.bits(bits, 128);
            prop_assert_eq!((a ^ near).leading_zeros(), (as_v6(a) ^ as_v6(near)).leading_zeros());
        }

        #[test]
        fn no_request_panics(request: Vec<u8>, is_scrape: bool, transport in 0..2_usize) {
            let bytes = [vec![0; 36], request].concat();
            if let Some(record) = Record::read(&bytes) {
                let transport = [Transport::Udp, Transport::Http][transport];
                let record = Record { transport, is_scrape, ..record };
                let mut out = Vec::new();
                Redactor::new(BOTH).write(&record, &mut out);
                prop_assert!(Record::read(&out).is_some());
            }
        }
    }
}
