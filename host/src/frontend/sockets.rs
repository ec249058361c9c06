//! Sockets to listen on.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};

use karuta_bittorrent::canonical;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use socket2::{Domain, Protocol, Socket, Type};

/// An address to listen on, before it is bound.
#[derive(Clone, Copy, Debug)]
pub struct Listen {
    pub address: SocketAddr,
    /// Leave IPv4 to others where the address is `[::]`.
    pub only_v6: bool,
}

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;
/// Bytes of the kernel's buffers for a UDP socket: a burst that finds no room is lost, and costs a
/// client half a minute.
const BUFFER: usize = 4 * 1024 * 1024;

/// Makes sure that an address is free, and settles its port.
///
/// The workers' sockets share addresses by SO_REUSEPORT, which would as readily share them with
/// another tracker. So each is bound once without it. Where the system has no IPv6, `[::]` becomes
/// `0.0.0.0`.
pub fn settle(listen: Listen, kind: Type) -> io::Result<Listen> {
    let probe = |listen: Listen| -> io::Result<Listen> {
        let socket = socket(listen, kind)?;
        if kind == Type::STREAM {
            // Connections of an earlier process that linger are no tracker.
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
            tracing::warn!(address = %any, "there is no IPv6 here; listening on IPv4 only");
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

/// One worker's socket for HTTP.
pub fn tcp(listen: Listen) -> io::Result<TcpListener> {
    let socket = shared(listen, Type::STREAM)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// One worker's socket for UDP.
pub fn udp(listen: Listen) -> io::Result<UdpSocket> {
    let socket = shared(listen, Type::DGRAM)?;
    // The kernel gives less where its limits are lower.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    Ok(socket.into())
}

/// Whether packets to any address of this machine come to a socket on this one.
pub fn has_several_addresses(address: SocketAddr) -> bool {
    canonical(address.ip()).is_unspecified()
}

fn shared(listen: Listen, kind: Type) -> io::Result<Socket> {
    let socket = socket(listen, kind)?;
    socket.set_reuse_port(true)?;
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    } else if has_several_addresses(listen.address) {
        // So that an answer can leave from the address that was asked. Before the first packet, for
        // each must tell it.
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
