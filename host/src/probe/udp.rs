//! A request over UDP (BEP 15): a connection id, then the announce or scrape.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use karuta_bittorrent::client::{
    Answer, Unreadable, read_udp, read_udp_connect, udp_announce, udp_connect, udp_scrape,
};
use tokio::net::UdpSocket;

use super::target::Target;
use super::{Request, explain};

/// The largest packet that is read whole, in bytes.
const PACKET: usize = 2048;

/// Sends each packet once: a probe counts losses.
///
/// # Errors
///
/// Why there is no answer.
pub async fn ask(
    address: SocketAddr,
    target: &Target,
    request: &Request,
) -> Result<Answer, String> {
    let failed = |error: io::Error| explain(&error);
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await.map_err(failed)?;
    // The kernel then passes on only what comes from there, and errors too.
    socket.connect(address).await.map_err(failed)?;

    let transaction: u32 = rand::random();
    let packet = udp_connect(transaction);
    let connected =
        exchange(&socket, &packet, |answer| read_udp_connect(answer, transaction)).await?;
    let id = match connected {
        Ok(id) => id,
        Err(text) => return Ok(Answer::Failure(text)),
    };
    let transaction: u32 = rand::random();
    let packet = match request {
        Request::Announce(announce) => {
            udp_announce(id, transaction, announce, target.path_and_query())
        }
        Request::Scrape(info_hash) => udp_scrape(id, transaction, *info_hash),
    };
    exchange(&socket, &packet, |answer| read_udp(answer, transaction)).await
}

/// Sends a packet, and waits for the answer to it.
async fn exchange<T>(
    socket: &UdpSocket,
    packet: &[u8],
    read: impl Fn(&[u8]) -> Result<T, Unreadable>,
) -> Result<T, String> {
    socket.send(packet).await.map_err(|error| explain(&error))?;
    let mut buffer = [0; PACKET];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(|error| explain(&error))?;
        match read(&buffer[..length]) {
            Ok(answer) => return Ok(answer),
            Err(Unreadable::Other) => {}
            Err(reason) => return Err(format!("not an answer of a tracker: {reason}")),
        }
    }
}
