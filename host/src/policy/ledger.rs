//! What observers are told of announces, and how much the same peer had transferred before.
//!
//! A ledger is kept where observers are called, not in the store: it costs announces nothing, and
//! what an outcome that was dropped would have told is still in the next difference.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::bindings::imports::types::{self, Verdict};
use super::exchange::Exchange;
use super::values;
use crate::bittorrent::{Event, InfoHash, PeerId};
use crate::config::CredentialRule;

/// Peers of one ledger, some 100 bytes each. Of those beyond them no difference is known.
const MOST: usize = 4_000_000;
/// How often a ledger looks for peers that are gone.
const SWEEP: Duration = Duration::from_mins(5);

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
#[derive(Default)]
pub struct Ledger {
    peers: HashMap<(InfoHash, SocketAddr), Entry>,
    swept: Option<Instant>,
}

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
        let credential = request.credential(rules).map(Cow::into_owned);
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
}

impl Ledger {
    /// Enters an outcome. Who has just started, or says less than before, has transferred nothing.
    pub fn enter(&mut self, outcome: &Outcome, lifetime: Duration) -> Difference {
        let Outcome { uploaded, downloaded, at, .. } = *outcome;
        self.sweep(at, lifetime);
        let key = (outcome.info_hash, outcome.peer);
        let before = if outcome.event == Event::Stopped {
            self.peers.remove(&key)
        } else if self.peers.len() < MOST || self.peers.contains_key(&key) {
            self.peers.insert(key, Entry { uploaded, downloaded, at })
        } else {
            None
        };
        let Some(before) = before else { return Difference::default() };
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

    fn sweep(&mut self, now: Instant, lifetime: Duration) {
        let last = *self.swept.get_or_insert(now);
        if now.saturating_duration_since(last) >= SWEEP {
            self.swept = Some(now);
            self.peers.retain(|_, entry| now.saturating_duration_since(entry.at) <= lifetime);
            self.peers.shrink_to(2 * self.peers.len());
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

    #[test]
    fn who_is_gone_is_forgotten() {
        let start = Instant::now();
        let mut ledger = Ledger::default();
        for port in 1..1000 {
            let mut one = outcome(Event::None, 1, 1, start);
            one.peer.set_port(port);
            ledger.enter(&one, LIFETIME);
        }
        ledger.enter(&outcome(Event::None, 1, 1, start + SWEEP), LIFETIME);
        assert_eq!(ledger.peers.len(), 1);
    }
}
