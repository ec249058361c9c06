//! Listening sockets.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use karuta_bittorrent::canonical;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use socket2::{Domain, Protocol, Socket, Type};

/// An address to listen on, not yet bound.
#[derive(Clone, Copy, Debug)]
pub struct Listen {
    pub address: SocketAddr,
    /// If the address is `[::]`, leave IPv4 to other sockets.
    pub only_v6: bool,
}

/// The number of connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// The size of the kernel's buffers for a UDP socket, in bytes. A packet that finds no room is
/// lost, and costs its client half a minute.
const BUFFER: usize = 4 * 1024 * 1024;

/// Checks that an address is free, and determines its port.
///
/// The workers' sockets share addresses by SO_REUSEPORT, which would also share them with another
/// tracker. So each address is first bound without it. If the system has no IPv6, `[::]` becomes
/// `0.0.0.0`.
pub fn settle(listen: Listen, kind: Type) -> io::Result<Listen> {
    let probe = |listen: Listen| -> io::Result<Listen> {
        let socket = socket(listen, kind)?;
        if kind == Type::STREAM {
            // Connections that linger from an earlier process are not another tracker.
            socket.set_reuse_address(true)?;
        }
        socket.bind(&listen.address.into())?;
        if kind == Type::STREAM {
            socket.listen(1)?;
        }
        let address = socket.local_addr()?.as_socket().unwrap_or(listen.address);
        Ok(Listen { address, ..listen })
    };
    match probe(listen) {
        Err(error) if lacks_ipv6(&error) && is_any(listen) => {
            let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), listen.address.port());
            tracing::warn!(address = %any, "no IPv6 on this system; listening on IPv4 only");
            probe(Listen { address: any, only_v6: false })
        }
        result => result,
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error().map(nix::errno::Errno::from_raw),
        Some(nix::errno::Errno::EAFNOSUPPORT | nix::errno::Errno::EADDRNOTAVAIL)
    )
}

fn is_any(listen: Listen) -> bool {
    listen.address.is_ipv6() && listen.address.ip().is_unspecified() && !listen.only_v6
}

/// Binds one worker's HTTP socket.
pub fn tcp(listen: Listen) -> io::Result<TcpListener> {
    let socket = shared(listen, Type::STREAM)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Binds one worker's UDP socket.
pub fn udp(listen: Listen) -> io::Result<UdpSocket> {
    let socket = shared(listen, Type::DGRAM)?;
    // The kernel may grant less, up to its own limit.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    Ok(socket.into())
}

/// Returns whether a socket on this address receives packets for any address of this machine.
pub fn has_several_addresses(address: SocketAddr) -> bool {
    canonical(address.ip()).is_unspecified()
}

fn shared(listen: Listen, kind: Type) -> io::Result<Socket> {
    let socket = socket(listen, kind)?;
    socket.set_reuse_port(true)?;
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    } else if has_several_addresses(listen.address) {
        // So that an answer leaves from the address that the request was sent to. It is set before
        // the first packet, because every packet must report its address.
        match listen.address {
            SocketAddr::V4(_) => setsockopt(&socket, Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => setsockopt(&socket, Ipv6RecvPacketInfo, &true)?,
        }
    }
    socket.bind(&listen.address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn socket(listen: Listen, kind: Type) -> io::Result<Socket> {
    let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    let socket = Socket::new(Domain::for_address(listen.address), kind, Some(protocol))?;
    if listen.address.is_ipv6() {
        socket.set_only_v6(listen.only_v6)?;
    }
    Ok(socket)
}
