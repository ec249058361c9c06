//! Many packets with one call to the system: at full load the system's calls are what an announce
//! costs most of.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};
use tokio::io::Interest;
use tokio::net::UdpSocket;

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
    /// Takes the packets that have arrived, in place of those before.
    ///
    /// # Errors
    ///
    /// `WouldBlock` where there are none; Linux also reports here that an earlier answer did not
    /// arrive.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let Self { headers, packets, came } = self;
        came.clear();
        let mut slices = packets.each_mut().map(|packet| [IoSliceMut::new(packet)]);
        socket.try_io(Interest::READABLE, || {
            let slices = slices.iter_mut();
            let flags = MsgFlags::MSG_DONTWAIT;
            let messages = recvmmsg(socket.as_raw_fd(), headers, slices, flags, None)?;
            came.extend(messages.filter_map(|message| Some((message.bytes, message.address?))));
            Ok(())
        })
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
    pub async fn send(&mut self, socket: &UdpSocket) {
        let mut sent = 0;
        while sent < self.to.len() {
            match self.try_send(socket, sent) {
                Ok(more) => sent += more.max(1),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if socket.writable().await.is_err() {
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
    fn try_send(&mut self, socket: &UdpSocket, first: usize) -> io::Result<usize> {
        let Self { headers, bodies, to } = self;
        let slices: [_; PACKETS] = std::array::from_fn(|at| [IoSlice::new(&bodies[at])]);
        socket.try_io(Interest::WRITABLE, || {
            let (slices, to) = (&slices[first..to.len()], &to[first..]);
            let flags = MsgFlags::MSG_DONTWAIT;
            Ok(sendmmsg(socket.as_raw_fd(), headers, slices, to, [], flags)?.count())
        })
    }
}

/// A source as an address; `None`: it is none of IP.
pub fn address(source: &Source) -> Option<SocketAddr> {
    let v4 = source.as_sockaddr_in().map(|v4| SocketAddr::V4((*v4).into()));
    v4.or_else(|| source.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into())))
}
