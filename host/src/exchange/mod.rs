//! A request on its way through the tracker, with the answer being built.

mod account;
mod rare;
mod target;
mod trace;

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use karuta_accounts::Terms;
use karuta_bittorrent::http::Retry;
use karuta_bittorrent::{Announce, Counts, Event, InfoHash, PeerForm, PeerId, Transport};
use karuta_swarm::Locality;

pub use self::account::{Account, Asked};
use self::rare::Clear;
pub use self::rare::Rare;
pub use self::target::Target;
pub use self::trace::{LONGEST_REASON, Step, Trace};
use crate::config::CredentialRule;

/// A request and its answer. Frontends fill it in, and the tracker and the policies work on it. It
/// is reused for the next request.
#[derive(Debug)]
pub struct Exchange {
    pub request: Request,
    pub answer: Answer,
    /// When the request arrived.
    pub now: Instant,
    /// The changes requested by the running hook. They are kept only if the hook returns.
    pub(crate) draft: Draft,
    /// Whether what policies say is noted in `trace`.
    pub(crate) traced: bool,
    pub(crate) trace: Rare<Trace>,
    /// The counts of the swarm that a policy was told, if one asked.
    pub(crate) seen: Option<Counts>,
    /// The result of the last [`Exchange::look_up`]; empty: none.
    pub(crate) credential: String,
    /// Whether `credential` belongs to this request.
    looked_up: bool,
    /// The rules that `credential` was looked up by.
    rules: Option<Arc<[CredentialRule]>>,
}

/// A client's request.
#[derive(Debug)]
pub struct Request {
    pub transport: Transport,
    /// The announce. For a scrape, only `info_hash` is used, and it changes from one info-hash to
    /// the next.
    pub announce: Announce,
    /// The announced address: the client's, or the request's own `ip` parameter.
    pub address: IpAddr,
    /// The client's address, whatever address is announced.
    pub client: IpAddr,
    /// The source of the packet or connection, which may be a proxy.
    pub socket: SocketAddr,
    /// `client` was taken from a trusted proxy's header.
    pub proxied: bool,
    /// `address` is the request's own `ip` parameter.
    pub overridden: bool,
    /// The matching route: an index into the configuration's table of routes.
    pub route: Option<u16>,
    /// The listener: a position among those of the daemon.
    pub listener: u16,
    pub target: Rare<Target>,
    pub account: Account,
}

/// The answer.
#[derive(Debug)]
pub struct Answer {
    pub ruling: Ruling,
    /// Seconds.
    pub interval: u32,
    /// Seconds.
    pub min_interval: u32,
    pub num_want: u32,
    /// Where the announcing peer is.
    pub locality: Option<Locality>,
    /// For scrapes: answer zeros for this info-hash.
    pub hidden: bool,
    /// What is credited; `None`: what the records say.
    pub credit: Option<Terms>,
    /// For announces: the peer is counted, but given to nobody.
    pub is_peer_hidden: bool,
    pub extras: Rare<Extras>,
    /// The policy that decided, by its verdict or by its `on_error`.
    pub decided_by: Option<Arc<str>>,
}

/// What most answers do without.
#[derive(Clone, Debug, Default)]
pub struct Extras {
    pub warning: Option<String>,
    pub failure: Option<String>,
    /// BEP 31.
    pub retry: Option<Retry>,
    /// Peers to put before the swarm's own.
    pub first: Vec<SocketAddr>,
    /// Peers to put at random places among the swarm's own.
    pub mixed: Vec<SocketAddr>,
    /// Attributes that policies have set for later policies.
    pub attributes: Vec<(String, String)>,
}

/// What has been decided on a request so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ruling {
    /// Nothing. A request that is still open at the end is admitted.
    Open,
    /// A policy has accepted it, and no other is asked.
    Accepted,
    /// The answer's `failure` and `retry` say why.
    Rejected,
    /// The client gets no answer.
    Dropped,
}

/// The changes that one hook requests. They are kept only if the hook returns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    /// Whether any of the other fields is set.
    pub any: bool,
    pub interval: Option<u32>,
    pub min_interval: Option<u32>,
    pub num_want: Option<u32>,
    pub locality: Option<Locality>,
    pub hidden: bool,
    pub credit: Option<Terms>,
    pub hides_peer: bool,
    pub extras: Rare<Extras>,
}

impl Default for Exchange {
    /// Returns what a plugin sees outside of requests: zeros, empty lists, none.
    fn default() -> Self {
        let unspecified = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            request: Request {
                transport: Transport::Udp,
                announce: Announce {
                    info_hash: InfoHash([0; 20]),
                    peer_id: PeerId([0; 20]),
                    port: 0,
                    event: Event::None,
                    left: None,
                    uploaded: 0,
                    downloaded: 0,
                    num_want: None,
                    ip: None,
                    has_totals: true,
                    corrupt: 0,
                    form: PeerForm::Compact,
                },
                address: unspecified,
                client: unspecified,
                socket: SocketAddr::new(unspecified, 0),
                proxied: false,
                overridden: false,
                route: None,
                listener: 0,
                target: Rare::default(),
                account: Account::default(),
            },
            answer: Answer {
                ruling: Ruling::Open,
                interval: 0,
                min_interval: 0,
                num_want: 0,
                locality: None,
                hidden: false,
                credit: None,
                is_peer_hidden: false,
                extras: Rare::default(),
                decided_by: None,
            },
            now: Instant::now(),
            draft: Draft::default(),
            traced: false,
            trace: Rare::default(),
            seen: None,
            credential: String::new(),
            looked_up: false,
            rules: None,
        }
    }
}

impl Request {
    /// Returns the first of the rules' values that is present and not empty, without `Bearer` (in
    /// any case).
    pub(crate) fn credential(&self, rules: &[CredentialRule]) -> Option<Cow<'_, str>> {
        let target = self.target.get()?;
        rules.iter().find_map(|rule| {
            let found = match rule {
                CredentialRule::Query(name) => target.query_parameter(name)?,
                CredentialRule::Path(name) => target.path_parameter(name)?.into(),
                CredentialRule::Header(name) => target.header(name)?.into(),
            };
            let bare = match found {
                Cow::Borrowed(text) => Cow::Borrowed(without_bearer(text.trim())),
                Cow::Owned(text) => Cow::Owned(without_bearer(text.trim()).to_owned()),
            };
            (!bare.is_empty()).then_some(bare)
        })
    }
}

impl Answer {
    /// Resets the answer for a new request.
    pub fn reset(&mut self, interval: u32, min_interval: u32, num_want: u32) {
        self.ruling = Ruling::Open;
        self.interval = interval;
        self.min_interval = min_interval;
        self.num_want = num_want;
        self.locality = None;
        self.hidden = false;
        self.credit = None;
        self.is_peer_hidden = false;
        self.decided_by = None;
        self.extras.clear();
    }

    /// Sets the failure reason, and when to try again.
    pub fn fail(&mut self, reason: &str, retry: Retry) {
        let extras = self.extras.make();
        extras.failure = Some(reason.to_owned());
        extras.retry = Some(retry);
    }

    pub fn attribute(&self, name: &str) -> Option<&str> {
        let mut attributes = self.extras.read().attributes.iter();
        attributes.find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Rare<Extras> {
    /// Returns the value, which is empty if it is not used.
    pub fn read(&self) -> &Extras {
        static NONE: Extras = Extras {
            warning: None,
            failure: None,
            retry: None,
            first: Vec::new(),
            mixed: Vec::new(),
            attributes: Vec::new(),
        };
        self.get().unwrap_or(&NONE)
    }
}

impl Clear for Extras {
    fn clear(&mut self) {
        let Self { warning, failure, retry, first, mixed, attributes } = self;
        (*warning, *failure, *retry) = (None, None, None);
        first.clear();
        mixed.clear();
        attributes.clear();
    }
}

impl Extras {
    /// Moves a later policy's changes into these, and leaves them empty.
    fn absorb(&mut self, later: &mut Self) {
        // No `..` here, in `clear` and in `bytes`, so that the compiler points out every new field.
        let Self { warning, failure, retry, first, mixed, attributes } = later;
        self.warning = warning.take().or_else(|| self.warning.take());
        self.failure = failure.take().or_else(|| self.failure.take());
        self.retry = retry.take().or(self.retry);
        self.first.append(first);
        self.mixed.append(mixed);
        for (name, value) in attributes.drain(..) {
            match self.attributes.iter_mut().find(|(known, _)| *known == name) {
                Some((_, old)) => *old = value,
                None => self.attributes.push((name, value)),
            }
        }
    }

    /// Returns the approximate number of bytes.
    fn bytes(&self) -> usize {
        let Self { warning, failure, retry: _, first, mixed, attributes } = self;
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let attributes = attributes.iter().map(|(name, value)| 64 + name.len() + value.len());
        size_of::<Self>()
            + text(warning)
            + text(failure)
            + (first.len() + mixed.len()) * size_of::<SocketAddr>()
            + attributes.sum::<usize>()
    }
}

impl Draft {
    /// Moves all changes into an answer, and leaves the draft empty.
    fn merge(&mut self, answer: &mut Answer) {
        let Self {
            any,
            interval,
            min_interval,
            num_want,
            locality,
            hidden,
            credit,
            hides_peer,
            extras,
        } = self;
        *any = false;
        answer.interval = interval.take().unwrap_or(answer.interval);
        answer.min_interval = min_interval.take().unwrap_or(answer.min_interval);
        answer.num_want = num_want.take().unwrap_or(answer.num_want);
        answer.locality = locality.take().or(answer.locality);
        answer.hidden |= std::mem::take(hidden);
        answer.credit = credit.take().or(answer.credit);
        answer.is_peer_hidden |= std::mem::take(hides_peer);
        if let Some(later) = extras.get_mut() {
            answer.extras.make().absorb(later);
            extras.clear();
        }
    }

    /// Writes the names of what would change, as far as it is no text for the client.
    fn names(&self, out: &mut String) {
        let Self {
            any: _,
            interval,
            min_interval,
            num_want,
            locality,
            hidden,
            credit,
            hides_peer,
            extras,
        } = self;
        let Extras { failure: _, retry, warning, first, mixed, attributes } = extras.read();
        let named = [
            ("interval", interval.is_some()),
            ("min_interval", min_interval.is_some()),
            ("num_want", num_want.is_some()),
            ("label", locality.is_some()),
            ("hidden", *hidden),
            ("credit", credit.is_some()),
            ("hide_peer", *hides_peer),
            ("retry_in", retry.is_some()),
            ("warning_message", warning.is_some()),
            ("peers_first", !first.is_empty()),
            ("peers_mixed", !mixed.is_empty()),
            ("attributes", !attributes.is_empty()),
        ];
        let mut separator = "";
        for (name, _) in named.iter().filter(|(_, changed)| *changed) {
            out.push_str(separator);
            out.push_str(name);
            separator = ", ";
        }
    }

    /// Returns the approximate number of bytes beyond the struct's own size.
    pub fn bytes(&self) -> usize {
        self.extras.get().map_or(0, Extras::bytes)
    }
}

impl Exchange {
    /// Begins a new request, which the frontend has filled in. `traced`: what policies say about it
    /// is noted.
    pub fn begin(&mut self, now: Instant, traced: bool) {
        self.now = now;
        self.looked_up = false;
        self.traced = traced;
        self.seen = None;
    }

    /// Looks up the credential by a policy's rules, once for each request and policy.
    pub(crate) fn look_up(&mut self, rules: &Arc<[CredentialRule]>) {
        let same = self.rules.as_ref().is_some_and(|known| Arc::ptr_eq(known, rules));
        if self.looked_up && same {
            return;
        }
        self.credential.clear();
        self.looked_up = !rules.is_empty();
        if !self.looked_up {
            return;
        }
        self.credential.push_str(&self.request.credential(rules).unwrap_or_default());
        if !same {
            self.rules = Some(rules.clone());
        }
    }

    /// Keeps the changes of the hook that has just returned. The last writer wins.
    pub(crate) fn commit(&mut self) {
        if self.draft.any {
            self.draft.merge(&mut self.answer);
        }
    }

    /// Discards the changes of a hook that did not return.
    pub(crate) fn discard(&mut self) {
        if self.draft.any {
            self.draft = Draft::default();
        }
    }
}

fn without_bearer(value: &str) -> &str {
    match value.split_at_checked(6) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => {
            let token = rest.trim_start();
            // "bearerish" is an ordinary value.
            if token.len() < rest.len() || rest.is_empty() { token } else { value }
        }
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_is_taken_off_in_any_case() {
        assert_eq!(without_bearer("Bearer abc"), "abc");
        assert_eq!(without_bearer("bEARER  abc"), "abc");
        assert_eq!(without_bearer("Bearer"), "");
        assert_eq!(without_bearer("bearerish"), "bearerish");
        assert_eq!(without_bearer("abc"), "abc");
        assert_eq!(without_bearer(""), "");
    }
}
