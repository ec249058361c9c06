//! Many packets with one call to the system: at full load the system's calls are what an announce
//! costs most of.

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

/// Packets of one call.
pub const PACKETS: usize = 32;
/// Bytes of the longest packet that is read; what is longer is cut, and then malformed.
const LONGEST: usize = 2048;

/// Packets as they came.
pub struct Inbox {
    headers: MultiHeaders<SockaddrStorage>,
    packets: Box<[[u8; LONGEST]; PACKETS]>,
    /// The length and the source of each.
    came: Vec<(usize, PeerAddr)>,
}

/// Answers that wait to be sent, those from one address side by side. Their buffers are used again.
pub struct Outbox {
    plain: MultiHeaders<SockaddrStorage>,
    /// With room for the address that an answer leaves from.
    addressed: MultiHeaders<SockaddrStorage>,
    bodies: Vec<Vec<u8>>,
    to: Vec<Option<SockaddrStorage>>,
    from: Vec<Option<Asked>>,
}

/// Where a packet came from, and which address it was sent to where the socket has several.
#[derive(Clone, Copy)]
pub struct PeerAddr {
    client: SockaddrStorage,
    asked: Option<Asked>,
}

/// An address of this machine, as the kernel tells and takes it. An answer from another is dropped
/// by NATs and firewalls, and by the client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    V4(in_pktinfo),
    /// IPv4 as well, mapped, where the socket takes both.
    V6(in6_pktinfo),
}

impl PeerAddr {
    /// The client's address; `None`: it is none of IP.
    pub fn address(&self) -> Option<SocketAddr> {
        let v4 = self.client.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
        v4.or_else(|| self.client.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
    }
}

impl Asked {
    fn of(message: ControlMessageOwned) -> Option<Self> {
        match message {
            // Which interface an answer leaves by is for the routes to say.
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                Some(Self::V4(in_pktinfo { ipi_ifindex: 0, ..info }))
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                // But for addresses that every interface has.
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

/// The headers of as many packets as one call takes, with `control` bytes of room each.
fn headers(control: Option<Vec<u8>>) -> MultiHeaders<SockaddrStorage> {
    MultiHeaders::preallocate(PACKETS, control)
}

/// The room for the address that a packet was sent to, where the socket tells it.
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

    /// Takes the packets that have arrived, in place of those before. `true`: there may be more, and
    /// the socket stays readable, as it does after an error.
    ///
    /// # Errors
    ///
    /// Linux reports here that an earlier answer did not arrive.
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
                // The kernel tells it of every packet, in as many bytes, so that there is room again.
                let asked = message.cmsgs().ok().and_then(|mut told| told.find_map(Asked::of));
                let source = message.address.map(|client| PeerAddr { client, asked });
                came.extend(source.map(|source| (message.bytes, source)));
                count += 1;
            }
            // A call that could have taken more has emptied the socket. Saying so now saves
            // another that finds nothing, which at a moderate load is one for each packet.
            if count == PACKETS { Ok(true) } else { Err(ErrorKind::WouldBlock.into()) }
        });
        match received {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            result => result,
        }
    }

    /// Each packet with its source.
    pub fn packets(&self) -> impl Iterator<Item = (&[u8], PeerAddr)> {
        let came = self.came.iter().zip(&*self.packets);
        came.map(|((length, source), packet)| (&packet[..*length], *source))
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

    /// Takes an answer, and leaves another buffer in its place. There is room for [`PACKETS`].
    pub fn push(&mut self, answer: &mut Vec<u8>, to: PeerAddr) {
        let last = self.to.len();
        let before = self.from.iter().rposition(|from| *from == to.asked);
        let place = before.map_or(last, |before| before + 1);
        std::mem::swap(answer, &mut self.bodies[last]);
        self.bodies[place..=last].rotate_right(1);
        self.to.insert(place, Some(to.client));
        self.from.insert(place, to.asked);
    }

    /// Sends what there is. An answer that cannot be sent is lost: its client is no concern of the
    /// others.
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
                    tracing::debug!(%error, "sending a packet");
                    sent += 1;
                }
            }
        }
        self.to.clear();
        self.from.clear();
    }

    /// Sends the answers from `first` on that leave from one address, as far as it goes; the error is
    /// of the first of them.
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
/// tokio's own `UdpSocket` is told of room for more packets as well, and the kernel tells of that
/// each time one has left: the worker would be woken for nothing after every answer.
///
/// # Errors
///
/// There is no room for another.
pub fn register(socket: UdpSocket) -> io::Result<AsyncFd<UdpSocket>> {
    registered(socket, Interest::READABLE)
}

/// Waits until a socket has room for more.
async fn writable(socket: &UdpSocket) -> io::Result<()> {
    let _ = registered(socket.try_clone()?, Interest::WRITABLE)?.writable().await?;
    Ok(())
}

#[allow(unsafe_code, reason = "only this can be told of one kind of readiness alone")]
fn registered(socket: UdpSocket, interest: Interest) -> io::Result<AsyncFd<UdpSocket>> {
    // SAFETY: a socket of the standard library owns its descriptor, which is open and the same
    // until the socket is dropped; and nobody borrows this one mutably, to put another in its place.
    let registered = unsafe { AsyncFd::register_with_interest(socket, interest) };
    registered.map_err(io::Error::from)
}
