//! A decision as bytes, from the worker that made it to the thread that reads it. Writing one takes
//! no memory of its own.

use std::net::IpAddr;

use karuta_bittorrent::{Event, InfoHash, Transport};

use super::decision::{AGENT, Decision, Shadow, Step, Wanted};
use crate::exchange::{Exchange, LONGEST_REASON};
use crate::metrics::{Action, Outcome, Verdict, Would};

/// The longest credential in bytes. A longer one counts as none, as it does for observers.
const LONGEST_CREDENTIAL: usize = 4096;

const EVENTS: [Event; 5] =
    [Event::None, Event::Started, Event::Stopped, Event::Completed, Event::Paused];
const TRANSPORTS: [Transport; 3] = [Transport::Udp, Transport::Http, Transport::Https];

/// What a worker knows about a decision beside the exchange.
pub struct Seen<'a> {
    pub action: Action,
    pub outcome: Outcome,
    /// The policy or the limit that decided.
    pub decided_by: Option<&'a str>,
    pub credential: Option<&'a str>,
    pub generation: u64,
    /// Nanoseconds.
    pub took: u64,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
    pub wanted: Wanted,
}

/// Appends a decision.
pub fn write(out: &mut Vec<u8>, exchange: &Exchange, seen: &Seen) {
    let Exchange { request, answer, trace, .. } = exchange;
    let start = out.len();
    out.extend([0; 4]);
    for number in [seen.unix_ms, seen.generation, seen.took] {
        out.extend(number.to_le_bytes());
    }
    out.extend(request.listener.to_le_bytes());
    let transport = TRANSPORTS.iter().position(|one| *one == request.transport).unwrap_or(0) as u8;
    let event = EVENTS.iter().position(|one| *one == request.announce.event).unwrap_or(0) as u8;
    let Wanted { log, taps } = seen.wanted;
    out.extend([transport, event, seen.action as u8, seen.outcome as u8, log.into(), taps]);
    match request.client {
        IpAddr::V4(address) => {
            out.push(4);
            out.extend(address.octets());
        }
        IpAddr::V6(address) => {
            out.push(6);
            out.extend(address.octets());
        }
    }
    out.extend(request.announce.info_hash.0);
    out.extend(&request.announce.peer_id.0[..AGENT]);
    text(out, seen.decided_by.unwrap_or_default());
    let reason = answer.extras.read().failure.as_deref().filter(|_| seen.outcome != Outcome::Ok);
    text(out, cut(reason.unwrap_or_default(), LONGEST_REASON));
    text(out, seen.credential.filter(|text| text.len() <= LONGEST_CREDENTIAL).unwrap_or_default());
    let (steps, shadows) =
        trace.get().map_or((&[][..], None), |trace| (trace.steps(), Some(trace.shadows())));
    let steps = &steps[..steps.len().min(u8::MAX.into())];
    out.push(steps.len() as u8);
    for step in steps {
        text(out, &step.policy);
        text(out, step.said);
        out.push(step.remembered.into());
    }
    let shadows = shadows.into_iter().flatten().take(u8::MAX.into());
    let count = out.len();
    out.push(0);
    for (policy, would, reason) in shadows {
        text(out, policy);
        text(out, would);
        text(out, reason);
        out[count] += 1;
    }
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// Reads the first decision, and leaves what follows it. `None`: there is no whole one.
pub fn read(bytes: &mut &[u8]) -> Option<Decision> {
    let length = u32::from_le_bytes(*bytes.first_chunk()?);
    let (record, rest) = bytes.get(4..)?.split_at_checked(length as usize)?;
    *bytes = rest;
    let mut from = Reader(record);
    let [unix_ms, generation, nanoseconds] = [from.number()?, from.number()?, from.number()?];
    let listener = u16::from_le_bytes(from.array()?);
    let [transport, event, action, outcome, log, taps] = from.array()?;
    let client = match from.byte()? {
        4 => IpAddr::from(from.array::<4>()?),
        6 => IpAddr::from(from.array::<16>()?),
        _ => return None,
    };
    let info_hash = InfoHash(from.array()?);
    let agent = from.array()?;
    let decided_by = from.some_text()?;
    let reason = from.some_text()?;
    let credential = from.some_text()?;
    let mut steps = Vec::new();
    for _ in 0..from.byte()? {
        let policy = from.text()?.into();
        let said = named(Verdict::ALL, Verdict::name, from.text()?)?;
        steps.push(Step { policy, said, remembered: from.byte()? == 1 });
    }
    let mut shadows = Vec::new();
    for _ in 0..from.byte()? {
        let policy = from.text()?.into();
        let would = named(Would::ALL, Would::name, from.text()?)?;
        shadows.push(Shadow { policy, would, reason: from.some_text()? });
    }
    Some(Decision {
        unix_ms,
        generation,
        nanoseconds,
        listener,
        transport: *TRANSPORTS.get(usize::from(transport))?,
        action: *Action::ALL.get(usize::from(action))?,
        event: *EVENTS.get(usize::from(event))?,
        outcome: *Outcome::ALL.get(usize::from(outcome))?,
        wanted: Wanted { log: log == 1, taps },
        client,
        info_hash,
        agent,
        decided_by,
        reason,
        credential,
        steps,
        shadows,
    })
}

pub fn named<T: Copy>(all: &[T], name: fn(T) -> &'static str, text: &str) -> Option<T> {
    all.iter().copied().find(|one| name(*one) == text)
}

fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

fn text(out: &mut Vec<u8>, text: &str) {
    let text = cut(text, u16::MAX.into());
    out.extend((text.len() as u16).to_le_bytes());
    out.extend(text.as_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = u16::from_le_bytes(self.array()?);
        let (text, rest) = self.0.split_at_checked(length.into())?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    /// Reads a text, which is none if it is empty.
    fn some_text(&mut self) -> Option<Option<Box<str>>> {
        self.text().map(|text| (!text.is_empty()).then(|| text.into()))
    }
}

#[cfg(test)]
mod tests {
    use karuta_bittorrent::PeerId;
    use proptest::prelude::*;

    use super::*;
    use crate::exchange::{self, Draft};

    fn full(seen: &str, reason: &str, event: usize, client: IpAddr) -> Exchange {
        let mut exchange = Exchange::default();
        exchange.request.client = client;
        exchange.request.transport = TRANSPORTS[event % 3];
        exchange.request.announce.event = EVENTS[event];
        exchange.request.announce.peer_id = PeerId(*b"-TR4050-abcdefghijkl");
        exchange.answer.extras.make().failure = Some(reason.to_owned());
        let trace = exchange.trace.make();
        let (policy, said) = (seen.into(), "next");
        trace.step(exchange::Step { policy, said, failed: false, remembered: true });
        let draft = Draft { any: true, interval: Some(1), ..Draft::default() };
        trace.shadow("jwt".into(), "change", &draft);
        exchange
    }

    fn seen<'a>(decided_by: &'a str, credential: &'a str) -> Seen<'a> {
        Seen {
            action: Action::Announce,
            outcome: Outcome::Rejected,
            decided_by: Some(decided_by),
            credential: Some(credential),
            generation: 7,
            took: 3100,
            unix_ms: 1_700_000_000_000,
            wanted: Wanted { log: true, taps: 5 },
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            policy in "[a-z]{1,40}",
            reason in ".{0,1200}",
            credential in ".{0,1500}",
            event in 0usize..5,
            client: IpAddr,
        ) {
            let exchange = full(&policy, &reason, event, client);
            let mut bytes = Vec::new();
            write(&mut bytes, &exchange, &seen(&policy, &credential));
            let length = bytes.len();
            write(&mut bytes, &exchange, &seen("second", ""));
            let mut rest = &*bytes;
            let first = read(&mut rest).unwrap();
            prop_assert_eq!(first.client, client);
            prop_assert_eq!(first.event, EVENTS[event]);
            prop_assert_eq!(&first.agent, b"-TR4050-");
            let text = first.reason.as_deref().unwrap_or_default();
            prop_assert!(reason.starts_with(text) && text.len() + 4 > reason.len().min(LONGEST_REASON));
            let expected = Some(&*credential).filter(|text| (1..=LONGEST_CREDENTIAL).contains(&text.len()));
            prop_assert_eq!(first.credential.as_deref(), expected);
            prop_assert_eq!(&*first.steps[0].policy, &*policy);
            prop_assert!(first.steps[0].remembered && first.wanted.log);
            prop_assert_eq!(first.shadows[0].would, Would::Change);
            prop_assert_eq!(first.shadows[0].reason.as_deref(), Some("interval"));
            let second = read(&mut rest).unwrap();
            prop_assert_eq!(second.decided_by.as_deref(), Some("second"));
            prop_assert!(rest.is_empty());
            // What is cut off is no decision.
            for end in 0..length {
                prop_assert!(read(&mut &bytes[..end]).is_none());
            }
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let mut rest = &*bytes;
            while read(&mut rest).is_some() {}
        }
    }
}
