//! The outcome of an announce, for observers.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use karuta_accounts::Bytes;
use karuta_bittorrent::{Event, InfoHash, PeerId};

use crate::config::CredentialRule;
use crate::exchange::Exchange;
use crate::policy::contract::bindings::hooks::observer;
use crate::policy::contract::bindings::imports::types;
use crate::policy::contract::{Verdict, values};
use crate::time;

/// The maximum size of a credential for observers and remembered verdicts, in bytes. A longer one
/// counts as none.
pub const LONGEST_CREDENTIAL: usize = 4096;

/// The outcome of an announce.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub announce: types::Announce,
    pub info_hash: InfoHash,
    pub peer_id: PeerId,
    /// The ids of the member and the torrent, if the books know both.
    pub account: Option<(u64, u64)>,
    pub event: Event,
    pub credential: Option<String>,
    pub attributes: Vec<(String, String)>,
    pub verdict: Verdict,
    pub decided_by: Option<Arc<str>>,
    pub left: Option<u64>,
    pub uploaded: u64,
    pub downloaded: u64,
    /// Whether the client says both.
    pub has_totals: bool,
    pub unix_ms: u64,
    pub at: Instant,
}

/// The difference from the same client's previous announce of the same torrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Difference {
    pub uploaded: u64,
    pub downloaded: u64,
    /// `None`: it has not been a peer of the swarm since then.
    pub seconds: Option<u32>,
}

impl Outcome {
    /// Creates an outcome for an observer. `rules` are those of the observing policy.
    pub fn new(exchange: &Exchange, rules: &[CredentialRule], verdict: Verdict) -> Self {
        let Exchange { request, answer, now, .. } = exchange;
        let credential = request.credential(rules).filter(|text| text.len() <= LONGEST_CREDENTIAL);
        let credential = credential.map(Cow::into_owned);
        let announce = &request.announce;
        let since_1970 = time::since_1970();
        Self {
            announce: values::announce(request, answer.num_want, credential.is_some()),
            info_hash: announce.info_hash,
            peer_id: announce.peer_id,
            account: request.account.pair(),
            event: announce.event,
            credential,
            attributes: answer.extras.read().attributes.clone(),
            verdict,
            decided_by: answer.decided_by.clone(),
            left: announce.left,
            uploaded: announce.uploaded,
            downloaded: announce.downloaded,
            has_totals: announce.has_totals,
            unix_ms: u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX),
            at: *now,
        }
    }

    /// Returns the totals that the client reports, if it does.
    pub fn said(&self) -> Option<Bytes> {
        let said = Bytes { uploaded: self.uploaded, downloaded: self.downloaded };
        self.has_totals.then_some(said)
    }

    /// Returns the size in bytes, without the allocator's overhead.
    pub fn size(&self) -> usize {
        let attributes = self.attributes.iter();
        size_of::<Self>()
            + self.credential.as_ref().map_or(0, String::len)
            + attributes.map(|(name, value)| ATTRIBUTE + name.len() + value.len()).sum::<usize>()
    }
}

/// The size of an attribute without its texts, in bytes.
const ATTRIBUTE: usize = size_of::<(String, String)>();

/// Returns the contract's record of an outcome.
pub fn record<'a>(
    id: u64,
    difference: Difference,
    outcome: &'a Outcome,
    attributes: &'a [(&'a str, &'a str)],
) -> observer::Outcome<'a> {
    observer::Outcome {
        id,
        announce: outcome.announce,
        peer_id: &outcome.peer_id.0,
        credential: outcome.credential.as_deref(),
        attributes,
        verdict: outcome.verdict,
        decided_by: outcome.decided_by.as_deref(),
        left: outcome.left.unwrap_or(u64::MAX),
        uploaded: outcome.uploaded,
        downloaded: outcome.downloaded,
        uploaded_delta: difference.uploaded,
        downloaded_delta: difference.downloaded,
        seconds_since_previous: difference.seconds,
        unix_ms: outcome.unix_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_credential_is_left_out() {
        let seen = |bytes| {
            let mut exchange = Exchange::default();
            let url = format!("/announce?key={}", "x".repeat(bytes));
            exchange.request.target.make().over_udp(url.as_bytes());
            let rules = [CredentialRule::Query("key".into())];
            let outcome = Outcome::new(&exchange, &rules, Verdict::Next);
            (outcome.credential.map(|text| text.len()), outcome.announce.traits)
        };
        assert_eq!(seen(LONGEST_CREDENTIAL), (Some(LONGEST_CREDENTIAL), types::Traits::CREDENTIAL));
        assert_eq!(seen(LONGEST_CREDENTIAL + 1), (None, types::Traits::empty()));
    }
}
