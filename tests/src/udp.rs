//! A client for the UDP protocol (BEP 15), down to the bytes.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::SOON;

pub const CONNECT: u32 = 0;
pub const ANNOUNCE: u32 = 1;
pub const SCRAPE: u32 = 2;
pub const ERROR: u32 = 3;
pub const ANNOUNCE_IPV6: u32 = 4;

/// The number in place of a connection id in a connect request.
const PROTOCOL: u64 = 0x0417_2710_1980;

/// A socket and its connection id.
pub struct Client {
    socket: UdpSocket,
    pub id: u64,
}

impl Client {
    /// Creates a client at the server's address, and gets a connection id.
    #[track_caller]
    pub fn connect(server: SocketAddr) -> Self {
        Self::connect_from(server.ip(), server)
    }

    /// Creates a client at another address of this machine, and gets a connection id.
    #[track_caller]
    pub fn connect_from(from: IpAddr, server: SocketAddr) -> Self {
        let client = Self::new(from, server);
        let id = client.connection_id();
        client.with_id(id)
    }

    /// Does the same, unless nobody listens there.
    pub fn try_connect_from(from: IpAddr, server: SocketAddr) -> io::Result<Self> {
        let client = Self::new(from, server);
        client.socket.send(&header(PROTOCOL, CONNECT, CONNECTS))?;
        let mut packet = [0; 2048];
        let length = client.socket.recv(&mut packet)?;
        let id = connection_id_of(&packet[..length]);
        Ok(client.with_id(id))
    }

    /// Creates a client at an address of this machine, without a connection id.
    pub fn new(from: IpAddr, server: SocketAddr) -> Self {
        let socket = UdpSocket::bind((from, 0)).expect("a socket");
        socket.connect(server).expect("the server's family");
        socket.set_read_timeout(Some(SOON)).expect("a timeout");
        Self { socket, id: 0 }
    }

    /// Replaces the connection id.
    pub fn with_id(self, id: u64) -> Self {
        Self { id, ..self }
    }

    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket")
    }

    /// Returns the socket and its connection id.
    pub fn into_parts(self) -> (UdpSocket, u64) {
        (self.socket, self.id)
    }

    /// Requests a connection id.
    #[track_caller]
    pub fn connection_id(&self) -> u64 {
        connection_id_of(&self.exchange(&header(PROTOCOL, CONNECT, CONNECTS)))
    }

    /// Requests the counts of torrents: seeders, downloads and leechers of each. The error is the
    /// tracker's.
    #[track_caller]
    pub fn scrape(&self, info_hashes: &[[u8; 20]]) -> Result<Vec<[u32; 3]>, String> {
        let mut packet = header(self.id, SCRAPE, 7);
        packet.extend(info_hashes.as_flattened());
        let answer = self.exchange(&packet);
        let words = body(&answer, SCRAPE, 7)?;
        let (words, rest) = words.as_chunks();
        assert!(rest.is_empty(), "half a number");
        let numbers: Vec<u32> = words.iter().copied().map(u32::from_be_bytes).collect();
        let (counts, rest) = numbers.as_chunks();
        assert!(rest.is_empty(), "half an entry");
        Ok(counts.to_vec())
    }

    pub fn send(&self, packet: &[u8]) {
        self.socket.send(packet).expect("the packet is sent");
    }

    #[track_caller]
    pub fn receive(&self) -> Vec<u8> {
        let mut packet = [0; 2048];
        let length = self.socket.recv(&mut packet).expect("an answer");
        packet[..length].to_vec()
    }

    #[track_caller]
    pub fn exchange(&self, packet: &[u8]) -> Vec<u8> {
        self.send(packet);
        self.receive()
    }

    /// Sends packets, and returns the answers to them. A connect request follows the packets: a
    /// socket is served in order, so its answer is the last.
    pub fn answers(&self, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
        for packet in packets {
            self.send(packet);
        }
        let last = 0x1a57_1a57;
        self.send(&header(PROTOCOL, CONNECT, last));
        let mut answers = Vec::new();
        loop {
            let answer = self.receive();
            if answer.len() == 16 && answer[4..8] == last.to_be_bytes() {
                return answers;
            }
            answers.push(answer);
        }
    }
}

/// The transaction of requests for a connection id.
const CONNECTS: u32 = 0x0c0f_fee0;

#[track_caller]
fn connection_id_of(answer: &[u8]) -> u64 {
    assert_eq!(answer.len(), 16, "{}", answer.escape_ascii());
    assert_eq!(answer[..8], [0, 0, 0, 0, 0x0c, 0x0f, 0xfe, 0xe0]);
    u64::from_be_bytes(answer[8..].try_into().expect("eight bytes"))
}

/// Returns the start of every request.
pub fn header(connection_id: u64, action: u32, transaction: u32) -> Vec<u8> {
    let mut packet = connection_id.to_be_bytes().to_vec();
    packet.extend(action.to_be_bytes());
    packet.extend(transaction.to_be_bytes());
    packet
}

/// Returns the part of an answer after its action and transaction. The error is the tracker's.
#[track_caller]
pub fn body(answer: &[u8], action: u32, transaction: u32) -> Result<&[u8], String> {
    let (head, rest) = answer.split_first_chunk::<8>().expect("a whole answer");
    assert_eq!(head[4..], transaction.to_be_bytes(), "the transaction");
    if head[..4] == ERROR.to_be_bytes() {
        let text = rest.strip_suffix(&[0]).expect("a text that ends with NUL");
        return Err(String::from_utf8(text.to_vec()).expect("a text"));
    }
    assert_eq!(head[..4], action.to_be_bytes(), "the action");
    Ok(rest)
}
