//! UDP clients (BEP 15; URL data by BEP 41).

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};
use socket2::{Socket, Type};

use crate::client::{Client, Load, Order, socket};
use crate::slots::Slots;
use crate::swarms::{self, Request};
use crate::tally::Tally;
use crate::target::Target;

const MAGIC: u64 = 0x417_2710_1980;
const CONNECT: u32 = 0;
const ANNOUNCE: u32 = 1;
const SCRAPE: u32 = 2;
const ERROR: u32 = 3;
/// How long a client may use a connection id.
const ID_LIFETIME: Duration = Duration::from_mins(1);
/// The size of an IPv4 peer in an answer, and of an IPv6 peer, in bytes.
pub const PEER: usize = 6;
const PEER_V6: usize = 18;
/// The maximum size of an answer, in bytes.
const ANSWER: usize = 2048;

/// Receives a socket's answers, several per call.
pub struct Inbox {
    answers: Vec<[u8; ANSWER]>,
    headers: MultiHeaders<SockaddrStorage>,
}

impl Inbox {
    pub fn new(outstanding: usize) -> Self {
        let headers = MultiHeaders::preallocate(outstanding, None);
        Self { answers: vec![[0; ANSWER]; outstanding], headers }
    }

    /// Passes each answer that has arrived, and its time of arrival, to `take`.
    pub fn receive(
        &mut self,
        socket: &impl AsRawFd,
        mut take: impl FnMut(&[u8], Instant),
    ) -> Result<()> {
        let Self { answers, headers } = self;
        let mut slices: Vec<_> = answers.iter_mut().map(|one| [IoSliceMut::new(one)]).collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        let received = match recvmmsg(socket.as_raw_fd(), headers, &mut slices, flags, None) {
            Err(nix::Error::EAGAIN) => return Ok(()),
            received => received.context("receiving")?,
        };
        let now = Instant::now();
        received.for_each(|message| take(message.iovs().next().unwrap_or_default(), now));
        Ok(())
    }
}

/// A socket with its own connection id and several requests under way.
pub struct UdpClient {
    socket: Socket,
    target: Rc<Target>,
    load: Rc<Load>,
    address: u32,
    /// The size of a peer in an answer, in bytes.
    peer_size: usize,
    connection_id: u64,
    connected: Instant,
    slots: Slots,
    packets: Vec<Vec<u8>>,
    inbox: Inbox,
    /// For sending.
    headers: MultiHeaders<SockaddrStorage>,
    nowhere: Vec<Option<SockaddrStorage>>,
}

impl UdpClient {
    /// Opens a socket, and gets a connection id.
    pub fn new(target: &Rc<Target>, load: &Rc<Load>, address: u32, epoll: &Epoll) -> Result<Self> {
        let socket = socket(target.address, Type::DGRAM, address)?;
        let connection_id = connect(&socket)?;
        epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, address.into()))?;
        let outstanding = load.outstanding as usize;
        Ok(Self {
            socket,
            target: target.clone(),
            load: load.clone(),
            address,
            peer_size: if target.address.is_ipv6() { PEER_V6 } else { PEER },
            connection_id,
            connected: Instant::now(),
            slots: Slots::new(outstanding),
            packets: vec![Vec::new(); outstanding],
            inbox: Inbox::new(outstanding),
            headers: MultiHeaders::preallocate(outstanding, None),
            nowhere: vec![None; outstanding],
        })
    }
}

impl Client for UdpClient {
    fn address(&self) -> u32 {
        self.address
    }

    fn free(&self) -> usize {
        self.slots.free()
    }

    fn busy(&self) -> usize {
        self.slots.busy()
    }

    fn send(&mut self, orders: &[Order]) -> Result<()> {
        let now = Instant::now();
        if now.duration_since(self.connected) > ID_LIFETIME && self.busy() == 0 {
            self.connection_id = connect(&self.socket)?;
            self.connected = now;
        }
        for (order, packet) in orders.iter().zip(&mut self.packets) {
            let transaction = self.slots.take(*order, now).context("more requests than fit")?;
            write(packet, self.connection_id, transaction, order.request, &self.load, &self.target);
        }
        let mut rest = &self.packets[..orders.len()];
        while !rest.is_empty() {
            let slices: Vec<_> = rest.iter().map(|packet| [IoSlice::new(packet)]).collect();
            let sent = sendmmsg(
                self.socket.as_raw_fd(),
                &mut self.headers,
                &slices,
                &self.nowhere[..rest.len()],
                [],
                MsgFlags::empty(),
            )
            .context("sending")?;
            rest = &rest[sent.count()..];
        }
        Ok(())
    }

    fn receive(&mut self, tally: &mut Tally) -> Result<()> {
        let Self { socket, inbox, slots, load, peer_size, .. } = self;
        inbox.receive(socket, |answer, now| {
            match number(answer, 4).and_then(|transaction| slots.give_back(transaction)) {
                Some(order) => {
                    check(answer, order.request, load, *peer_size, tally);
                    tally.answered(order.request, now.duration_since(order.due));
                }
                // A connect that was sent twice is answered twice.
                None if number(answer, 0) == Some(CONNECT) => {}
                None => tally.wrong("an answer to nothing that was asked", answer),
            }
        })
    }

    fn give_up(&mut self, sent_before: Instant) -> Vec<Order> {
        self.slots.give_up(sent_before)
    }
}

/// Gets a connection id. A lost packet is sent again.
fn connect(socket: &Socket) -> Result<u64> {
    let transaction = 0x6b61_7275_u32;
    let mut packet = Vec::new();
    write_connect(&mut packet, transaction);
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut answer = [0; 64];
    for _ in 0..3 {
        socket.send(&packet).context("the tracker is not there")?;
        let Ok(length) = std::io::Read::read(&mut &*socket, &mut answer) else { continue };
        let answer = &answer[..length];
        if let Some(id) = connected(answer)
            && number(answer, 4) == Some(transaction)
        {
            socket.set_nonblocking(true)?;
            return Ok(id);
        }
        bail!("an unexpected answer to a connect: {}", answer.escape_ascii());
    }
    bail!("no answer to a connect");
}

pub fn write_connect(packet: &mut Vec<u8>, transaction: u32) {
    packet.clear();
    packet.extend(MAGIC.to_be_bytes());
    packet.extend(CONNECT.to_be_bytes());
    packet.extend(transaction.to_be_bytes());
}

/// Returns the connection id in an answer, or `None` if it does not answer a connect.
pub fn connected(answer: &[u8]) -> Option<u64> {
    let is_one = answer.len() == 16 && number(answer, 0) == Some(CONNECT);
    is_one.then(|| answer[8..].iter().fold(0, |id, byte| id << 8 | u64::from(*byte)))
}

pub fn write(
    packet: &mut Vec<u8>,
    connection_id: u64,
    transaction: u32,
    request: Request,
    load: &Load,
    target: &Target,
) {
    packet.clear();
    packet.extend(connection_id.to_be_bytes());
    match request {
        Request::Announce { torrent, peer, started } => {
            packet.extend(ANNOUNCE.to_be_bytes());
            packet.extend(transaction.to_be_bytes());
            packet.extend(swarms::info_hash(torrent));
            packet.extend(swarms::peer_id(torrent, peer));
            let left: u64 = if load.is_seeder(peer) { 0 } else { 1 << 30 };
            packet.extend(0_u64.to_be_bytes()); // downloaded
            packet.extend(left.to_be_bytes());
            packet.extend(0_u64.to_be_bytes()); // uploaded
            packet.extend(if started { 2_u32 } else { 0 }.to_be_bytes());
            packet.extend(0_u32.to_be_bytes()); // the sender's address
            packet.extend(peer.to_be_bytes()); // key
            packet.extend(load.num_want.to_be_bytes());
            packet.extend(swarms::port(peer).to_be_bytes());
            if !target.path.is_empty() {
                packet.extend([2, target.path.len() as u8]);
                packet.extend(target.path.bytes());
            }
        }
        Request::Scrape { first } => {
            packet.extend(SCRAPE.to_be_bytes());
            packet.extend(transaction.to_be_bytes());
            for torrent in first..first + load.scrape_hashes {
                packet.extend(swarms::info_hash(torrent % load.torrents));
            }
        }
    }
}

/// Checks an answer whose peers take `size` bytes each.
pub fn check(answer: &[u8], request: Request, load: &Load, size: usize, tally: &mut Tally) {
    let word = |at| number(answer, at).map(i64::from).unwrap_or_default();
    match (request, number(answer, 0)) {
        (Request::Announce { .. }, Some(ANNOUNCE)) => match answer.len().checked_sub(20) {
            Some(bytes) if bytes.is_multiple_of(size) => {
                let counts = (word(16), word(12));
                tally.check_announce(load, request, counts, bytes / size, answer);
            }
            _ => tally.wrong("malformed", answer),
        },
        (Request::Scrape { .. }, Some(SCRAPE)) => {
            let (seeders, leechers) = load.counts();
            let hashes = load.scrape_hashes as usize;
            if answer.len() != 8 + 12 * hashes {
                tally.wrong("malformed", answer);
            } else if !(0..hashes)
                .all(|at| (word(8 + 12 * at), word(16 + 12 * at)) == (seeders, leechers))
            {
                tally.wrong("wrong counts", answer);
            }
        }
        (_, Some(ERROR)) => tally.wrong("refused", answer),
        _ => tally.wrong("malformed", answer),
    }
}

/// Returns the big-endian number at an offset.
pub fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?;
    Some(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANNOUNCED: Request = Request::Announce { torrent: 3, peer: 9, started: false };

    #[test]
    fn packets_have_the_sizes_of_the_protocol() {
        let load = Load { scrape_hashes: 2, ..Load::DEFAULT };
        let plain: Target = "udp://127.0.0.1:1".parse().unwrap();
        let with_path: Target = "udp://127.0.0.1:1/announce".parse().unwrap();
        let mut packet = Vec::new();
        write(&mut packet, 7, 8, ANNOUNCED, &load, &plain);
        assert_eq!(packet.len(), 98);
        assert_eq!((number(&packet, 4), number(&packet, 12)), (Some(7), Some(8)));
        assert_eq!(packet[16..36], swarms::info_hash(3));
        assert_eq!(packet[96..], swarms::port(9).to_be_bytes());
        write(&mut packet, 7, 8, ANNOUNCED, &load, &with_path);
        assert_eq!(&packet[98..], b"\x02\x09/announce");
        write(&mut packet, 7, 8, Request::Scrape { first: 9_999 }, &load, &plain);
        assert_eq!(packet.len(), 16 + 40);
        assert_eq!(packet[36..], swarms::info_hash(0));
    }

    #[test]
    fn answers_are_checked() {
        let load = Load { peers: 3, seeders: 1, sockets: 1, num_want: 1, ..Load::DEFAULT };
        let answer = |words: &[u32], rest: &[u8]| {
            let words: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            [words, rest.to_vec()].concat()
        };
        let faults = |answer: &[u8], request| {
            let mut tally = Tally::default();
            check(answer, request, &load, 6, &mut tally);
            tally.example().map(|example| example.split(':').next().unwrap().to_owned())
        };
        let scrape = Request::Scrape { first: 0 };
        assert_eq!(faults(&answer(&[1, 0, 1800, 2, 1], b"abcdef"), ANNOUNCED), None);
        assert_eq!(faults(&answer(&[2, 0, 1, 5, 2], b""), scrape), None);
        for (wrong, request, how) in [
            (answer(&[1, 0, 1800, 2, 1], b"abcde"), ANNOUNCED, "malformed"),
            (answer(&[1, 0, 1800, 1, 2], b"abcdef"), ANNOUNCED, "wrong counts"),
            (answer(&[1, 0, 1800, 2, 1], b""), ANNOUNCED, "fewer peers than were wanted"),
            (answer(&[1, 0], b""), ANNOUNCED, "malformed"),
            (answer(&[2, 0, 1, 5, 2], b""), ANNOUNCED, "malformed"),
            (answer(&[3, 0], b"no"), ANNOUNCED, "refused"),
            (answer(&[2, 0, 2, 5, 1], b""), scrape, "wrong counts"),
            (answer(&[2, 0, 1, 5], b""), scrape, "malformed"),
        ] {
            assert_eq!(faults(&wrong, request).as_deref(), Some(how), "{wrong:?}");
        }
    }
}
