//! A record: a request as it came, and what became of it. All numbers are little-endian.
//!
//! | | bytes | |
//! |---|---|---|
//! | time | 8 | when the request came, in microseconds since 1970 |
//! | took | 4 | until it was decided, in microseconds |
//! | worker, listener | 2 each | their numbers |
//! | generation | 4 | the number of the configuration that decided |
//! | interval, min interval | 4 each | seconds; of the answer to an announce |
//! | kind | 1 | bits 0–1 transport, 2 scrape, 3–4 outcome, 5 through a proxy, 6 its own `ip` |
//! | parts | 1 | which of the next four there are: bits 0, 1, 2; bit 3: an IPv6 client |
//! | lengths | 1 each | of the name and of the reason |
//! | client | 4 or 16 | |
//! | counts | 12 | seeders, leechers, completed of the swarm after an announce |
//! | seen | 12 | the same as policies saw it before, if one asked |
//! | account | 56 | what `accounts` knew of the member and the torrent |
//! | decided by | | the policy, or the limit |
//! | reason | | the failure text, cut |
//! | request | | a datagram; or of HTTP the target and the headers, a line each |

use std::net::IpAddr;

use karuta_bittorrent::{Counts, Transport};

use super::account;
use super::bytes::{Put, take};
use crate::exchange::Account;
use crate::metrics::Outcome;

/// A request as it came, and what became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// When it came, in microseconds since 1970.
    pub time: u64,
    /// Until it was decided, in microseconds.
    pub took: u32,
    pub worker: u16,
    /// A position among those of the daemon.
    pub listener: u16,
    pub generation: u32,
    pub transport: Transport,
    pub is_scrape: bool,
    /// Ok, rejected or dropped.
    pub outcome: Outcome,
    pub proxied: bool,
    /// The announced address is the request's own `ip` parameter.
    pub overridden: bool,
    pub client: IpAddr,
    /// Seconds; of the answer to an announce.
    pub interval: u32,
    pub min_interval: u32,
    /// Those of the swarm after an announce that was answered; without partial seeds.
    pub counts: Option<Counts>,
    /// Those that policies saw before it, if one asked.
    pub seen: Option<Counts>,
    pub account: Account,
    /// The policy or the limit that decided; empty: none did.
    pub decided_by: &'a str,
    /// The beginning of the failure text.
    pub reason: &'a str,
    /// The datagram; or of HTTP the target and the headers, a line each.
    pub request: &'a [u8],
}

/// The size of what every record begins with, in bytes.
const HEAD: usize = 32;
/// The most bytes of a record before its request: what each begins with, its parts, and its texts.
const LONGEST_HEAD: usize = HEAD + 16 + 2 * 12 + account::SIZE + u8::MAX as usize + REASON;
/// The most bytes of a failure text that are kept.
const REASON: usize = 120;
/// The bits of the parts.
const COUNTS: u8 = 1;
const SEEN: u8 = 2;
const ACCOUNT: u8 = 4;
const IPV6: u8 = 8;

const TRANSPORTS: [Transport; 3] = [Transport::Udp, Transport::Http, Transport::Https];
const OUTCOMES: [Outcome; 3] = [Outcome::Ok, Outcome::Rejected, Outcome::Dropped];

impl<'a> Record<'a> {
    /// Writes the record, except for the request itself.
    #[inline(always)] // Or the numbers go through memory one by one, and come back in words, which waits.
    pub(super) fn write_head(&self, out: &mut Put) {
        let decided_by = cut(self.decided_by, u8::MAX.into());
        let reason = cut(self.reason, REASON);
        let place = |found: Option<usize>| found.unwrap_or(0) as u8;
        let transport = place(TRANSPORTS.iter().position(|one| *one == self.transport));
        let outcome = place(OUTCOMES.iter().position(|one| *one == self.outcome));
        let flag = |set: bool, bit: u8| u8::from(set) << bit;
        let has_account = self.account != Account::default();
        let kind = transport
            | flag(self.is_scrape, 2)
            | outcome << 3
            | flag(self.proxied, 5)
            | flag(self.overridden, 6);
        let parts = flag(self.counts.is_some(), 0)
            | flag(self.seen.is_some(), 1)
            | flag(has_account, 2)
            | flag(self.client.is_ipv6(), 3);
        let last = [kind, parts, decided_by.len() as u8, reason.len() as u8];
        // Words, because there is one look for room then.
        let head: [u64; HEAD / 8] = [
            self.time,
            u64::from(self.took) | u64::from(self.worker) << 32 | u64::from(self.listener) << 48,
            u64::from(self.generation) | u64::from(self.interval) << 32,
            u64::from(self.min_interval) | u64::from(u32::from_le_bytes(last)) << 32,
        ];
        out.put(head.map(u64::to_le_bytes).as_flattened());
        match self.client {
            IpAddr::V4(address) => out.put(&address.octets()),
            IpAddr::V6(address) => out.put(&address.octets()),
        }
        if let Some(counts) = self.counts {
            write_counts(counts, out);
        }
        if let Some(seen) = self.seen {
            write_counts(seen, out);
        }
        if has_account {
            account::write(&self.account, out);
        }
        // Most have neither, and this saves the calls.
        for text in [decided_by, reason].into_iter().filter(|text| !text.is_empty()) {
            out.put(text.as_bytes());
        }
    }

    /// Appends the record.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut head = [0; LONGEST_HEAD];
        let mut put = Put::new(&mut head);
        self.write_head(&mut put);
        // There is room for all of it.
        let len = put.len().unwrap_or_default();
        out.extend(&head[..len]);
        out.extend(self.request);
    }

    /// Reads a record. `None`: it is malformed.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        let time = u64::from_le_bytes(take(&mut rest)?);
        let took = u32::from_le_bytes(take(&mut rest)?);
        let worker = u16::from_le_bytes(take(&mut rest)?);
        let listener = u16::from_le_bytes(take(&mut rest)?);
        let generation = u32::from_le_bytes(take(&mut rest)?);
        let interval = u32::from_le_bytes(take(&mut rest)?);
        let min_interval = u32::from_le_bytes(take(&mut rest)?);
        let [kind, parts, name, reason] = take(&mut rest)?;
        if kind & 0x80 != 0 || parts & !(COUNTS | SEEN | ACCOUNT | IPV6) != 0 {
            return None;
        }
        let client = match parts & IPV6 {
            0 => IpAddr::from(take::<4>(&mut rest)?),
            _ => IpAddr::from(take::<16>(&mut rest)?),
        };
        let mut counts = |part: u8| -> Option<Option<Counts>> {
            if parts & part == 0 {
                return Some(None);
            }
            let mut number = || take(&mut rest).map(u32::from_le_bytes);
            let (seeders, leechers, completed) = (number()?, number()?, number()?);
            Some(Some(Counts { seeders, leechers, completed, partial_seeds: 0 }))
        };
        let (after, seen) = (counts(COUNTS)?, counts(SEEN)?);
        let account = match parts & ACCOUNT {
            0 => Account::default(),
            _ => account::read(&mut rest)?,
        };
        let decided_by = text(&mut rest, name)?;
        let reason = text(&mut rest, reason)?;
        Some(Self {
            time,
            took,
            worker,
            listener,
            generation,
            transport: *TRANSPORTS.get(usize::from(kind & 3))?,
            is_scrape: kind & 4 != 0,
            outcome: *OUTCOMES.get(usize::from(kind >> 3 & 3))?,
            proxied: kind & 0x20 != 0,
            overridden: kind & 0x40 != 0,
            client,
            interval,
            min_interval,
            counts: after,
            seen,
            account,
            decided_by,
            reason,
            request: rest,
        })
    }
}

fn text<'a>(rest: &mut &'a [u8], len: u8) -> Option<&'a str> {
    let (text, after) = rest.split_at_checked(len.into())?;
    *rest = after;
    std::str::from_utf8(text).ok()
}

#[inline]
fn write_counts(Counts { seeders, leechers, completed, .. }: Counts, out: &mut Put) {
    out.put([seeders, leechers, completed].map(u32::to_le_bytes).as_flattened());
}

fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}
