//! Hides credentials and addresses of records, each always behind the same other one.

use std::borrow::Cow;
use std::hash::Hasher as _;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use karuta_bittorrent::{Transport, udp};
use percent_encoding::percent_decode;
use siphasher::sip128::{Hasher128 as _, SipHasher24};

use super::record::Record;

/// What is hidden.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hidden {
    pub credentials: bool,
    pub addresses: bool,
}

/// Hides what is to be hidden, with a key that nobody keeps.
pub struct Redactor {
    hidden: Hidden,
    key: (u64, u64),
    /// The parts of paths that are no credentials.
    literals: Vec<String>,
    /// A buffer.
    request: Vec<u8>,
}

/// The flags of a recording.
const CREDENTIALS: u32 = 1;
const ADDRESSES: u32 = 2;

/// The parameters that are no credentials: all that the protocol knows, but those that say who a client
/// is.
const PUBLIC: [&[u8]; 16] = [
    b"info_hash",
    b"peer_id",
    b"port",
    b"uploaded",
    b"downloaded",
    b"left",
    b"event",
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
/// A datagram up to its options; where it has an address and a key of its client's.
const DATAGRAM: usize = 98;
const ADDRESS: std::ops::Range<usize> = 84..88;
const KEY: std::ops::Range<usize> = 88..92;

impl Hidden {
    pub(super) fn flags(self) -> u32 {
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        flag(self.credentials, CREDENTIALS) | flag(self.addresses, ADDRESSES)
    }

    /// Reads the flags of a recording; `None`: there are unknown ones.
    pub(super) fn of_flags(flags: u32) -> Option<Self> {
        let known = flags & !(CREDENTIALS | ADDRESSES) == 0;
        let (credentials, addresses) = (flags & CREDENTIALS != 0, flags & ADDRESSES != 0);
        known.then_some(Self { credentials, addresses })
    }

    /// Returns what is hidden in this or in another.
    pub fn or(self, other: Self) -> Self {
        Self {
            credentials: self.credentials || other.credentials,
            addresses: self.addresses || other.addresses,
        }
    }

    /// Returns the names of what is hidden.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let all = [("credentials", self.credentials), ("addresses", self.addresses)];
        all.into_iter().filter(|(_, hidden)| *hidden).map(|(name, _)| name)
    }
}

impl FromStr for Hidden {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',').try_fold(Self::default(), |hidden, name| match name {
            "credentials" => Ok(Self { credentials: true, ..hidden }),
            "addresses" => Ok(Self { addresses: true, ..hidden }),
            _ => Err("expected credentials, addresses, or both"),
        })
    }
}

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

    fn datagram(&self, record: &Record, out: &mut Vec<u8>) {
        let mut url = Vec::new();
        let is_announce = !record.is_scrape && udp::announce(record.request, &mut url).is_ok();
        let (true, Some((fixed, _))) =
            (is_announce, record.request.split_first_chunk::<DATAGRAM>())
        else {
            return out.extend_from_slice(record.request);
        };
        let mut fixed = *fixed;
        if self.hidden.addresses {
            fixed[ADDRESS].fill(0);
        }
        if self.hidden.credentials {
            fixed[KEY].fill(0);
        }
        out.extend_from_slice(&fixed);
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
            if self.hidden.addresses && !is_harmless && has_address(value) {
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
            match self.hidden.credentials && !part.is_empty() && !is_literal {
                true => out.extend_from_slice(self.hashed(part).as_bytes()),
                false => out.extend_from_slice(part),
            }
        }
        let Some(query) = query.strip_prefix(b"?") else { return };
        for (at, pair) in query.split(|byte| matches!(byte, b'&' | b';')).enumerate() {
            out.push(if at == 0 { b'?' } else { b'&' });
            let equals = memchr::memchr(b'=', pair).unwrap_or(pair.len());
            let (name, value) = pair.split_at(equals);
            let plain: Cow<[u8]> = percent_decode(name).into();
            out.extend_from_slice(name);
            let Some(value) = value.strip_prefix(b"=") else { continue };
            out.push(b'=');
            let hidden = if OWN.contains(&&*plain) {
                self.hidden.addresses.then(|| self.own_address(value))
            } else {
                let is_hidden = self.hidden.credentials && !PUBLIC.contains(&&*plain);
                is_hidden.then(|| self.hashed(value))
            };
            match hidden {
                Some(hidden) => out.extend_from_slice(hidden.as_bytes()),
                None => out.extend_from_slice(value),
            }
        }
    }

    /// Returns another address in place of the value of a parameter.
    fn own_address(&self, value: &[u8]) -> String {
        let plain: Cow<[u8]> = percent_decode(value).into();
        let text = std::str::from_utf8(&plain).unwrap_or_default();
        let (address, port) = match text.parse::<SocketAddr>() {
            Ok(socket) => (Ok(socket.ip()), Some(socket.port())),
            Err(_) => (text.parse(), None),
        };
        match (address.map(|address: IpAddr| self.address(address.to_canonical())), port) {
            (Ok(address), Some(port)) => SocketAddr::new(address, port).to_string(),
            (Ok(address), None) => address.to_string(),
            (Err(_), _) => self.hashed(value),
        }
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

/// Returns whether a part of a header's value is an address.
fn has_address(value: &[u8]) -> bool {
    let text = String::from_utf8_lossy(value);
    let mut parts = text.split([',', ';', '=', '"', ' ', '\t']);
    parts.any(|part| {
        let part = part.trim_start_matches(':').trim();
        let bare = part.trim_start_matches('[').trim_end_matches(']');
        part.parse::<SocketAddr>().is_ok() || bare.parse::<IpAddr>().is_ok()
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
        let request = "/announce/s3cret?info_hash=%61&port=1&jwt=abc&k%65y=s3cret&ip=1.2.3.4&x\n\
                       host: tracker\nauthorization: Bearer abc\nx-forwarded-for: 1.2.3.4";
        let shown = redacted(hidden, request);
        assert!(!shown.contains("s3cret") && !shown.contains("abc"), "{shown}");
        for kept in [
            "/announce/h",
            "?info_hash=%61&port=1&jwt=h",
            "&k%65y=h",
            "&ip=1.2.3.4&x\n",
            "host: tracker\n",
        ] {
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
    fn names_are_read() {
        assert_eq!("credentials,addresses".parse(), Ok(BOTH));
        assert_eq!("addresses".parse(), Ok(Hidden { credentials: false, addresses: true }));
        assert!("all".parse::<Hidden>().is_err());
        assert_eq!(Hidden::of_flags(BOTH.flags()), Some(BOTH));
        assert_eq!(Hidden::of_flags(4), None);
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
