//! UDP clients with one address per peer, which is many more addresses than sockets.
//!
//! All of 127/8 belongs to this machine, and a socket may send from any of its addresses (ip(7),
//! IP_PKTINFO), with one call per packet.

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::libc::in_pktinfo;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};

use crate::client::{Client, Load, Order};
use crate::slots::Slots;
use crate::swarms::Request;
use crate::tally::Tally;
use crate::target::Target;
use crate::udp::{self, Inbox};

/// A socket whose peers each have their own address and connection id.
pub struct SpreadClient {
    socket: UdpSocket,
    target: Rc<Target>,
    to: SockaddrIn,
    load: Rc<Load>,
    address: u32,
    /// The ids of this socket's peers, torrent by torrent. They must stay valid for as long as they
    /// are used here.
    connection_ids: Vec<Option<u64>>,
    slots: Slots,
    packet: Vec<u8>,
    inbox: Inbox,
}

impl SpreadClient {
    /// Opens a socket. Each peer gets its connection id before its first announce.
    pub fn new(target: &Rc<Target>, load: &Rc<Load>, address: u32, epoll: &Epoll) -> Result<Self> {
        let SocketAddr::V4(to) = target.address else {
            bail!("peers have addresses of their own over IPv4 only");
        };
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_nonblocking(true)?;
        epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, address.into()))?;
        let outstanding = load.outstanding as usize;
        Ok(Self {
            socket,
            target: target.clone(),
            to: to.into(),
            load: load.clone(),
            address,
            connection_ids: vec![None; (load.torrents * peers_of_socket(load)) as usize],
            slots: Slots::new(outstanding),
            packet: Vec::new(),
            inbox: Inbox::new(outstanding),
        })
    }
}

impl Client for SpreadClient {
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
        for order in orders {
            let Request::Announce { torrent, peer, .. } = order.request else {
                bail!("peers with addresses of their own do not scrape");
            };
            let transaction = self.slots.take(*order, now).context("more requests than fit")?;
            let (packet, load) = (&mut self.packet, &self.load);
            match self.connection_ids[place(load, torrent, peer)] {
                Some(id) => udp::write(packet, id, transaction, order.request, load, &self.target),
                None => udp::write_connect(packet, transaction),
            }
            let source = in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: nix::libc::in_addr {
                    s_addr: source(load, torrent, peer).to_bits().to_be(),
                },
                ipi_addr: nix::libc::in_addr { s_addr: 0 },
            };
            sendmsg(
                self.socket.as_raw_fd(),
                &[IoSlice::new(packet)],
                &[ControlMessage::Ipv4PacketInfo(&source)],
                MsgFlags::empty(),
                Some(&self.to),
            )
            .context("sending")?;
        }
        Ok(())
    }

    fn receive(&mut self, tally: &mut Tally) -> Result<()> {
        let Self { socket, inbox, slots, load, connection_ids, .. } = self;
        let mut connected = Vec::new();
        inbox.receive(socket, |answer, now| {
            let order = udp::number(answer, 4).and_then(|transaction| slots.give_back(transaction));
            match (order, udp::connected(answer)) {
                (Some(order), None) => {
                    udp::check(answer, order.request, load, udp::PEER, tally);
                    tally.answered(order.request, now.duration_since(order.due));
                }
                (Some(order), Some(id)) => {
                    if let Request::Announce { torrent, peer, .. } = order.request {
                        connection_ids[place(load, torrent, peer)] = Some(id);
                    }
                    connected.push(order);
                }
                (None, _) => tally.wrong("an answer to nothing that was asked", answer),
            }
        })?;
        self.send(&connected)
    }

    fn give_up(&mut self, sent_before: Instant) -> Vec<Order> {
        self.slots.give_up(sent_before)
    }
}

/// Returns the most peers of a swarm that one socket has.
fn peers_of_socket(load: &Load) -> u32 {
    load.peers.div_ceil(load.sockets)
}

/// Returns the index of a peer's connection id in its socket's list.
fn place(load: &Load, torrent: u32, peer: u32) -> usize {
    (torrent * peers_of_socket(load) + peer / load.sockets) as usize
}

/// Returns the address of a peer. The peers of one swarm have adjacent addresses.
fn source(load: &Load, torrent: u32, peer: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 0).to_bits() + torrent * load.peers + peer)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_peer_has_an_address_and_a_place_of_its_own() {
        let load = Load { torrents: 5, peers: 7, sockets: 3, ..Load::DEFAULT };
        let pairs = || (0..5).flat_map(|torrent| (0..7).map(move |peer| (torrent, peer)));
        let sources: HashSet<_> = pairs().map(|(t, p)| source(&load, t, p)).collect();
        assert!(sources.len() == 35 && sources.iter().all(Ipv4Addr::is_loopback));
        for address in 0..3 {
            let of_socket: Vec<_> = pairs().filter(|(_, peer)| peer % 3 == address).collect();
            let places: HashSet<_> = of_socket.iter().map(|(t, p)| place(&load, *t, *p)).collect();
            assert_eq!(places.len(), of_socket.len());
            assert!(places.iter().all(|place| *place < 5 * 3));
        }
    }
}
