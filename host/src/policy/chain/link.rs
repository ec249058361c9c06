//! One policy in the chain of one worker.

use std::borrow::{Borrow, BorrowMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ask;
use super::breaker::CircuitBreaker;
use super::cache::VerdictCache;
use super::policy::Policy;
use super::shown::label;
use crate::exchange::{Exchange, Ruling, Step};
use crate::metrics::{self, Cause, Hook, Would};
use crate::policy::contract::Verdict;
use crate::policy::instance::{Failure, Instance};
use crate::policy::supply::Slot;

/// A policy prepared on another thread for the chain of one worker.
pub struct NewLink {
    pub policy: Arc<Policy>,
    /// `None`: the chain keeps its slot for the policy, or has parked it.
    pub slot: Option<Slot>,
    pub series: Arc<metrics::PolicySeries>,
}

/// A policy in use, with this worker's state for it.
pub struct Link {
    pub policy: Arc<Policy>,
    slot: Slot,
    breaker: CircuitBreaker,
    cache: VerdictCache,
    series: Arc<metrics::PolicySeries>,
    calls: u32,
    /// The version of the plugin's data that the remembered verdicts belong to.
    data: u64,
    /// Whether data that the configuration requires is missing.
    lacks_data: bool,
    /// Whether the last verdict was a remembered one.
    remembered: bool,
    /// When the log last reported what a policy in shadow mode would have done.
    told: Option<Instant>,
    /// The causes that have been logged, one bit each.
    logged: u32,
    /// Whether the plugin will get no more instances.
    given_up: bool,
}

/// One call in this many is timed.
const SAMPLE: u32 = 64;
/// How often the log reports what a policy in shadow mode would have done.
const QUIET: Duration = Duration::from_secs(1);

impl Link {
    /// Creates the link that follows the one `before` with the same instances, which may have been
    /// parked. Returns `None` if `new` expects one and there is none.
    pub fn after(before: Option<Self>, new: NewLink) -> Option<Self> {
        let NewLink { policy, slot, series } = new;
        let Some(mut slot) = slot else {
            let mut before = before?;
            before.series.memory(before.slot.instance().map_or(0, |instance| instance.memory()));
            before.series.set_failed(before.given_up);
            // Verdicts are not remembered across generations.
            return Some(Self { policy, cache: VerdictCache::default(), ..before });
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
            remembered: false,
            told: None,
            logged: 0,
            given_up: false,
        })
    }

    /// Takes note that the policy is no longer in the configuration.
    pub fn leave(&self) {
        self.series.memory(0);
        self.series.set_failed(false);
    }

    /// Returns the plugin's verdict, remembered or from a call, with its changes pending; or why
    /// there is none. The data must have been checked with [`Link::freshen`].
    pub fn decide(&mut self, exchange: &mut Box<Exchange>, hook: Hook) -> Result<Verdict, Cause> {
        if !self.lacks_data && !self.cache.is_empty() {
            exchange.look_up(&self.policy.plugin().identity.credential);
            let Exchange { request, draft, credential, now, .. } = &mut **exchange;
            if let Some((verdict, known)) = self.cache.find(hook, request, credential, *now) {
                // No changes are pending before a policy is called.
                if let Some(known) = known {
                    draft.clone_from(known);
                }
                self.series.remembered(hook, label(verdict));
                self.remembered = true;
                return Ok(verdict);
            }
        }
        self.remembered = false;
        let verdict = self.call(exchange, hook, |instance, exchange| {
            Some(ask(instance, exchange, hook)?.map(|verdict| (verdict, label(verdict))))
        })?;
        let Some(verdict) = verdict else { return Ok(Verdict::Next) };
        if let Some(wish) = self.slot.instance().and_then(|instance| instance.remember()) {
            let Exchange { request, draft, credential, now, .. } = &**exchange;
            self.cache.keep(hook, wish, request, credential, (verdict, draft), *now);
        }
        Ok(verdict)
    }

    /// Checks for new data, and fetches the memory of sets and of remembered verdicts that requests
    /// which came together will need: all of it at once, instead of waiting for it one by one.
    pub fn prepare<R: BorrowMut<Box<Exchange>>>(&mut self, requests: &mut [R], hook: Hook) {
        self.freshen();
        if requests.len() < 2 || self.lacks_data {
            return;
        }
        let is_open = |exchange: &Exchange| exchange.answer.ruling == Ruling::Open;
        let plugin = self.policy.plugin();
        if self.cache.is_empty() {
            let open = requests.iter().map(Borrow::borrow).filter(|exchange| is_open(exchange));
            plugin.fetch(open.map(|exchange| exchange.request.announce.info_hash.0));
        } else {
            let open = requests.iter_mut().map(BorrowMut::borrow_mut);
            for exchange in open.filter(|exchange| is_open(exchange)) {
                exchange.look_up(&plugin.identity.credential);
                self.cache.fetch(hook, &exchange.request, &exchange.credential);
            }
        }
    }

    /// Calls a hook on the current instance. Returns `Ok(None)` if the plugin does not have the
    /// hook, otherwise what the hook returned or why it failed. `call` also labels the result.
    /// The data must have been checked with [`Link::freshen`].
    pub fn call<R>(
        &mut self,
        exchange: &mut Box<Exchange>,
        hook: Hook,
        call: impl FnOnce(
            &mut Instance,
            &mut Box<Exchange>,
        ) -> Option<Result<(R, metrics::Verdict), Failure>>,
    ) -> Result<Option<R>, Cause> {
        if self.lacks_data || (self.breaker.is_open() && self.holds_back(exchange)) {
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
                let now = self.policy.plugin().clock.now();
                self.breaker.blame(&exchange.request, failure.spent, now);
                self.log(&failure);
                self.slot.empty();
                self.refill();
                // The next instance may have other data.
                self.freshen();
                Err(self.failed(hook, failure.cause))
            }
        }
    }

    /// Returns whether a request must not be tried now.
    fn holds_back(&mut self, exchange: &Exchange) -> bool {
        self.breaker.holds_back(&exchange.request, self.policy.plugin().clock.now())
    }

    /// Checks for new data, and switches to an instance that has it as soon as there is one.
    pub fn freshen(&mut self) {
        let plugin = self.policy.plugin();
        let data = plugin.data_version();
        if self.slot.freshen() || data != self.data {
            self.data = data;
            self.cache = VerdictCache::default();
            // An instance that has never received its required data must not decide.
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

    /// Notes what the policy said, for those who ask afterwards.
    #[cold]
    pub fn trace(&self, exchange: &mut Exchange, decision: Result<Verdict, Cause>) {
        let said = decision.map_or(metrics::Verdict::Error, label);
        exchange.trace.make().step(Step {
            policy: self.policy.plugin().name.clone(),
            said: said.name(),
            failed: decision.is_err(),
            remembered: self.remembered && decision.is_ok(),
        });
    }

    /// Counts what a policy in shadow mode would have done, notes it unless it would pass, and logs
    /// it at most once per `QUIET`.
    pub fn note(&mut self, exchange: &mut Exchange, decision: Result<Verdict, Cause>) {
        let would = match decision {
            Ok(Verdict::Reject) => Would::Reject,
            Ok(Verdict::Drop) => Would::Drop,
            Ok(Verdict::Next | Verdict::Accept) if exchange.draft.any => Would::Change,
            Ok(Verdict::Next | Verdict::Accept) => Would::Pass,
            Err(_) => Would::Error,
        };
        self.series.shadow(would);
        if would != Would::Pass {
            let Exchange { trace, draft, .. } = exchange;
            trace.make().shadow(self.policy.plugin().name.clone(), would.name(), draft);
        }
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
            reason = exchange.draft.extras.read().failure.as_deref(),
            "policy in shadow mode would have acted"
        );
    }

    /// Logs each cause once, because a plugin that fails often would fill the log. What is asked on another
    /// clock does not serve.
    fn log(&mut self, failure: &Failure) {
        let plugin = self.policy.plugin();
        let policy = &*plugin.name;
        let bit = 1 << failure.cause as u32;
        if self.logged & bit == 0 && !plugin.clock.stands() {
            self.logged |= bit;
            tracing::error!(
                policy,
                cause = failure.cause.name(),
                detail = failure.detail,
                "policy failed; further failures of this cause are only counted"
            );
        }
    }

    /// Replaces a failed instance with the next one, if that is ready.
    fn refill(&mut self) {
        if self.slot.refill() {
            self.series.restart();
        } else if self.slot.has_failed() && !self.given_up {
            self.given_up = true;
            self.series.set_failed(true);
            let plugin = self.policy.plugin();
            if !plugin.clock.stands() {
                let policy = &*plugin.name;
                tracing::error!(policy, "policy failed permanently; only a reload restarts it");
            }
        }
        self.series.memory(self.slot.instance().map_or(0, |instance| instance.memory()));
    }
}
