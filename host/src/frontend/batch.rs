//! Many packets with one call to the system: at full load the system's calls are what an announce
//! costs most of.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Packets of one call.
pub const PACKETS: usize = 32;
/// Bytes of the longest packet that is read; what is longer is cut, and then malformed.
const LONGEST: usize = 2048;

/// Packets as they came.
pub struct Inbox {
    headers: MultiHeaders<SockaddrStorage>,
    packets: Box<[[u8; LONGEST]; PACKETS]>,
    /// The length and the source of each.
    came: Vec<(usize, SockaddrStorage)>,
}

/// Answers that wait to be sent. Their buffers are used again.
pub struct Outbox {
    headers: MultiHeaders<SockaddrStorage>,
    bodies: Vec<Vec<u8>>,
    to: Vec<Option<SockaddrStorage>>,
}

/// Where a packet came from.
pub type Source = SockaddrStorage;

impl Default for Inbox {
    fn default() -> Self {
        Self {
            headers: MultiHeaders::preallocate(PACKETS, None),
            packets: Box::new([[0; LONGEST]; PACKETS]),
            came: Vec::with_capacity(PACKETS),
        }
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            headers: MultiHeaders::preallocate(PACKETS, None),
            bodies: vec![Vec::new(); PACKETS],
            to: Vec::with_capacity(PACKETS),
        }
    }
}

impl Inbox {
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
                came.extend(message.address.map(|address| (message.bytes, address)));
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
    pub fn packets(&self) -> impl Iterator<Item = (&[u8], Source)> {
        let came = self.came.iter().zip(&*self.packets);
        came.map(|((length, source), packet)| (&packet[..*length], *source))
    }
}

impl Outbox {
    /// Takes an answer, and leaves another buffer in its place. There is room for [`PACKETS`].
    pub fn push(&mut self, answer: &mut Vec<u8>, to: Source) {
        std::mem::swap(answer, &mut self.bodies[self.to.len()]);
        self.to.push(Some(to));
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
    }

    /// Sends the answers from `first` on, as far as it goes; the error is of the first of them.
    fn try_send(&mut self, socket: &AsyncFd<UdpSocket>, first: usize) -> io::Result<usize> {
        let Self { headers, bodies, to } = self;
        let slices: [_; PACKETS] = std::array::from_fn(|at| [IoSlice::new(&bodies[at])]);
        let (slices, to) = (&slices[first..to.len()], &to[first..]);
        let flags = MsgFlags::MSG_DONTWAIT;
        Ok(sendmmsg(socket.as_raw_fd(), headers, slices, to, [], flags)?.count())
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

/// A source as an address; `None`: it is none of IP.
pub fn address(source: &Source) -> Option<SocketAddr> {
    let v4 = source.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| source.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
}
