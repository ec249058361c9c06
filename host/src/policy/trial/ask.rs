//! The calls of a trial, and their results.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use karuta_swarm as swarm;
use serde_json::{Map, Value};

use super::Trial;
use super::web::Asked;
use crate::exchange::Exchange;
use crate::policy::chain::shown;
use crate::policy::contract::Verdict;
use crate::policy::instance::Failure;
use crate::policy::shared::outcome::Outcome;

/// A call to a plugin.
pub enum Question {
    Announce(Box<Exchange>),
    Scrape(Box<Exchange>),
    /// Ranks these peers for an announce.
    Rank(Box<Exchange>, Vec<swarm::Candidate>),
    /// Observes how announces ended.
    Observe(Vec<Ended>),
    /// Observes the same batch again, as after an error.
    ObserveAgain,
    Tick,
}

/// An announce, and the verdict on it.
pub struct Ended {
    /// Contains the answer that the policies have made.
    pub exchange: Box<Exchange>,
    pub verdict: Verdict,
}

/// The result of a call, with its effects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// `next`, `accept`, `reject` or `drop`; `None` if the call failed, or there is no such hook.
    pub verdict: Option<&'static str>,
    /// Why the call failed, the error of an observer or a tick, or why its publication was refused.
    pub error: Option<String>,
    /// The changes to the answer, by the names that `karuta explain` shows.
    pub changes: Map<String, Value>,
    pub label: Option<u64>,
    /// The names of the scope, and the time in seconds.
    pub remember: Option<(Vec<&'static str>, u64)>,
    /// The order of a ranker. An index without a peer is an `Err`.
    pub ranking: Option<Vec<Result<SocketAddr, u32>>>,
    /// What the control instance asked to publish, by name.
    pub published: BTreeMap<String, Vec<u8>>,
    /// The HTTP requests that it made.
    pub requests: Vec<Asked>,
}

/// The return value of a hook.
enum Returned {
    Verdict(Verdict),
    Order(Vec<u32>),
    Done(Result<(), String>),
}

impl Question {
    /// Returns the interface that a plugin must export. None is required for filters: a plugin
    /// without one lets every request pass.
    fn interface(&self) -> Option<&'static str> {
        match self {
            Self::Announce(_) | Self::Scrape(_) => None,
            Self::Rank(..) => Some("peer-ranker"),
            Self::Observe(_) | Self::ObserveAgain => Some("observer"),
            Self::Tick => Some("ticker"),
        }
    }

    fn exchange(&mut self) -> Option<&mut Box<Exchange>> {
        match self {
            Self::Announce(exchange) | Self::Scrape(exchange) | Self::Rank(exchange, _) => {
                Some(exchange)
            }
            Self::Observe(_) | Self::ObserveAgain | Self::Tick => None,
        }
    }
}

impl Trial {
    /// Makes a call. After a call that failed, the next one gets another instance, by the rules of
    /// the tracker.
    ///
    /// # Errors
    ///
    /// Fails if the other instance cannot be created, or not yet, or if the plugin exports no such
    /// hook.
    pub fn ask(&mut self, question: &mut Question) -> Result<Said, String> {
        if self.poisoned {
            self.renew()?;
        }
        self.prepare(question)?;
        let mut said = Said::default();
        match (self.call(question), question.interface()) {
            (None, None) => {}
            (None, Some(interface)) => return Err(format!("it exports no {interface}")),
            (Some(Ok(returned)), _) => self.settle(question, returned, &mut said)?,
            (Some(Err(failure)), _) => {
                said.error = Some(failure.to_string());
                self.poisoned = true;
            }
        }
        if let Some(exchange) = question.exchange() {
            exchange.discard();
        }
        said.requests = self.web.take_asked();
        Ok(said)
    }

    /// Returns how long one call takes; `None` if it failed or there is no such hook. Publishes
    /// nothing.
    pub fn time(&mut self, question: &mut Question) -> Option<Duration> {
        self.prepare(question).ok()?;
        let start = Instant::now();
        let result = self.call(question);
        let took = start.elapsed();
        match question.exchange() {
            Some(exchange) => exchange.discard(),
            None => {
                self.web.take_asked();
                self.control.as_mut()?.forget_staged();
            }
        }
        match result?.ok()? {
            Returned::Done(result) => result.is_ok().then_some(took),
            Returned::Verdict(_) | Returned::Order(_) => Some(took),
        }
    }

    /// Returns the fuel that one call takes, on an engine that counts it; `None` as for
    /// [`Trial::time`].
    pub fn fuel(&mut self, question: &mut Question) -> Option<u64> {
        let is_control = question.exchange().is_none();
        let left = |trial: &Self| match is_control {
            true => trial.control.as_ref()?.fuel(),
            false => trial.instance.fuel(),
        };
        let before = left(self)?;
        self.time(question)?;
        Some(before - left(self)?)
    }

    /// Stamps the question with the current time, and prepares the instance for it.
    fn prepare(&mut self, question: &mut Question) -> Result<(), String> {
        let now = self.plugin.clock.now();
        if question.exchange().is_none()
            && let Some(control) = &mut self.control
        {
            control.freshen(now)?;
            if !control.has_instance() {
                return Err(match control.pause(now) {
                    Some(pause) => format!(
                        "its control instance failed and restarts in {} ms; move the clock \
                         with `after`",
                        pause.as_millis()
                    ),
                    None => "its control instance has failed for good".to_owned(),
                });
            }
        }
        match question {
            Question::Announce(exchange)
            | Question::Scrape(exchange)
            | Question::Rank(exchange, _) => exchange.begin(now, false),
            Question::Observe(list) => {
                self.last.clear();
                let unix_ms = u64::try_from(self.plugin.clock.unix().as_millis());
                let rules = &self.plugin.identity.credential;
                self.ended.extend(list.iter_mut().map(|Ended { exchange, verdict }| {
                    exchange.begin(now, false);
                    let mut outcome = Outcome::new(exchange, rules, *verdict);
                    outcome.unix_ms = *unix_ms.as_ref().unwrap_or(&u64::MAX);
                    outcome
                }));
            }
            Question::ObserveAgain => {
                if let Some(control) = &mut self.control {
                    control.restore(self.last.clone(), now);
                }
            }
            Question::Tick => {}
        }
        Ok(())
    }

    /// Calls the hook; returns `None` if there is none.
    fn call(&mut self, question: &mut Question) -> Option<Result<Returned, Failure>> {
        let now = self.plugin.clock.now();
        match question {
            Question::Announce(exchange) => {
                Some(self.instance.announce(exchange)?.map(Returned::Verdict))
            }
            Question::Scrape(exchange) => {
                Some(self.instance.scrape(exchange)?.map(Returned::Verdict))
            }
            Question::Rank(exchange, peers) => {
                Some(self.instance.rank(exchange, peers)?.map(Returned::Order))
            }
            Question::Observe(_) => {
                let (control, mut result) = (self.control.as_mut()?, Ok(()));
                for outcome in self.ended.drain(..) {
                    if control.is_full() {
                        self.last.extend_from_slice(control.batch());
                        result = result.and(control.observe(now)?);
                    }
                    control.enter(Box::new(outcome), now);
                }
                self.last.extend_from_slice(control.batch());
                result = result.and(control.observe(now)?);
                Some(Ok(Returned::Done(result)))
            }
            Question::ObserveAgain => {
                Some(Ok(Returned::Done(self.control.as_mut()?.observe(now)?)))
            }
            Question::Tick => Some(Ok(Returned::Done(self.control.as_mut()?.tick(now)?))),
        }
    }

    /// Records what a call returned and changed, and publishes what it asked to publish.
    fn settle(
        &mut self,
        question: &Question,
        returned: Returned,
        said: &mut Said,
    ) -> Result<(), String> {
        match (returned, question) {
            (
                Returned::Verdict(verdict),
                Question::Announce(exchange) | Question::Scrape(exchange),
            ) => {
                said.verdict = Some(shown::label(verdict).name());
                said.changes = shown::changes(&exchange.draft);
                said.label = exchange.draft.locality.map(|at| at.label);
                let remember = self.instance.remember();
                said.remember =
                    remember.map(|(scope, time, _)| (shown::names(scope), time.as_secs()));
            }
            (Returned::Order(order), Question::Rank(_, peers)) => {
                let peer = |index: u32| peers.get(index as usize).map(|at| at.peer).ok_or(index);
                said.ranking = Some(order.into_iter().map(peer).collect());
            }
            (Returned::Done(result), _) => {
                said.error = result.err();
                self.publish(said)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Publishes what the control instance has asked to publish, at the earliest time allowed.
    fn publish(&mut self, said: &mut Said) -> Result<(), String> {
        let Some(control) = &mut self.control else { return Ok(()) };
        let blobs = control.staged().iter().map(|(name, bytes)| (name.to_string(), bytes.to_vec()));
        said.published = blobs.collect();
        let now = self.plugin.clock.now();
        match control.publish(control.rests_until(now)) {
            None => Ok(()),
            Some(Ok(())) => self.renew(),
            Some(Err(reason)) => {
                said.error.get_or_insert(format!("what was published is refused: {reason}"));
                Ok(())
            }
        }
    }
}
