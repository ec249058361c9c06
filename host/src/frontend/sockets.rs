//! Listening sockets.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

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
pub const BUFFER: usize = 4 * 1024 * 1024;

/// Returns where to listen on this system: without IPv6, `[::]` becomes `0.0.0.0`.
pub fn usable(listen: Listen) -> Listen {
    let try_out = |address| socket(listen, Type::DGRAM)?.bind(&SocketAddr::into(address));
    let any = SocketAddr::new(listen.address.ip(), 0);
    match try_out(any) {
        Err(error) if lacks_ipv6(&error) && is_any(listen) => {
            let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), listen.address.port());
            tracing::warn!(address = %any, "no IPv6 on this system; listening on IPv4 only");
            Listen { address: any, only_v6: false }
        }
        _ => listen,
    }
}

/// Binds a socket to an address that no other socket has, and determines its port.
///
/// The workers' sockets share addresses by SO_REUSEPORT, which would also share them with another
/// tracker. So the first one is bound without it, and shares its address later.
pub fn claim(listen: Listen, kind: Type) -> io::Result<(Listen, Socket)> {
    let socket = socket(listen, kind)?;
    if kind == Type::STREAM {
        // Connections that linger from an earlier process are not another tracker.
        socket.set_reuse_address(true)?;
    } else {
        report_addresses(&socket, listen.address)?;
        request_buffers(&socket);
    }
    socket.bind(&listen.address.into())?;
    socket.set_nonblocking(true)?;
    if kind == Type::STREAM {
        socket.listen(BACKLOG)?;
    }
    let address = socket.local_addr()?.as_socket().unwrap_or(listen.address);
    Ok((Listen { address, ..listen }, socket))
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

/// Lets other sockets of this user share the address of a claimed one.
pub fn share(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

/// Binds a socket that shares its address with the other workers', and listens.
pub fn bind(listen: Listen, kind: Type) -> io::Result<Socket> {
    let socket = socket(listen, kind)?;
    socket.set_reuse_port(true)?;
    if kind == Type::STREAM {
        socket.set_reuse_address(true)?;
    } else {
        report_addresses(&socket, listen.address)?;
    }
    socket.bind(&listen.address.into())?;
    socket.set_nonblocking(true)?;
    if kind == Type::STREAM {
        socket.listen(BACKLOG)?;
    } else {
        request_buffers(&socket);
    }
    Ok(socket)
}

/// Gives a socket that this process has not bound the options of one that it has.
pub fn adopt(socket: &Socket, listen: Listen, kind: Type) -> io::Result<()> {
    if kind == Type::DGRAM {
        report_addresses(socket, listen.address)?;
        // A socket unit may have set larger buffers than this process is granted.
        let own = self::socket(listen, kind)?;
        request_buffers(&own);
        if own.recv_buffer_size()? > socket.recv_buffer_size()? {
            request_buffers(socket);
        }
    }
    Ok(())
}

/// Returns the size of the buffer that the kernel has granted for received packets, in bytes.
pub fn receive_buffer(socket: &Socket) -> io::Result<usize> {
    // Linux counts its own needs as well, and doubles what was requested.
    Ok(socket.recv_buffer_size()? / 2)
}

/// Requests buffers for a UDP socket. The kernel may grant less, up to its own limit.
fn request_buffers(socket: &Socket) {
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
}

/// Makes each packet report the address that it was sent to, if the UDP socket has several, so that
/// an answer leaves from there. It is best set before the first packet.
fn report_addresses(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    match address {
        _ if !has_several_addresses(address) => {}
        SocketAddr::V4(_) => setsockopt(socket, Ipv4PacketInfo, &true)?,
        SocketAddr::V6(_) => setsockopt(socket, Ipv6RecvPacketInfo, &true)?,
    }
    Ok(())
}

/// Returns whether a socket on this address receives packets for any address of this machine.
pub fn has_several_addresses(address: SocketAddr) -> bool {
    canonical(address.ip()).is_unspecified()
}

fn socket(listen: Listen, kind: Type) -> io::Result<Socket> {
    let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    let socket = Socket::new(Domain::for_address(listen.address), kind, Some(protocol))?;
    if listen.address.is_ipv6() {
        socket.set_only_v6(listen.only_v6)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shared_only_by_who_has_claimed_it() {
        for kind in [Type::STREAM, Type::DGRAM] {
            let any = Listen { address: ([127, 0, 0, 1], 0).into(), only_v6: false };
            let (listen, first) = claim(any, kind).unwrap();
            assert_ne!(listen.address.port(), 0);
            assert!(bind(listen, kind).is_err(), "it is not shared yet");
            share(&first).unwrap();
            let second = bind(listen, kind).unwrap();
            assert_eq!(second.local_addr().unwrap().as_socket(), Some(listen.address));
            assert!(claim(listen, kind).is_err(), "another tracker claims it in vain");
        }
    }
}
