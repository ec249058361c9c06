//! Servers that only answer, to measure what the system and hyper cost a tracker in any case.
//!
//! The answers are those that the generator expects of full swarms, always the same.

use std::convert::Infallible;
use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Result, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};
use tokio::task::LocalSet;

use crate::client::Load;
use crate::swarms;
use karuta_load::judge::Judge;

/// The number of packets per call.
const PACKETS: usize = 32;

/// Answers without being a tracker, on one thread. Prints its URL to standard output.
#[derive(clap::Args)]
pub struct Bare {
    transport: Bearer,
    /// Over HTTP, judge each announce's token, natively, with the first key of this set. It must be
    /// for the first of the generator's torrents.
    #[arg(long, value_name = "FILE")]
    judge: Option<PathBuf>,
    #[command(flatten)]
    load: Load,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Bearer {
    /// recvmmsg and sendmmsg, and nothing in between.
    Udp,
    /// hyper on tokio's current-thread runtime.
    Http,
}

impl Bare {
    pub fn run(&self) -> Result<()> {
        match self.transport {
            Bearer::Udp => {
                ensure!(self.judge.is_none(), "judge: over HTTP only");
                udp(&self.load)
            }
            Bearer::Http => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let judge = self.judge.as_deref().map(Judge::of).transpose()?;
                LocalSet::new().block_on(&runtime, http(body(&self.load), judge))
            }
        }
    }
}

fn udp(load: &Load) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("udp://{}", socket.local_addr()?);
    let (seeders, leechers) = load.counts();
    let words = [1800, leechers as u32, seeders as u32];
    let mut announced: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    announced.extend(peers(load));
    let mut packets = [[0; 2048]; PACKETS];
    let mut answers: Vec<Vec<u8>> = vec![Vec::new(); PACKETS];
    let mut receiving = MultiHeaders::<SockaddrStorage>::preallocate(PACKETS, None);
    let mut sending = MultiHeaders::preallocate(PACKETS, None);
    loop {
        let mut came = Vec::with_capacity(PACKETS);
        let mut slices = packets.each_mut().map(|packet| [IoSliceMut::new(packet)]);
        let (fd, flags) = (socket.as_raw_fd(), MsgFlags::MSG_WAITFORONE);
        let messages = recvmmsg(fd, &mut receiving, slices.iter_mut(), flags, None)?;
        came.extend(messages.map(|message| (message.bytes, message.address)));
        for (((length, _), packet), answer) in came.iter().zip(&packets).zip(&mut answers) {
            answer.clear();
            // A connect has 16 bytes, with the transaction last. In an announce the transaction
            // comes before the rest.
            answer.extend([0, 0, 0, u8::from(*length > 16)]);
            answer.extend(&packet[12..16]);
            answer.extend(if *length > 16 { &announced[..] } else { &[7; 8] });
        }
        let slices: Vec<_> = answers.iter().map(|answer| [IoSlice::new(answer)]).collect();
        let to: Vec<_> = came.iter().map(|(_, address)| *address).collect();
        let (slices, flags) = (&slices[..to.len()], MsgFlags::empty());
        sendmmsg(fd, &mut sending, slices, &to, [], flags)?.for_each(drop);
    }
}

async fn http(body: Bytes, judge: Option<Judge>) -> Result<()> {
    let judge = judge.map(Rc::new);
    let socket = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("http://{}", socket.local_addr()?);
    loop {
        let (stream, _) = socket.accept().await?;
        stream.set_nodelay(true)?;
        let (body, judge) = (body.clone(), judge.clone());
        let service = service_fn(move |request: Request<Incoming>| {
            let mut response = Response::new(Full::new(body.clone()));
            if judge.as_ref().is_some_and(|judge| !is_good(judge, &request)) {
                *response.status_mut() = StatusCode::FORBIDDEN;
            }
            let text = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, text);
            std::future::ready(Ok::<_, Infallible>(response))
        });
        tokio::task::spawn_local(
            http1::Builder::new().serve_connection(TokioIo::new(stream), service),
        );
    }
}

/// Returns whether a request shows a good token.
fn is_good(judge: &Judge, request: &Request<Incoming>) -> bool {
    let mut parameters = request.uri().query().unwrap_or_default().split('&');
    let token = parameters.find_map(|parameter| parameter.strip_prefix("jwt="));
    token.is_some_and(|token| judge.judge(token, swarms::info_hash(0)).is_ok())
}

/// Returns Karuta's answer for a full swarm.
fn body(load: &Load) -> Bytes {
    let (seeders, leechers) = load.counts();
    let peers = peers(load);
    let mut body = format!(
        "d8:completei{seeders}e10:downloadedi0e11:external ip4:abcd10:incompletei{leechers}e\
         8:intervali1800e12:min intervali900e5:peers{}:",
        peers.len()
    )
    .into_bytes();
    body.extend(peers);
    body.push(b'e');
    body.into()
}

fn peers(load: &Load) -> Vec<u8> {
    vec![b'p'; 6 * load.num_want as usize]
}
