//! Announces, to be sent over either transport.

use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::bencode::{self, Value};
use crate::{Answer, get, udp};

/// One peer's announce of one torrent.
#[derive(Clone, Debug)]
pub struct Announce {
    info_hash: [u8; 20],
    peer_id: [u8; 20],
    port: u16,
    uploaded: u64,
    downloaded: u64,
    left: u64,
    event: &'static str,
    num_want: Option<i32>,
    /// More parameters, each with its `&`.
    more: String,
}

/// The answer to an announce.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// Seconds.
    pub interval: u32,
    pub seeders: u32,
    pub leechers: u32,
    /// Sorted.
    pub peers: Vec<SocketAddr>,
}

/// Returns an info-hash of 20 equal letters.
pub fn torrent(letter: char) -> [u8; 20] {
    [letter as u8; 20]
}

/// Returns [`torrent`]`(letter)` in hexadecimal digits.
pub fn hex(letter: char) -> String {
    format!("{:02x}", letter as u8).repeat(20)
}

impl Announce {
    /// Creates the announce of a leecher on port 6881, for [`torrent`]`(letter)`.
    pub fn of(letter: char) -> Self {
        Self::of_hash(torrent(letter))
    }

    pub fn of_hash(info_hash: [u8; 20]) -> Self {
        let peer_id = *b"-KA0100-0123456789ab";
        Self {
            info_hash,
            peer_id,
            port: 6881,
            uploaded: 0,
            downloaded: 0,
            left: 1,
            event: "",
            num_want: None,
            more: "".into(),
        }
    }

    pub fn port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    pub fn peer_id(self, peer_id: [u8; 20]) -> Self {
        Self { peer_id, ..self }
    }

    /// Sets the beginning of the peer id.
    pub fn client(mut self, prefix: &str) -> Self {
        self.peer_id[..prefix.len()].copy_from_slice(prefix.as_bytes());
        self
    }

    pub fn seeder(self) -> Self {
        self.left(0)
    }

    pub fn left(self, left: u64) -> Self {
        Self { left, ..self }
    }

    /// Sets what it has moved in all, in bytes.
    pub fn moved(self, uploaded: u64, downloaded: u64) -> Self {
        Self { uploaded, downloaded, ..self }
    }

    /// Sets the event: `started`, `stopped`, `completed` or `paused`.
    pub fn event(self, event: &'static str) -> Self {
        Self { event, ..self }
    }

    pub fn want(self, num_want: i32) -> Self {
        Self { num_want: Some(num_want), ..self }
    }

    /// Adds a parameter in the form of a query. UDP sends it as URL data.
    pub fn with(mut self, parameter: &str) -> Self {
        self.more.push('&');
        self.more.push_str(parameter);
        self
    }

    /// Returns the HTTP query, with `compact=1`.
    pub fn query(&self) -> String {
        let mut query = format!(
            "info_hash={}&peer_id={}&port={}&uploaded={}&downloaded={}&left={}&compact=1",
            escape(&self.info_hash),
            escape(&self.peer_id),
            self.port,
            self.uploaded,
            self.downloaded,
            self.left
        );
        if !self.event.is_empty() {
            let _ = write!(query, "&event={}", self.event);
        }
        if let Some(num_want) = self.num_want {
            let _ = write!(query, "&numwant={num_want}");
        }
        query + &self.more
    }

    /// Sends it over HTTP. `headers` are complete lines.
    pub fn get(&self, tracker: SocketAddr, headers: &[&str]) -> Answer {
        get(tracker, &format!("/announce?{}", self.query()), headers)
    }

    /// Sends it over HTTP, and returns the bencoded answer.
    #[track_caller]
    pub fn dictionary(&self, tracker: SocketAddr) -> Value {
        let answer = self.get(tracker, &[]);
        assert_eq!(answer.status, 200, "{answer:?}");
        bencode::read(&answer.body)
    }

    /// Sends it over HTTP. The error is the `failure reason`.
    #[track_caller]
    pub fn http(&self, tracker: SocketAddr) -> Result<Reply, String> {
        reply(&self.dictionary(tracker))
    }

    /// Returns the UDP packet.
    pub fn packet(&self, connection_id: u64, transaction: u32) -> Vec<u8> {
        let mut packet = udp::header(connection_id, udp::ANNOUNCE, transaction);
        packet.extend(self.info_hash);
        packet.extend(self.peer_id);
        packet.extend(self.downloaded.to_be_bytes());
        packet.extend(self.left.to_be_bytes());
        packet.extend(self.uploaded.to_be_bytes());
        let event = match self.event {
            "" => 0_u32,
            "completed" => 1,
            "started" => 2,
            "stopped" => 3,
            "paused" => 4,
            other => panic!("UDP has no event {other}"),
        };
        packet.extend(event.to_be_bytes());
        packet.extend([0; 8]);
        packet.extend(self.num_want.unwrap_or(-1).to_be_bytes());
        packet.extend(self.port.to_be_bytes());
        if let Some(parameters) = self.more.strip_prefix('&') {
            packet.extend(url_data(&format!("/announce?{parameters}")));
        }
        packet
    }

    /// Sends it over UDP. The error is the tracker's.
    #[track_caller]
    pub fn udp(&self, client: &udp::Client) -> Result<Reply, String> {
        let answer = client.exchange(&self.packet(client.id, 0x7ac7));
        let body = udp::body(&answer, udp::ANNOUNCE, 0x7ac7)?;
        let (numbers, peers) = body.split_first_chunk::<12>().expect("a whole answer");
        let word = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| numbers[at + byte]));
        let is_ipv6 = client.address().is_ipv6();
        let peers = if is_ipv6 { peers6(peers) } else { peers4(peers) };
        Ok(Reply { interval: word(0), leechers: word(4), seeders: word(8), peers })
    }
}

/// Returns the options of BEP 41 that carry a path and its query.
pub fn url_data(url: &str) -> Vec<u8> {
    let pieces = url.as_bytes().chunks(255);
    pieces.flat_map(|piece| [&[2, piece.len() as u8], piece].concat()).collect()
}

/// Parses an HTTP answer. The error is the `failure reason`.
#[track_caller]
pub fn reply(answer: &Value) -> Result<Reply, String> {
    if let Some(reason) = answer.text("failure reason") {
        return Err(reason);
    }
    let number = |key| u32::try_from(answer.integer(key)).expect("a small number");
    let mut peers = peers4(answer.bytes("peers").expect("compact peers"));
    peers.extend(peers6(answer.bytes("peers6").unwrap_or_default()));
    Ok(Reply {
        interval: number("interval"),
        seeders: number("complete"),
        leechers: number("incomplete"),
        peers,
    })
}

#[track_caller]
fn peers4(bytes: &[u8]) -> Vec<SocketAddr> {
    peers(bytes, |[a, b, c, d, port @ ..]: [u8; 6]| (IpAddr::from([a, b, c, d]), port))
}

#[track_caller]
fn peers6(bytes: &[u8]) -> Vec<SocketAddr> {
    peers(bytes, |[address @ .., high, low]: [u8; 18]| {
        (Ipv6Addr::from(address).into(), [high, low])
    })
}

#[track_caller]
fn peers<const N: usize>(bytes: &[u8], one: fn([u8; N]) -> (IpAddr, [u8; 2])) -> Vec<SocketAddr> {
    let (peers, rest) = bytes.as_chunks();
    assert!(rest.is_empty(), "half a peer: {}", bytes.escape_ascii());
    let peers = peers.iter().map(|peer| {
        let (address, port) = one(*peer);
        SocketAddr::new(address, u16::from_be_bytes(port))
    });
    let mut peers: Vec<_> = peers.collect();
    peers.sort_unstable();
    peers
}

/// Percent-encodes bytes for a query.
pub fn escape(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02x}");
        }
        text
    })
}
