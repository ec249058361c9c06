//! Sockets that the service manager passes to this process: those of a socket unit, and those that
//! an earlier process of this service left with it (sd_listen_fds(3)).

use std::env;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use listenfd::ListenFd;
use nix::libc::{AF_INET, SOCK_DGRAM, SOCK_STREAM};
use socket2::{Socket, Type};

/// Everything that was passed.
#[derive(Default)]
pub struct Inheritance {
    sockets: Vec<Inherited>,
}

/// A listening TCP socket, or a bound UDP socket.
pub struct Inherited {
    pub name: String,
    pub socket: Socket,
    pub kind: Type,
    pub address: SocketAddr,
    /// Whether an IPv6 socket leaves IPv4 to others.
    only_v6: bool,
}

/// The most descriptors that are taken.
const MOST: usize = 1 << 16;
/// Names that say what a socket is for.
const TRANSPORTS: [&str; 5] = ["http", "udp", "admin", "gazelle", "unit3d"];

impl Inheritance {
    /// Takes what the environment says was passed to this process. Closes what is not a socket to
    /// listen on, and returns the reasons.
    ///
    /// Call it once, and before there are other threads: it changes the environment, and takes file
    /// descriptors by their numbers.
    pub fn of_environment() -> (Self, Vec<String>) {
        let number = |name: &str| env::var(name).ok()?.parse::<usize>().ok();
        // The environment of another process may have been handed down.
        let is_ours = number("LISTEN_PID") == Some(std::process::id() as usize);
        match number("LISTEN_FDS") {
            Some(count @ 1..=MOST) if is_ours => Self::take_all(count),
            _ => Default::default(),
        }
    }

    fn take_all(count: usize) -> (Self, Vec<String>) {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut descriptors = ListenFd::from_env();
        let (mut sockets, mut unfit) = (Vec::new(), Vec::new());
        for at in 0..count {
            let name = names.next().unwrap_or_default().to_owned();
            match take(&mut descriptors, at).and_then(|socket| Inherited::of(&name, socket)) {
                Ok(socket) => sockets.push(socket),
                Err(error) => unfit.push(format!("`{name}`: {error}")),
            }
        }
        (Self { sockets }, unfit)
    }

    /// Takes the sockets for one listener: those of its address and kind, unless their name says
    /// that they are for another transport.
    pub fn take(
        &mut self,
        transport: &str,
        kind: Type,
        address: SocketAddr,
        only_v6: bool,
    ) -> Vec<Inherited> {
        let is_any_v6 = address.is_ipv6() && address.ip().is_unspecified();
        let fits = |socket: &mut Inherited| {
            socket.kind == kind
                && socket.address == address
                && (!is_any_v6 || socket.only_v6 == only_v6)
                && socket.transport().is_none_or(|named| named == transport)
        };
        self.sockets.extract_if(.., fits).collect()
    }

    /// Returns the sockets that no listener has taken.
    pub fn rest(self) -> Vec<Inherited> {
        self.sockets
    }
}

impl Inherited {
    fn of(name: &str, socket: Socket) -> io::Result<Self> {
        let wrong = |reason| Err(io::Error::other(reason));
        let kind = socket.r#type()?;
        let address = socket.local_addr()?.as_socket();
        let Some(address) = address.filter(|address| address.port() != 0) else {
            return wrong("it is not bound to a port");
        };
        if kind == Type::STREAM && !socket.is_listener()? {
            return wrong("it does not listen");
        }
        if kind == Type::DGRAM && socket.peer_addr().is_ok() {
            return wrong("it is connected to one peer");
        }
        socket.set_nonblocking(true)?;
        let only_v6 = address.is_ipv6() && socket.only_v6()?;
        Ok(Self { name: name.to_owned(), socket, kind, address, only_v6 })
    }

    /// Returns the name under which this program leaves a socket with the service manager.
    pub fn name(transport: &str, listener: usize, number: usize) -> String {
        format!("{transport}.{listener}.{number}")
    }

    /// Returns the transport and the listener, counted from 0, if an earlier process of this program
    /// gave the socket its name.
    pub fn left_by_us(&self) -> Option<(&str, usize)> {
        let mut parts = self.name.split('.');
        let transport = parts.next().filter(|name| TRANSPORTS.contains(name))?;
        let listener = parts.next()?.parse().ok()?;
        parts.next()?.parse::<usize>().ok()?;
        parts.next().is_none().then_some((transport, listener))
    }

    /// Returns the transport that the name says.
    fn transport(&self) -> Option<&str> {
        let said = self.left_by_us().map_or(&*self.name, |(transport, _)| transport);
        TRANSPORTS.contains(&said).then_some(said)
    }
}

/// Takes the descriptor at a place, or closes it if it is not a TCP or UDP socket.
fn take(descriptors: &mut ListenFd, at: usize) -> io::Result<Socket> {
    for kind in [SOCK_STREAM, SOCK_DGRAM] {
        let taken = descriptors.take_custom::<OwnedFd>(at, AF_INET, kind, "socket");
        if let Ok(Some(descriptor)) = taken {
            return Ok(descriptor.into());
        }
    }
    if let Ok(Some(descriptor)) = descriptors.take_raw_fd(at) {
        // It may not even be open.
        let _ = nix::unistd::close(descriptor);
    }
    Err(io::Error::other("it is not a TCP or UDP socket"))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use socket2::Domain;

    use super::*;

    fn inherited(name: &str, socket: impl Into<OwnedFd>) -> Inherited {
        Inherited::of(name, Socket::from(socket.into())).unwrap()
    }

    #[test]
    fn sockets_are_told_by_address_kind_and_name() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = udp.local_addr().unwrap();
        let tcp = TcpListener::bind(address).unwrap();
        let named = |name: &str| Inheritance {
            sockets: vec![
                inherited(name, udp.try_clone().unwrap()),
                inherited("http.3.0", tcp.try_clone().unwrap()),
            ],
        };
        for (name, fits) in [
            ("udp", true),
            ("udp.7.0", true),
            ("karuta.socket", true),
            ("", true),
            ("http", false),
            ("admin.0.0", false),
        ] {
            let taken = named(name).take("udp", Type::DGRAM, address, false);
            assert_eq!(taken.len() == 1, fits, "{name}");
        }
        let mut all = named("udp");
        let other = SocketAddr::new(address.ip(), 1);
        assert!(all.take("udp", Type::DGRAM, other, false).is_empty());
        assert!(all.take("admin", Type::STREAM, address, false).is_empty());
        assert_eq!(all.take("http", Type::STREAM, address, false).len(), 1);
        assert_eq!(all.rest().len(), 1);
    }

    #[test]
    fn only_v6_is_a_part_of_the_address_of_all_interfaces() {
        for only_v6 in [false, true] {
            let socket = Socket::new(Domain::IPV6, Type::DGRAM, None).unwrap();
            socket.set_only_v6(only_v6).unwrap();
            socket.bind(&SocketAddr::from(([0_u16; 8], 0)).into()).unwrap();
            let address = socket.local_addr().unwrap().as_socket().unwrap();
            let mut all = Inheritance { sockets: vec![inherited("", socket)] };
            assert!(all.take("udp", Type::DGRAM, address, !only_v6).is_empty());
            assert_eq!(all.take("udp", Type::DGRAM, address, only_v6).len(), 1);
        }
    }

    #[test]
    fn what_cannot_listen_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let unbound = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
        let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
        connected.connect("127.0.0.1:9").unwrap();
        for (socket, reason) in [
            (OwnedFd::from(stream), "it does not listen"),
            (unbound.into(), "it is not bound to a port"),
            (connected.into(), "it is connected to one peer"),
        ] {
            let refused = Inherited::of("", Socket::from(socket)).err().unwrap();
            assert_eq!(refused.to_string(), reason);
        }
    }

    #[test]
    fn our_names_are_told_from_others() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let of = |name: &str| {
            let socket = inherited(name, socket.try_clone().unwrap());
            socket.left_by_us().map(|(transport, listener)| (transport.to_owned(), listener))
        };
        assert_eq!(of(&Inherited::name("udp", 2, 13)), Some(("udp".to_owned(), 2)));
        for other in ["udp", "udp.1", "udp.1.x", "udp.1.2.3", "tcp.1.2", "karuta.socket", ""] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
