//! One policy in the chain of one worker.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ask;
use super::breaker::CircuitBreaker;
use super::cache::VerdictCache;
use super::policy::Policy;
use super::shown::label;
use crate::exchange::Exchange;
use crate::metrics::{self, Cause, Hook, Would};
use crate::policy::contract::Verdict;
use crate::policy::instance::{Failure, Instance};
use crate::policy::supply::Slot;

/// One policy for the chain of one worker, made ready elsewhere.
pub struct NewLink {
    pub policy: Arc<Policy>,
    /// `None`: the chain's slot for the policy of that name goes on.
    pub slot: Option<Slot>,
    pub series: Arc<metrics::PolicySeries>,
}

/// A policy of the generation that serves, with what this worker knows of it.
pub struct Link {
    pub policy: Arc<Policy>,
    slot: Slot,
    breaker: CircuitBreaker,
    cache: VerdictCache,
    series: Arc<metrics::PolicySeries>,
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
/// How often the log tells what a policy in shadow mode would have done.
const QUIET: Duration = Duration::from_secs(1);

impl Link {
    /// The link that follows one of an earlier generation; `None`: `new` was prepared for a chain
    /// that had one.
    pub fn after(before: Option<Self>, new: NewLink) -> Option<Self> {
        let NewLink { policy, slot, series } = new;
        let Some(mut slot) = slot else {
            // Verdicts are not remembered across generations.
            return before.map(|before| Self { policy, cache: VerdictCache::default(), ..before });
        };
        series.memory(slot.instance().map_or(0, |instance| instance.memory()));
        series.call(Hook::Init, metrics::Verdict::Ok);
        series.set_failed(false);
        let lacks_data = policy.plugin().lacks_data();
        Some(Self {
            policy,
            slot,
            breaker: CircuitBreaker::default(),
            cache: VerdictCache::default(),
            series,
            calls: 0,
            data: 0,
            lacks_data,
            told: None,
            logged: 0,
            given_up: false,
        })
    }

    /// Leaves the chain: the policy is no longer in the configuration.
    pub fn leave(self) {
        self.series.memory(0);
        self.series.set_failed(false);
    }

    /// The verdict of the plugin, cached or asked for, with its changes pending; or why there is none.
    pub fn decide(&mut self, exchange: &mut Box<Exchange>, hook: Hook) -> Result<Verdict, Cause> {
        self.freshen();
        if !self.lacks_data && !self.cache.is_empty() {
            exchange.look_up(&self.policy.plugin().identity.credential);
            let Exchange { request, draft, credential, now, .. } = &mut **exchange;
            if let Some(known) = self.cache.find(hook, request, credential, *now) {
                // There are none pending before a policy is asked.
                if let Some(known) = &known.draft {
                    draft.clone_from(known);
                }
                self.series.remembered(hook, label(known.verdict));
                return Ok(known.verdict);
            }
        }
        let verdict = self.call_fresh(exchange, hook, |instance, exchange| {
            Some(ask(instance, exchange, hook)?.map(|verdict| (verdict, label(verdict))))
        })?;
        let Some(verdict) = verdict else { return Ok(Verdict::Next) };
        if let Some(wish) = self.slot.instance().and_then(|instance| instance.remember()) {
            let Exchange { request, draft, credential, now, .. } = &**exchange;
            self.cache.keep(hook, wish, request, credential, (verdict, draft.clone()), *now);
        }
        Ok(verdict)
    }

    /// Calls a hook on the instance that serves: `Ok(None)` where the plugin has no such hook, else
    /// what it returned, or why there is nothing. `call` labels what was returned.
    pub fn call<R>(
        &mut self,
        exchange: &mut Box<Exchange>,
        hook: Hook,
        call: impl FnOnce(
            &mut Instance,
            &mut Box<Exchange>,
        ) -> Option<Result<(R, metrics::Verdict), Failure>>,
    ) -> Result<Option<R>, Cause> {
        self.freshen();
        self.call_fresh(exchange, hook, call)
    }

    /// As [`Link::call`], where the data was just looked at.
    fn call_fresh<R>(
        &mut self,
        exchange: &mut Box<Exchange>,
        hook: Hook,
        call: impl FnOnce(
            &mut Instance,
            &mut Box<Exchange>,
        ) -> Option<Result<(R, metrics::Verdict), Failure>>,
    ) -> Result<Option<R>, Cause> {
        if self.lacks_data || (self.breaker.is_open() && self.breaker.holds_back(&exchange.request))
        {
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
            None => Ok(None),
            Some(Ok((returned, label))) => {
                self.series.memory(instance.memory());
                self.slot.prove();
                self.series.call(hook, label);
                if let Some(start) = start {
                    self.series.duration(hook, label, start.elapsed());
                }
                Ok(Some(returned))
            }
            Some(Err(failure)) => {
                self.breaker.blame(&exchange.request, failure.spent);
                self.log(&failure);
                self.slot.empty();
                self.refill();
                Err(self.failed(hook, failure.cause))
            }
        }
    }

    /// Looks for new data, and puts an instance that knows it in place as soon as there is one.
    pub fn freshen(&mut self) {
        let plugin = self.policy.plugin();
        let data = plugin.data_version();
        if self.slot.freshen() || data != self.data {
            self.data = data;
            self.cache = VerdictCache::default();
            // What has never seen the data that it requires is not to decide without.
            let unfed = |instance: &mut Instance| instance.fed() == 0;
            let is_unfed = plugin.requires_raw() && self.slot.instance().is_some_and(unfed);
            self.lacks_data = plugin.lacks_data() || is_unfed;
        }
    }

    /// Counts a call without a verdict.
    fn failed(&self, hook: Hook, cause: Cause) -> Cause {
        self.series.call(hook, metrics::Verdict::Error);
        self.series.error(hook, cause);
        cause
    }

    /// Counts what a policy in shadow mode would have done, and logs it now and then.
    pub fn note(&mut self, exchange: &Exchange, decision: Result<Verdict, Cause>) {
        let would = match decision {
            Ok(Verdict::Reject) => Would::Reject,
            Ok(Verdict::Drop) => Would::Drop,
            Ok(Verdict::Next | Verdict::Accept) if exchange.draft.any => Would::Change,
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
            policy = &*self.policy.plugin().name,
            would = would.name(),
            info_hash = %exchange.request.announce.info_hash,
            client = %exchange.request.client,
            reason = exchange.draft.failure.as_deref(),
            "a policy in shadow mode"
        );
    }

    /// A cause is logged once, for a plugin that fails often would fill the log.
    fn log(&mut self, failure: &Failure) {
        let policy = &*self.policy.plugin().name;
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
            let policy = &*self.policy.plugin().name;
            tracing::error!(policy, "the policy has failed for good, until a reload");
        }
        self.series.memory(self.slot.instance().map_or(0, |instance| instance.memory()));
    }
}
