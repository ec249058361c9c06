//! HTTP/1.1 clients: BEP 3, 23 and 48.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context, Result};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use socket2::Type;

use crate::bencode::Answer;
use crate::client::{Client, Load, Order, socket};
use crate::swarms::{self, Request};
use crate::tally::Tally;
use crate::target::Target;

/// The maximum size of an answer, in bytes.
const LONGEST: usize = 1 << 20;

/// A connection with one request under way.
pub struct HttpClient {
    target: Rc<Target>,
    scrape_path: String,
    load: Rc<Load>,
    epoll: Rc<Epoll>,
    token: u32,
    stream: Option<TcpStream>,
    under_way: Option<(Order, Instant)>,
    request: String,
    answer: Vec<u8>,
}

impl HttpClient {
    /// Creates a connection. `token` is its number, which `epoll` reports.
    pub fn new(target: &Rc<Target>, load: &Rc<Load>, token: u32, epoll: &Rc<Epoll>) -> Self {
        Self {
            target: target.clone(),
            scrape_path: target.scrape_path(),
            load: load.clone(),
            epoll: epoll.clone(),
            token,
            stream: None,
            under_way: None,
            request: String::new(),
            answer: Vec::new(),
        }
    }

    fn connect(&self) -> Result<TcpStream> {
        let stream = socket(self.target.address, Type::STREAM, self.address())?;
        stream.set_tcp_nodelay(true)?;
        self.epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, self.token.into()))?;
        Ok(stream.into())
    }

    fn write_request(&mut self, request: Request) {
        let out = &mut self.request;
        out.clear();
        out.push_str("GET ");
        match request {
            Request::Announce { torrent, peer, started } => {
                begin_query(out, &self.target.path);
                out.push_str("info_hash=");
                escape(out, &swarms::info_hash(torrent));
                out.push_str("&peer_id=");
                escape(out, &swarms::peer_id(torrent, peer));
                let left = if self.load.is_seeder(peer) { 0 } else { 1 << 30 };
                let (port, want) = (swarms::port(peer), self.load.num_want);
                // Writing to a string cannot fail.
                let _ = write!(
                    out,
                    "&port={port}&uploaded=0&downloaded=0&left={left}&compact=1&numwant={want}"
                );
                if started {
                    out.push_str("&event=started");
                }
            }
            Request::Scrape { first } => {
                begin_query(out, &self.scrape_path);
                for (at, torrent) in (first..first + self.load.scrape_hashes).enumerate() {
                    out.push_str(if at == 0 { "info_hash=" } else { "&info_hash=" });
                    escape(out, &swarms::info_hash(torrent % self.load.torrents));
                }
            }
        }
        let _ = write!(out, " HTTP/1.1\r\nHost: {}\r\n", self.target.address);
        out.push_str("User-Agent: karuta-load\r\n");
        out.push_str(if self.load.close { "Connection: close\r\n\r\n" } else { "\r\n" });
    }
}

impl Client for HttpClient {
    fn address(&self) -> u32 {
        self.token % self.load.sockets
    }

    fn free(&self) -> usize {
        usize::from(self.under_way.is_none())
    }

    fn busy(&self) -> usize {
        usize::from(self.under_way.is_some())
    }

    fn send(&mut self, orders: &[Order]) -> Result<()> {
        for order in orders {
            self.write_request(order.request);
            self.under_way = Some((*order, Instant::now()));
            if self.stream.is_none() {
                self.stream = Some(self.connect()?);
            }
            if let Some(stream) = &mut self.stream {
                stream.write_all(self.request.as_bytes()).context("sending")?;
            }
        }
        Ok(())
    }

    fn receive(&mut self, tally: &mut Tally) -> Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let mut buffer = [0; 16 << 10];
        let ended = match stream.read(&mut buffer) {
            Ok(0) => true,
            Ok(length) => {
                self.answer.extend_from_slice(&buffer[..length]);
                false
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => true,
            Err(error) => return Err(error).context("receiving"),
        };
        let Some((order, _)) = self.under_way else {
            if !ended {
                tally.wrong("an answer to nothing that was asked", &self.answer);
                self.answer.clear();
            }
            self.stream = None;
            return Ok(());
        };
        let last = match split(&self.answer, ended) {
            Some(Whole { head, body }) => {
                check(head, body, order.request, &self.load, tally);
                tally.answered(order.request, order.due.elapsed());
                self.load.close
            }
            None if ended || self.answer.len() > LONGEST => {
                tally.wrong("cut off, or too long", &self.answer);
                true
            }
            None => return Ok(()),
        };
        self.answer.clear();
        self.under_way = None;
        if last || ended {
            self.stream = None;
        }
        Ok(())
    }

    fn give_up(&mut self, sent_before: Instant) -> Vec<Order> {
        match self.under_way.take_if(|(_, sent)| *sent < sent_before) {
            Some((order, _)) => {
                self.stream = None;
                self.answer.clear();
                vec![order]
            }
            None => Vec::new(),
        }
    }
}

fn begin_query(out: &mut String, path: &str) {
    out.push_str(path);
    out.push(if path.contains('?') { '&' } else { '?' });
}

fn escape(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(char::from(*byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

struct Whole<'a> {
    head: &'a [u8],
    body: &'a [u8],
}

/// Splits an answer. Returns `None` if it is not complete yet. Without a length, it extends to the
/// end of the connection.
fn split(answer: &[u8], ended: bool) -> Option<Whole<'_>> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = (&answer[..end], &answer[end + 4..]);
    let whole = match content_length(head) {
        Some(length) => body.len() >= length,
        None => ended,
    };
    whole.then_some(Whole { head, body })
}

fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"content-length:";
    let line = head
        .split(|byte| *byte == b'\n')
        .find(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)))?;
    std::str::from_utf8(&line[NAME.len()..]).ok()?.trim().parse().ok()
}

fn check(head: &[u8], body: &[u8], request: Request, load: &Load, tally: &mut Tally) {
    if head.split(|byte| *byte == b' ').nth(1) != Some(b"200") {
        return tally.wrong("a status other than 200", head);
    }
    // aquatic_http ends the body with a line break, which clients accept.
    let Some(answer) = Answer::read(body.strip_suffix(b"\r\n").unwrap_or(body)) else {
        return tally.wrong("malformed", body);
    };
    if answer.failure.is_some() {
        return tally.wrong("refused", body);
    }
    match request {
        Request::Announce { .. } => {
            let counts = answer.complete.zip(answer.incomplete);
            match (answer.peer_count(), counts, answer.interval) {
                (Some(peers), Some(counts), Some(1..)) => {
                    tally.check_announce(load, request, counts, peers, body);
                }
                _ => tally.wrong("malformed", body),
            }
        }
        Request::Scrape { first } => {
            let (seeders, leechers) = load.counts();
            if answer.files.len() != load.scrape_hashes as usize {
                return tally.wrong("malformed", body);
            }
            let right = |(info_hash, complete, incomplete): &(&[u8], i64, i64)| {
                let asked = |torrent| swarms::info_hash(torrent % load.torrents) == *info_hash;
                (*complete, *incomplete) == (seeders, leechers)
                    && (first..first + load.scrape_hashes).any(asked)
            };
            if !answer.files.iter().all(right) {
                tally.wrong("wrong counts", body);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_by_its_length_or_at_the_end() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-length: 3\r\n\r\nabc";
        assert!(split(&answer[..answer.len() - 1], false).is_none());
        assert_eq!(split(answer, false).unwrap().body, b"abc");
        let answer = b"HTTP/1.0 200 OK\r\n\r\nab";
        assert!(split(answer, false).is_none());
        assert_eq!(split(answer, true).unwrap().body, b"ab");
    }

    #[test]
    fn escapes_are_those_of_a_query() {
        let mut out = String::new();
        escape(&mut out, b"a-\x00\xff ");
        assert_eq!(out, "a-%00%ff%20");
    }
}
