//! The policies in the order of the configuration, as one worker calls them.

mod breaker;
mod cache;
mod link;
mod policy;
pub mod shown;

use std::borrow::{BorrowMut, Cow};
use std::sync::Arc;

use karuta_swarm::Candidate;

use self::link::Link;
pub use self::link::NewLink;
pub use self::policy::{Passed, Policy, When};
use crate::config::Mode;
use crate::exchange::{Exchange, Ruling};
use crate::metrics::{self, Hook};
use crate::policy::contract::Verdict;
use crate::policy::instance::{Failure, Instance};
use crate::policy::shared::outcome::Outcome;

/// The chain of one worker.
#[derive(Default)]
pub struct Chain {
    links: Vec<Link>,
    /// Those of an earlier generation that may come back.
    parked: Vec<Link>,
    /// Whether any policy orders peers.
    ranks: bool,
    /// Whether any policy observes outcomes.
    observes: bool,
}

/// A caller of one policy in a walk: a worker's link, or an instance created for one question.
pub trait Member {
    fn policy(&self) -> &Policy;

    /// Prepares for requests that came together.
    fn prepare<R: BorrowMut<Box<Exchange>>>(&mut self, _: &mut [R], _: Hook) {}

    /// Returns the policy's verdict, with its changes pending, or `None` if the policy failed.
    fn consult(&mut self, exchange: &mut Box<Exchange>, hook: Hook) -> Option<Verdict>;

    /// Notes that the policy was not called.
    fn pass(&mut self, _: Passed) {}
}

/// Calls policies in turn for announces, or for one info-hash of a scrape: each policy for all
/// requests that no earlier one has decided, in their order. Its code and data are then fetched
/// once for all of them. Only this function knows what `when`, `mode` and `on_error` do to a
/// verdict.
pub fn walk<'m, M: Member + 'm, R: BorrowMut<Box<Exchange>>>(
    members: impl IntoIterator<Item = &'m mut M>,
    requests: &mut [R],
    hook: Hook,
) {
    for member in members {
        if member.policy().plugin().code.hooks.has(hook) {
            member.prepare(requests, hook);
        }
        for request in &mut *requests {
            let exchange = request.borrow_mut();
            if exchange.answer.ruling != Ruling::Open {
                member.pass(Passed::Decided(exchange.answer.ruling));
                continue;
            }
            if let Some(reason) = member.policy().passes(exchange, hook) {
                member.pass(reason);
                continue;
            }
            let decision = member.consult(exchange, hook);
            if member.policy().mode == Mode::Shadow {
                exchange.discard();
                continue;
            }
            exchange.answer.ruling = member.policy().settle(exchange, decision).into();
        }
    }
}

impl Chain {
    /// Switches to a new generation, between two requests. What that does not need is parked if
    /// `parks`, until it comes back or the chain settles; otherwise, other threads drop it.
    pub fn adopt(&mut self, links: Vec<NewLink>, parks: bool) {
        let mut earlier = std::mem::take(&mut self.links);
        let mut parked = std::mem::take(&mut self.parked);
        let take = |from: &mut Vec<Link>, policy: &Policy| {
            let is_same = |link: &Link| Arc::ptr_eq(&link.policy.service, &policy.service);
            let at = from.iter().position(is_same)?;
            Some(from.swap_remove(at))
        };
        for new in links {
            let before = match new.slot {
                Some(_) => None,
                None => take(&mut earlier, &new.policy).or_else(|| take(&mut parked, &new.policy)),
            };
            self.links.extend(Link::after(before, new));
        }
        let hooks = |link: &Link| {
            let hooks = &link.policy.plugin().code.hooks;
            (hooks.rank.is_some(), hooks.observe.is_some())
        };
        self.ranks = self.links.iter().any(|link| hooks(link).0);
        self.observes = self.links.iter().any(|link| hooks(link).1);
        for gone in &earlier {
            let name = &gone.policy.plugin().name;
            // Its series go on if there is another version of the policy.
            if !self.links.iter().any(|link| link.policy.plugin().name == *name) {
                gone.leave();
            }
        }
        if parks {
            self.parked = earlier;
        }
    }

    /// Stays with the generation in use: other threads drop what was parked.
    pub fn settle(&mut self) {
        self.parked.clear();
    }

    /// Calls the policies for announces that came together.
    pub fn announce<R: BorrowMut<Box<Exchange>>>(&mut self, requests: &mut [R]) {
        walk(&mut self.links, requests, Hook::Announce);
    }

    /// Calls the policies for one info-hash of a scrape.
    pub fn scrape(&mut self, exchange: &mut Box<Exchange>) {
        walk(&mut self.links, std::slice::from_mut(exchange), Hook::Scrape);
    }

    /// Refreshes the policies' data between requests.
    pub fn freshen(&mut self) {
        for link in &mut self.links {
            link.freshen();
        }
    }

    /// Returns whether any policy orders the peers of answers.
    pub fn ranks(&self) -> bool {
        self.ranks
    }

    /// Returns the order of the policy that orders peers: indices of candidates, best first,
    /// without duplicates.
    pub fn rank(
        &mut self,
        exchange: &mut Box<Exchange>,
        candidates: &[Candidate],
    ) -> Option<Vec<u32>> {
        let mut order = None;
        for link in &mut self.links {
            if link.policy.passes(exchange, Hook::Rank).is_some() {
                continue;
            }
            link.freshen();
            let ranked = link.call(exchange, Hook::Rank, |instance, exchange| {
                Some(
                    instance.rank(exchange, candidates)?.map(|order| (order, metrics::Verdict::Ok)),
                )
            });
            if link.policy.mode == Mode::Enforce {
                order = ranked.ok().flatten();
            }
        }
        order.map(|order| complete(order, candidates.len()))
    }

    /// Returns the credential that the policy saw which decided, or else the first that looks for
    /// one.
    pub fn credential<'a>(&self, exchange: &'a Exchange) -> Option<Cow<'a, str>> {
        let decided =
            |link: &&Link| Some(&link.policy.plugin().name) == exchange.answer.decided_by.as_ref();
        let links = self.links.iter().find(decided).into_iter().chain(&self.links);
        let mut rules = links.map(|link| &*link.policy.plugin().identity.credential);
        exchange.request.credential(rules.find(|rules| !rules.is_empty())?)
    }

    /// Queues the outcome of an announce for observers.
    pub fn observe(&self, exchange: &Exchange) {
        if !self.observes {
            return;
        }
        let verdict = match exchange.answer.ruling {
            Ruling::Open => Verdict::Next,
            Ruling::Accepted => Verdict::Accept,
            Ruling::Rejected => Verdict::Reject,
            Ruling::Dropped => Verdict::Drop,
        };
        let event = Some(exchange.request.announce.event);
        for link in &self.links {
            let control = link.policy.service.control().filter(|control| control.observes());
            if let Some(control) = control
                && link.policy.when.covers(&exchange.request, event)
            {
                let rules = &link.policy.plugin().identity.credential;
                control.tell(Outcome::new(exchange, rules, verdict));
            }
        }
    }
}

impl From<Verdict> for Ruling {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Next => Self::Open,
            Verdict::Accept => Self::Accepted,
            Verdict::Reject => Self::Rejected,
            Verdict::Drop => Self::Dropped,
        }
    }
}

/// Completes an order: the candidates that a policy named, once each, then the others.
fn complete(order: Vec<u32>, candidates: usize) -> Vec<u32> {
    let mut named = vec![false; candidates];
    let fresh = |index: &u32| {
        let named = named.get_mut(*index as usize);
        named.is_some_and(|named| !std::mem::replace(named, true))
    };
    let mut order: Vec<u32> = order.into_iter().filter(fresh).collect();
    let others = (0..).zip(&named).filter(|(_, named)| !**named);
    order.extend(others.map(|(index, _)| index));
    order
}

impl Member for Link {
    fn policy(&self) -> &Policy {
        &self.policy
    }

    fn prepare<R: BorrowMut<Box<Exchange>>>(&mut self, requests: &mut [R], hook: Hook) {
        Link::prepare(self, requests, hook);
    }

    fn consult(&mut self, exchange: &mut Box<Exchange>, hook: Hook) -> Option<Verdict> {
        let decision = self.decide(exchange, hook);
        if self.policy.mode == Mode::Shadow {
            self.note(exchange, decision);
        } else if exchange.traced || decision.is_err() {
            self.trace(exchange, decision);
        }
        decision.ok()
    }
}

/// Calls the hook of an instance that decides requests.
pub fn ask(
    instance: &mut Instance,
    exchange: &mut Box<Exchange>,
    hook: Hook,
) -> Option<Result<Verdict, Failure>> {
    match hook {
        Hook::Scrape => instance.scrape(exchange),
        _ => instance.announce(exchange),
    }
}
