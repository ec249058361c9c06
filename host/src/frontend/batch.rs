//! Receives and sends many packets per system call. At full load, system calls are the largest part
//! of an announce's cost.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::cmsg_space;
use nix::libc::{in_pktinfo, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg,
    sendmmsg,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::sockets::has_several_addresses;

/// The maximum number of packets per call.
pub const PACKETS: usize = 32;
/// The longest packet that is read, in bytes. A longer packet is cut, and is then malformed.
const LONGEST: usize = 2048;

/// Received packets.
pub struct Inbox {
    headers: MultiHeaders<SockaddrStorage>,
    packets: Box<[[u8; LONGEST]; PACKETS]>,
    /// The length and the source of each packet.
    came: Vec<(usize, PeerAddr)>,
}

/// Answers that wait to be sent, grouped by the address that they leave from. Buffers are reused.
pub struct Outbox {
    plain: MultiHeaders<SockaddrStorage>,
    /// Headers with room for the address that an answer leaves from.
    addressed: MultiHeaders<SockaddrStorage>,
    bodies: Vec<Vec<u8>>,
    to: Vec<Option<SockaddrStorage>>,
    from: Vec<Option<Asked>>,
}

/// The source of a packet; and the address that it was sent to, if the socket has several.
#[derive(Clone, Copy)]
pub struct PeerAddr {
    client: SockaddrStorage,
    asked: Option<Asked>,
}

/// An address of this machine, in the kernel's form. An answer from another address is dropped by
/// NATs and firewalls, and by the client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    V4(in_pktinfo),
    /// Also holds mapped IPv4 addresses, if the socket takes both families.
    V6(in6_pktinfo),
}

impl PeerAddr {
    /// Returns the client's address, or `None` if it is not an IP address.
    pub fn address(&self) -> Option<SocketAddr> {
        let v4 = self.client.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
        v4.or_else(|| self.client.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
    }
}

impl Asked {
    fn of(message: ControlMessageOwned) -> Option<Self> {
        match message {
            // Routing decides which interface an answer leaves by.
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                Some(Self::V4(in_pktinfo { ipi_ifindex: 0, ..info }))
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                // Except for link-local addresses, which every interface has.
                let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                let ipi6_ifindex =
                    if address.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
                Some(Self::V6(in6_pktinfo { ipi6_ifindex, ..info }))
            }
            _ => None,
        }
    }

    fn control(&self) -> ControlMessage<'_> {
        match self {
            Self::V4(info) => ControlMessage::Ipv4PacketInfo(info),
            Self::V6(info) => ControlMessage::Ipv6PacketInfo(info),
        }
    }
}

/// Returns headers for the packets of one call, with `control` bytes of room each.
fn headers(control: Option<Vec<u8>>) -> MultiHeaders<SockaddrStorage> {
    MultiHeaders::preallocate(PACKETS, control)
}

/// Returns the buffer for the address that a packet was sent to, if the socket reports it.
fn room_for_asked(socket: &UdpSocket) -> Option<Vec<u8>> {
    match socket.local_addr().ok()? {
        address if !has_several_addresses(address) => None,
        SocketAddr::V4(_) => Some(cmsg_space!(in_pktinfo)),
        SocketAddr::V6(_) => Some(cmsg_space!(in6_pktinfo)),
    }
}

impl Inbox {
    pub fn of(socket: &UdpSocket) -> Self {
        Self {
            headers: headers(room_for_asked(socket)),
            packets: Box::new([[0; LONGEST]; PACKETS]),
            came: Vec::with_capacity(PACKETS),
        }
    }

    /// Replaces the packets with those that have arrived. Returns `true` if there may be more; the
    /// socket then stays readable, as it does after an error.
    ///
    /// # Errors
    ///
    /// Linux reports here that an earlier answer was not delivered.
    pub fn receive(&mut self, socket: &AsyncFd<UdpSocket>) -> io::Result<bool> {
        let Self { headers, packets, came } = self;
        came.clear();
        let mut slices = packets.each_mut().map(|packet| [IoSliceMut::new(packet)]);
        let received = socket.try_io(Interest::READABLE, |socket| {
            let slices = slices.iter_mut();
            let flags = MsgFlags::MSG_DONTWAIT;
            let messages = recvmmsg(socket.as_raw_fd(), headers, slices, flags, None)?;
            let mut count = 0;
            for message in messages {
                // Every packet's address takes the same number of bytes, so the buffer can be
                // reused.
                let asked = message.cmsgs().ok().and_then(|mut told| told.find_map(Asked::of));
                let source = message.address.map(|client| PeerAddr { client, asked });
                came.extend(source.map(|source| (message.bytes, source)));
                count += 1;
            }
            // A call that returns fewer packets than it could has emptied the socket. Reporting
            // that now saves a call that finds nothing: at moderate load, one for each packet.
            if count == PACKETS { Ok(true) } else { Err(ErrorKind::WouldBlock.into()) }
        });
        match received {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            result => result,
        }
    }

    /// Returns the source of each packet.
    pub fn sources(&self) -> impl Iterator<Item = PeerAddr> {
        self.came.iter().map(|(_, source)| *source)
    }

    /// Returns a packet, by its position.
    pub fn packet(&self, at: usize) -> &[u8] {
        &self.packets[at][..self.came[at].0]
    }
}

impl Outbox {
    pub fn of(socket: &UdpSocket) -> Self {
        Self {
            plain: headers(None),
            addressed: headers(room_for_asked(socket)),
            bodies: vec![Vec::new(); PACKETS],
            to: Vec::with_capacity(PACKETS),
            from: Vec::with_capacity(PACKETS),
        }
    }

    /// Takes an answer, and leaves another buffer in its place. Holds up to [`PACKETS`] answers.
    pub fn push(&mut self, answer: &mut Vec<u8>, to: PeerAddr) {
        let last = self.to.len();
        let before = self.from.iter().rposition(|from| *from == to.asked);
        let place = before.map_or(last, |before| before + 1);
        std::mem::swap(answer, &mut self.bodies[last]);
        self.bodies[place..=last].rotate_right(1);
        self.to.insert(place, Some(to.client));
        self.from.insert(place, to.asked);
    }

    /// Sends all answers. An answer that cannot be sent is lost, without affecting other clients.
    pub async fn send(&mut self, socket: &AsyncFd<UdpSocket>) {
        let mut sent = 0;
        while sent < self.to.len() {
            match self.try_send(socket, sent) {
                Ok(more) => sent += more.max(1),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if writable(socket.get_ref()).await.is_err() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::debug!(%error, "cannot send packet; the answer is lost");
                    sent += 1;
                }
            }
        }
        self.to.clear();
        self.from.clear();
    }

    /// Sends answers from `first` on, as long as they leave from the same address. Returns how many
    /// were sent; an error is about the first of them.
    fn try_send(&mut self, socket: &AsyncFd<UdpSocket>, first: usize) -> io::Result<usize> {
        let Self { plain, addressed, bodies, to, from } = self;
        let asked = from[first];
        let more = from[first..].iter().take_while(|from| **from == asked).count();
        let slices: [_; PACKETS] = std::array::from_fn(|at| [IoSlice::new(&bodies[at])]);
        let (slices, to) = (&slices[first..first + more], &to[first..first + more]);
        let headers = if asked.is_some() { addressed } else { plain };
        let control = asked.as_ref().map(Asked::control);
        let flags = MsgFlags::MSG_DONTWAIT;
        Ok(sendmmsg(socket.as_raw_fd(), headers, slices, to, control.as_slice(), flags)?.count())
    }
}

/// Registers a socket with the runtime, to wait for packets.
///
/// tokio's own `UdpSocket` also waits for room to send. The kernel reports that after each packet
/// that leaves, so the worker would be woken for nothing after every answer.
///
/// # Errors
///
/// The runtime cannot register another socket.
pub fn register(socket: UdpSocket) -> io::Result<AsyncFd<UdpSocket>> {
    registered(socket, Interest::READABLE)
}

/// Waits until a socket has room to send.
async fn writable(socket: &UdpSocket) -> io::Result<()> {
    let _ = registered(socket.try_clone()?, Interest::WRITABLE)?.writable().await?;
    Ok(())
}

#[allow(unsafe_code, reason = "only this function takes a single kind of readiness")]
fn registered(socket: UdpSocket, interest: Interest) -> io::Result<AsyncFd<UdpSocket>> {
    // SAFETY: A socket of the standard library owns its descriptor, which stays open and the same
    // until the socket is dropped. Nothing borrows this one mutably, so no other can replace it.
    let registered = unsafe { AsyncFd::register_with_interest(socket, interest) };
    registered.map_err(io::Error::from)
}
