//! The policies in the order of the configuration, as one worker calls them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use karuta_bittorrent::http::Retry;
use karuta_bittorrent::{Event, Transport};
use karuta_swarm::Candidate;

use super::bindings::imports::types::Verdict;
use super::exchange::{Exchange, Request};
use super::guard::Guard;
use super::instance::{Failure, Instance};
use super::ledger::Outcome;
use super::remembered::Remembered;
use super::supply::{Slot, Supplier};
use crate::config::{Mode, OnError};
use crate::metrics::{self, Cause, Hook, Would};

/// What a client is told where a policy cannot decide.
const UNAVAILABLE: &str = "temporarily unavailable";
/// What a client is told where a policy rejects without a text.
const UNAPPROVED: &str = "unapproved request";

/// One policy of the configuration.
pub struct Policy {
    pub supplier: Arc<Supplier>,
    pub when: When,
    pub on_error: OnError,
    pub mode: Mode,
    /// How often its control instance ticks.
    pub tick: Duration,
    /// A change of its file is a reason to reload.
    pub watch: bool,
}

/// Which requests a policy is asked about. An empty list means all.
#[derive(Clone, Default)]
pub struct When {
    pub transports: Vec<Transport>,
    /// Announces only: a scrape has no event, and is asked about.
    pub events: Vec<Event>,
    pub routes: Vec<u16>,
}

/// What the chain decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ruling {
    Admit,
    /// The answer's `failure` and `retry` say why.
    Reject,
    /// No answer.
    Drop,
}

/// The chain of one worker.
#[derive(Default)]
pub struct Chain {
    links: Vec<Link>,
    /// Whether any of them orders peers.
    ranks: bool,
    /// Whether any of them is told of outcomes.
    observes: bool,
}

/// One policy for the chain of one worker, made ready elsewhere.
pub struct NewLink {
    pub policy: Arc<Policy>,
    /// `None`: the chain's slot for the policy of that name goes on.
    pub slot: Option<Slot>,
    pub series: Arc<metrics::Policy>,
}

struct Link {
    policy: Arc<Policy>,
    slot: Slot,
    guard: Guard,
    remembered: Remembered,
    series: Arc<metrics::Policy>,
    calls: u32,
    /// The version of the plugin's data that verdicts are remembered of.
    data: u64,
    /// Data that the configuration requires is not there.
    lacks_data: bool,
    /// When the log last told what a policy in shadow mode would have done.
    told: Option<Instant>,
    /// Causes that the log has seen, a bit each.
    logged: u32,
    /// No instance of the plugin will come any more.
    given_up: bool,
}

/// One call in so many is timed.
const SAMPLE: u32 = 64;
/// What a policy in shadow mode would have done is told once in so long.
const QUIET: Duration = Duration::from_secs(1);

impl Policy {
    /// Takes over what the policy has decided, with its changes; of one that has failed, what the
    /// configuration says.
    pub fn settle(&self, exchange: &mut Exchange, decision: Option<Verdict>) -> Verdict {
        let verdict = match decision {
            Some(verdict) => {
                exchange.commit();
                verdict
            }
            None => self.on_error(exchange),
        };
        if verdict != Verdict::Next {
            exchange.answer.decided_by = Some(self.supplier.plugin().name.clone());
        }
        if verdict == Verdict::Reject {
            exchange.answer.failure.get_or_insert_with(|| UNAPPROVED.to_owned());
        }
        verdict
    }

    /// The verdict that the configuration has for a policy that fails.
    fn on_error(&self, exchange: &mut Exchange) -> Verdict {
        match self.on_error {
            OnError::Next => Verdict::Next,
            OnError::Drop => Verdict::Drop,
            OnError::Reject => {
                exchange.answer.failure = Some(UNAVAILABLE.to_owned());
                exchange.answer.retry = Some(Retry::Minutes(1));
                Verdict::Reject
            }
        }
    }
}

impl When {
    pub fn covers(&self, request: &Request, event: Option<Event>) -> bool {
        (self.transports.is_empty() || self.transports.contains(&request.transport))
            && (self.routes.is_empty()
                || request.route.is_some_and(|route| self.routes.contains(&route)))
            && (self.events.is_empty() || event.is_none_or(|event| self.events.contains(&event)))
    }
}

impl Chain {
    /// Changes over to a new generation, between two requests. What is no longer needed is let go
    /// by other threads.
    pub fn adopt(&mut self, links: Vec<NewLink>) {
        let mut earlier = std::mem::take(&mut self.links);
        for NewLink { policy, slot, series } in links {
            let name = &policy.supplier.plugin().name;
            let before =
                earlier.iter().position(|link| link.policy.supplier.plugin().name == *name);
            let before = before.map(|at| earlier.swap_remove(at));
            let link = match (slot, before) {
                (Some(mut slot), _) => {
                    series.memory(slot.instance().map_or(0, |instance| instance.memory()));
                    series.call(Hook::Init, metrics::Verdict::Ok);
                    series.set_failed(false);
                    let lacks_data = policy.supplier.plugin().lacks_data();
                    Link {
                        policy,
                        slot,
                        guard: Guard::default(),
                        remembered: Remembered::default(),
                        series,
                        calls: 0,
                        data: 0,
                        lacks_data,
                        told: None,
                        logged: 0,
                        given_up: false,
                    }
                }
                // Verdicts are not remembered across generations.
                (None, Some(before)) => {
                    Link { policy, remembered: Remembered::default(), ..before }
                }
                // Prepared from a generation that this chain never had.
                (None, None) => continue,
            };
            self.links.push(link);
        }
        let hooks = |link: &Link| {
            let hooks = &link.policy.supplier.plugin().code.hooks;
            (hooks.rank.is_some(), hooks.observe.is_some())
        };
        self.ranks = self.links.iter().any(|link| hooks(link).0);
        self.observes = self.links.iter().any(|link| hooks(link).1);
        for gone in earlier {
            gone.series.memory(0);
            gone.series.set_failed(false);
        }
    }

    /// Asks the policies about an announce.
    pub fn announce(&mut self, exchange: &mut Box<Exchange>) -> Ruling {
        let event = Some(exchange.request.announce.event);
        self.ask(exchange, Hook::Announce, event, Instance::announce)
    }

    /// Has the policies take notice of new data though nobody asks them anything.
    pub fn freshen(&mut self) {
        for link in &mut self.links {
            link.freshen();
        }
    }

    /// Whether a policy wants to order the peers of answers.
    pub fn ranks(&self) -> bool {
        self.ranks
    }

    /// Has the policy that orders peers do so: indices of candidates, best first, none twice.
    pub fn rank(
        &mut self,
        exchange: &mut Box<Exchange>,
        candidates: &[Candidate],
    ) -> Option<Vec<u32>> {
        let event = Some(exchange.request.announce.event);
        let mut order = None;
        for link in &mut self.links {
            let plugin = link.policy.supplier.plugin();
            if plugin.code.hooks.rank.is_none()
                || !link.policy.when.covers(&exchange.request, event)
            {
                continue;
            }
            let ranked = link.rank(exchange, candidates);
            if link.policy.mode == Mode::Enforce {
                order = ranked;
            }
        }
        order.map(|order| {
            let mut named = vec![false; candidates.len()];
            let fresh = |index: &u32| {
                let named = named.get_mut(*index as usize);
                named.is_some_and(|named| !std::mem::replace(named, true))
            };
            let mut order: Vec<u32> = order.into_iter().filter(fresh).collect();
            let others = (0..).zip(&named).filter(|(_, named)| !**named);
            order.extend(others.map(|(index, _)| index));
            order
        })
    }

    /// Tells observers how an announce ended.
    pub fn observe(&self, exchange: &Exchange, ruling: Ruling) {
        if !self.observes {
            return;
        }
        let decided = exchange.answer.decided_by.is_some();
        let verdict = match ruling {
            Ruling::Admit if decided => Verdict::Accept,
            Ruling::Admit => Verdict::Next,
            Ruling::Reject => Verdict::Reject,
            Ruling::Drop => Verdict::Drop,
        };
        let event = Some(exchange.request.announce.event);
        for link in &self.links {
            let control = link.policy.supplier.control().filter(|control| control.observes());
            if let Some(control) = control
                && link.policy.when.covers(&exchange.request, event)
            {
                let rules = &link.policy.supplier.plugin().identity.credential;
                control.tell(Outcome::new(exchange, rules, verdict));
            }
        }
    }

    /// Asks the policies about one info-hash of a scrape.
    pub fn scrape(&mut self, exchange: &mut Box<Exchange>) -> Ruling {
        self.ask(exchange, Hook::Scrape, None, Instance::scrape)
    }

    fn ask(
        &mut self,
        exchange: &mut Box<Exchange>,
        hook: Hook,
        event: Option<Event>,
        call: impl Fn(&mut Instance, &mut Box<Exchange>) -> Option<Result<Verdict, Failure>>,
    ) -> Ruling {
        for link in &mut self.links {
            let asks = link.policy.supplier.plugin().code.hooks.has(hook);
            if !asks || !link.policy.when.covers(&exchange.request, event) {
                continue;
            }
            let decision = link.consult(exchange, hook, &call);
            if link.policy.mode == Mode::Shadow {
                link.note(exchange, decision);
                exchange.discard();
                continue;
            }
            match link.policy.settle(exchange, decision.ok()) {
                Verdict::Next => {}
                Verdict::Accept => return Ruling::Admit,
                Verdict::Reject => return Ruling::Reject,
                Verdict::Drop => return Ruling::Drop,
            }
        }
        Ruling::Admit
    }
}

impl Link {
    /// The verdict of the plugin, remembered or asked for, with its changes pending; or why there
    /// is none.
    fn consult(
        &mut self,
        exchange: &mut Box<Exchange>,
        hook: Hook,
        call: impl Fn(&mut Instance, &mut Box<Exchange>) -> Option<Result<Verdict, Failure>>,
    ) -> Result<Verdict, Cause> {
        self.freshen();
        if self.lacks_data {
            return Err(self.failed(hook, Cause::Unavailable));
        }
        if !self.remembered.is_empty() {
            exchange.look_up(&self.policy.supplier.plugin().identity.credential);
            let Exchange { request, changes, credential, now, .. } = &mut **exchange;
            if let Some(known) = self.remembered.find(hook, request, credential, *now) {
                // There are none pending before a policy is asked.
                if let Some(known) = &known.changes {
                    changes.clone_from(known);
                }
                self.series.remembered(hook, label(known.verdict));
                return Ok(known.verdict);
            }
        }
        if self.guard.is_up() && self.guard.holds_back(&exchange.request) {
            return Err(self.failed(hook, Cause::Unavailable));
        }
        if self.slot.is_empty() {
            self.refill();
        }
        let Some(instance) = self.slot.instance() else {
            return Err(self.failed(hook, Cause::Unavailable));
        };
        self.calls = self.calls.wrapping_add(1);
        let start = self.calls.is_multiple_of(SAMPLE).then(Instant::now);
        match call(instance, exchange) {
            None => Ok(Verdict::Next),
            Some(Ok(verdict)) => {
                if let Some(wish) = instance.remember() {
                    let Exchange { request, changes, credential, now, .. } = &**exchange;
                    let decision = (verdict, changes.clone());
                    self.remembered.keep(hook, wish, request, credential, decision, *now);
                }
                self.series.memory(instance.memory());
                self.slot.prove();
                let label = label(verdict);
                self.series.call(hook, label);
                if let Some(start) = start {
                    self.series.duration(hook, label, start.elapsed());
                }
                Ok(verdict)
            }
            Some(Err(failure)) => {
                self.guard.blame(&exchange.request, failure.spent);
                self.log(&failure);
                self.slot.empty();
                self.refill();
                Err(self.failed(hook, failure.cause))
            }
        }
    }

    /// Takes notice of new data, and has an instance that knows it serve, as soon as there is one.
    fn freshen(&mut self) {
        let plugin = self.policy.supplier.plugin();
        let data = plugin.data_version();
        if self.slot.freshen() || data != self.data {
            self.data = data;
            self.remembered = Remembered::default();
            // What has never seen the data that it requires is not to decide without.
            let unfed = |instance: &mut Instance| instance.fed() == 0;
            let is_unfed = plugin.requires_raw() && self.slot.instance().is_some_and(unfed);
            self.lacks_data = plugin.lacks_data() || is_unfed;
        }
    }

    /// The order that the plugin wants; `None`: the host's own.
    fn rank(&mut self, exchange: &mut Box<Exchange>, candidates: &[Candidate]) -> Option<Vec<u32>> {
        let hook = Hook::Rank;
        if self.lacks_data || (self.guard.is_up() && self.guard.holds_back(&exchange.request)) {
            self.failed(hook, Cause::Unavailable);
            return None;
        }
        if self.slot.is_empty() {
            self.refill();
        }
        let Some(instance) = self.slot.instance() else {
            self.failed(hook, Cause::Unavailable);
            return None;
        };
        self.calls = self.calls.wrapping_add(1);
        let start = self.calls.is_multiple_of(SAMPLE).then(Instant::now);
        match instance.rank(exchange, candidates)? {
            Ok(order) => {
                self.series.memory(instance.memory());
                self.slot.prove();
                self.series.call(hook, metrics::Verdict::Ok);
                if let Some(start) = start {
                    self.series.duration(hook, metrics::Verdict::Ok, start.elapsed());
                }
                Some(order)
            }
            Err(failure) => {
                self.guard.blame(&exchange.request, failure.spent);
                self.log(&failure);
                self.slot.empty();
                self.refill();
                self.failed(hook, failure.cause);
                None
            }
        }
    }

    /// Counts a call without a verdict.
    fn failed(&self, hook: Hook, cause: Cause) -> Cause {
        self.series.call(hook, metrics::Verdict::Error);
        self.series.error(hook, cause);
        cause
    }

    /// Counts what a policy in shadow mode would have done, and tells whoever debugs it now and then.
    fn note(&mut self, exchange: &Exchange, decision: Result<Verdict, Cause>) {
        let would = match decision {
            Ok(Verdict::Reject) => Would::Reject,
            Ok(Verdict::Drop) => Would::Drop,
            Ok(Verdict::Next | Verdict::Accept) if exchange.changes.any => Would::Change,
            Ok(Verdict::Next | Verdict::Accept) => Would::Pass,
            Err(_) => Would::Error,
        };
        self.series.shadow(would);
        let quiet = self.told.is_some_and(|told| exchange.now.duration_since(told) < QUIET);
        if would == Would::Pass || quiet {
            return;
        }
        self.told = Some(exchange.now);
        tracing::debug!(
            policy = &*self.policy.supplier.plugin().name,
            would = would.name(),
            info_hash = %exchange.request.announce.info_hash,
            client = %exchange.request.client,
            reason = exchange.changes.failure.as_deref(),
            "a policy in shadow mode"
        );
    }

    /// A cause is logged once, for a plugin that fails often would fill the log.
    fn log(&mut self, failure: &Failure) {
        let policy = &*self.policy.supplier.plugin().name;
        let bit = 1 << failure.cause as u32;
        if self.logged & bit == 0 {
            self.logged |= bit;
            tracing::error!(
                policy,
                cause = failure.cause.name(),
                detail = failure.detail,
                "a policy failed; further failures of this cause are only counted"
            );
        }
    }

    /// Puts the next instance in the place of one that has failed, where there is one already.
    fn refill(&mut self) {
        if self.slot.refill() {
            self.series.restart();
        } else if self.slot.has_failed() && !self.given_up {
            self.given_up = true;
            self.series.set_failed(true);
            let policy = &*self.policy.supplier.plugin().name;
            tracing::error!(policy, "the policy has failed for good, until a reload");
        }
        self.series.memory(self.slot.instance().map_or(0, |instance| instance.memory()));
    }
}

pub fn label(verdict: Verdict) -> metrics::Verdict {
    match verdict {
        Verdict::Next => metrics::Verdict::Next,
        Verdict::Accept => metrics::Verdict::Accept,
        Verdict::Reject => metrics::Verdict::Reject,
        Verdict::Drop => metrics::Verdict::Drop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predicates() {
        let request = Exchange::default().request;
        let everything = When::default();
        assert!(everything.covers(&request, Some(Event::Started)));
        let http = When { transports: vec![Transport::Http], ..When::default() };
        assert!(!http.covers(&request, None), "the request came over UDP");
        let stops = When { events: vec![Event::Stopped], ..When::default() };
        assert!(!stops.covers(&request, Some(Event::Started)));
        assert!(stops.covers(&request, Some(Event::Stopped)));
        assert!(stops.covers(&request, None), "no scrape is exempt for having no event");
        let routed = When { routes: vec![1], ..When::default() };
        assert!(!routed.covers(&request, None), "no route matched");
    }
}
