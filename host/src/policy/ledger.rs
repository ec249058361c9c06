//! What observers are told of announces, and how much the same peer had transferred before.
//!
//! A ledger is kept where observers are called, not in the store: it costs announces nothing, and
//! what an outcome that was dropped would have told is still in the next difference.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use karuta_bittorrent::{Event, InfoHash, PeerId};

use super::bindings::imports::types::{self, Verdict};
use super::exchange::Exchange;
use super::values;
use crate::config::CredentialRule;

/// Peers of each half of a ledger, some 150 bytes each.
const HALF: usize = 2_000_000;

/// Bytes of a credential that observers are shown; a longer one, which is not remembered either, is
/// as none.
const CREDENTIAL: usize = super::remembered::LONGEST_CREDENTIAL;

/// How an announce ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub announce: types::Announce,
    pub info_hash: InfoHash,
    pub peer: SocketAddr,
    pub peer_id: PeerId,
    pub event: Event,
    pub credential: Option<String>,
    pub attributes: Vec<(String, String)>,
    pub verdict: Verdict,
    pub decided_by: Option<Arc<str>>,
    pub left: Option<u64>,
    pub uploaded: u64,
    pub downloaded: u64,
    pub unix_ms: u64,
    pub at: Instant,
}

/// What has changed since the same peer's previous announce of the same swarm.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Difference {
    pub uploaded: u64,
    pub downloaded: u64,
    /// `None`: there was none.
    pub seconds: Option<u32>,
}

/// What peers said last.
pub struct Ledger {
    /// Peers of a half.
    half: usize,
    /// Who has announced since the halves changed places. The other half goes when they do again: when
    /// this one is full, or a peer's lifetime is over.
    young: Half,
    old: Half,
    turned: Option<Instant>,
}

type Half = HashMap<(InfoHash, SocketAddr), Entry>;

#[derive(Clone, Copy)]
struct Entry {
    uploaded: u64,
    downloaded: u64,
    at: Instant,
}

impl Outcome {
    /// `rules` are those of the policy that is told.
    pub fn new(exchange: &Exchange, rules: &[CredentialRule], verdict: Verdict) -> Self {
        let Exchange { request, answer, now, .. } = exchange;
        let credential = request.credential(rules).filter(|text| text.len() <= CREDENTIAL);
        let credential = credential.map(Cow::into_owned);
        let announce = &request.announce;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            announce: values::announce(request, answer.num_want, credential.is_some()),
            info_hash: announce.info_hash,
            peer: SocketAddr::new(request.address, announce.port),
            peer_id: announce.peer_id,
            event: announce.event,
            credential,
            attributes: answer.attributes.clone(),
            verdict,
            decided_by: answer.decided_by.clone(),
            left: announce.left,
            uploaded: announce.uploaded,
            downloaded: announce.downloaded,
            unix_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
            at: *now,
        }
    }

    /// Bytes that it takes, but for what the allocator adds.
    pub fn size(&self) -> usize {
        let attributes = self.attributes.iter();
        size_of::<Self>()
            + self.credential.as_ref().map_or(0, String::len)
            + attributes.map(|(name, value)| ATTRIBUTE + name.len() + value.len()).sum::<usize>()
    }
}

/// Bytes of an attribute without its texts.
const ATTRIBUTE: usize = size_of::<(String, String)>();

impl Default for Ledger {
    fn default() -> Self {
        Self { half: HALF, young: Half::default(), old: Half::default(), turned: None }
    }
}

impl Ledger {
    /// Enters an outcome. Who has just started, or says less than before, has transferred nothing. Who
    /// was not let in is not entered, for it is anybody.
    pub fn enter(&mut self, outcome: &Outcome, lifetime: Duration) -> Difference {
        let Outcome { uploaded, downloaded, at, .. } = *outcome;
        if !matches!(outcome.verdict, Verdict::Next | Verdict::Accept) {
            return Difference::default();
        }
        self.turn(at, lifetime);
        let key = (outcome.info_hash, outcome.peer);
        let before = match outcome.event {
            Event::Stopped => self.young.remove(&key),
            _ => self.young.insert(key, Entry { uploaded, downloaded, at }),
        };
        let Some(before) = before.or_else(|| self.old.remove(&key)) else {
            return Difference::default();
        };
        let age = at.saturating_duration_since(before.at);
        if age > lifetime {
            return Difference::default();
        }
        let began = outcome.event == Event::Started
            || uploaded < before.uploaded
            || downloaded < before.downloaded;
        let since = |now: u64, then: u64| if began { 0 } else { now - then };
        Difference {
            uploaded: since(uploaded, before.uploaded),
            downloaded: since(downloaded, before.downloaded),
            seconds: Some(u32::try_from(age.as_secs()).unwrap_or(u32::MAX)),
        }
    }

    fn turn(&mut self, now: Instant, lifetime: Duration) {
        let last = *self.turned.get_or_insert(now);
        if self.young.len() >= self.half || now.saturating_duration_since(last) > lifetime {
            self.turned = Some(now);
            self.old = std::mem::take(&mut self.young);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(100);

    fn outcome(event: Event, uploaded: u64, downloaded: u64, at: Instant) -> Outcome {
        let mut exchange = Exchange::default();
        exchange.request.announce.event = event;
        exchange.request.announce.uploaded = uploaded;
        exchange.request.announce.downloaded = downloaded;
        exchange.now = at;
        Outcome::new(&exchange, &[], Verdict::Next)
    }

    #[test]
    fn differences() {
        let start = Instant::now();
        let mut ledger = Ledger::default();
        let mut enter = |event, uploaded, downloaded, second| {
            let at = start + Duration::from_secs(second);
            let difference = ledger.enter(&outcome(event, uploaded, downloaded, at), LIFETIME);
            (difference.uploaded, difference.downloaded, difference.seconds)
        };
        assert_eq!(enter(Event::Started, 5, 7, 0), (0, 0, None), "the first");
        assert_eq!(enter(Event::None, 15, 27, 10), (10, 20, Some(10)));
        assert_eq!(enter(Event::None, 14, 50, 20), (0, 0, Some(10)), "it has begun anew");
        assert_eq!(enter(Event::Completed, 14, 60, 30), (0, 10, Some(10)));
        assert_eq!(enter(Event::Started, 99, 99, 40), (0, 0, Some(10)));
        assert_eq!(enter(Event::Stopped, 100, 99, 41), (1, 0, Some(1)));
        assert_eq!(enter(Event::None, 200, 200, 50), (0, 0, None), "it had stopped");
        assert_eq!(enter(Event::None, 300, 300, 151), (0, 0, None), "it was given up");
    }

    /// The outcome of one of many peers, who has uploaded so much.
    fn of(peer: u32, uploaded: u64, at: Instant) -> Outcome {
        let mut one = outcome(Event::None, uploaded, 0, at);
        one.peer.set_ip(std::net::Ipv4Addr::from_bits(peer).into());
        one
    }

    #[test]
    fn who_is_gone_is_forgotten() {
        let start = Instant::now();
        let mut ledger = Ledger::default();
        for peer in 0..1000 {
            ledger.enter(&of(peer, 1, start), LIFETIME);
        }
        for turn in 1..=2 {
            ledger.enter(&of(0, 1, start + turn * 2 * LIFETIME), LIFETIME);
        }
        assert_eq!(ledger.young.len() + ledger.old.len(), 1);
    }

    #[test]
    fn the_oldest_give_way() {
        let start = Instant::now();
        let mut ledger = Ledger { half: 1000, ..Ledger::default() };
        let many = 2000;
        for peer in 0..many {
            ledger.enter(&of(peer, 1, start), LIFETIME);
        }
        // It announces again, and so is none of the oldest.
        ledger.enter(&of(many - 1, 2, start), LIFETIME);
        for peer in many..many + 10 {
            ledger.enter(&of(peer, 1, start), LIFETIME);
        }
        assert!(ledger.young.len() + ledger.old.len() <= 2000);
        let mut uploaded = |peer| ledger.enter(&of(peer, 5, start), LIFETIME).uploaded;
        assert_eq!([uploaded(0), uploaded(many - 1), uploaded(many + 9)], [0, 3, 4]);
    }

    #[test]
    fn who_is_not_let_in_is_not_entered() {
        let start = Instant::now();
        let mut ledger = Ledger::default();
        let mut enter = |verdict, uploaded| {
            let mut one = of(1, uploaded, start);
            one.verdict = verdict;
            let Difference { uploaded, seconds, .. } = ledger.enter(&one, LIFETIME);
            (uploaded, seconds)
        };
        assert_eq!(enter(Verdict::Reject, 1), (0, None));
        assert_eq!(enter(Verdict::Next, 2), (0, None), "the first");
        assert_eq!(enter(Verdict::Drop, 10), (0, None));
        assert_eq!(enter(Verdict::Accept, 20), (18, Some(0)), "nothing is lost");
    }

    #[test]
    fn a_long_credential_is_none() {
        let seen = |bytes| {
            let mut exchange = Exchange::default();
            let url = format!("/announce?key={}", "x".repeat(bytes));
            exchange.request.over_udp(url.as_bytes());
            let rules = [CredentialRule::Query("key".into())];
            let outcome = Outcome::new(&exchange, &rules, Verdict::Next);
            (outcome.credential.map(|text| text.len()), outcome.announce.traits)
        };
        assert_eq!(seen(CREDENTIAL), (Some(CREDENTIAL), types::Traits::CREDENTIAL));
        assert_eq!(seen(CREDENTIAL + 1), (None, types::Traits::empty()));
    }
}
