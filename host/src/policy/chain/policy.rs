//! A configured policy, and how its decisions take effect.

use std::sync::Arc;
use std::time::Duration;

use karuta_bittorrent::http::Retry;
use karuta_bittorrent::{Event, Transport};

use crate::config::{Mode, OnError};
use crate::exchange::{Exchange, Request, Ruling};
use crate::metrics::Hook;
use crate::policy::contract::Verdict;
use crate::policy::instance::Plugin;
use crate::policy::supply::Service;

/// The failure reason when a policy cannot decide.
const UNAVAILABLE: &str = "temporarily unavailable";
/// The failure reason when a policy rejects without a text.
const UNAPPROVED: &str = "unapproved request";

/// A policy of the configuration.
pub struct Policy {
    pub service: Arc<Service>,
    pub when: When,
    pub on_error: OnError,
    pub mode: Mode,
    /// The tick interval of its control instance.
    pub tick: Duration,
    /// Whether a change of its file triggers a reload.
    pub watch: bool,
}

/// Why a policy is not called for a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passed {
    NoHook,
    /// Its `when` does not match.
    When,
    /// An earlier policy has decided.
    Decided(Ruling),
}

/// The requests that a policy is called for. An empty list means all.
#[derive(Clone, Default)]
pub struct When {
    pub transports: Vec<Transport>,
    /// For announces only. A scrape has no event, and always matches.
    pub events: Vec<Event>,
    pub routes: Vec<u16>,
}

impl Policy {
    pub fn plugin(&self) -> &Arc<Plugin> {
        self.service.plugin()
    }

    /// Returns why the policy is not called for a request, or `None` if it is.
    pub fn passes(&self, exchange: &Exchange, hook: Hook) -> Option<Passed> {
        let scrape = hook == Hook::Scrape;
        let event = (!scrape).then_some(exchange.request.announce.event);
        if !self.plugin().code.hooks.has(hook) {
            Some(Passed::NoHook)
        } else if !self.when.covers(&exchange.request, event) {
            Some(Passed::When)
        } else {
            None
        }
    }

    /// Applies the policy's decision with its changes, or `on_error` if the policy failed. Returns
    /// the verdict.
    pub fn settle(&self, exchange: &mut Exchange, decision: Option<Verdict>) -> Verdict {
        let verdict = match decision {
            Some(verdict) => {
                exchange.commit();
                verdict
            }
            None => self.on_error(exchange),
        };
        if verdict != Verdict::Next {
            exchange.answer.decided_by = Some(self.plugin().name.clone());
        }
        if verdict == Verdict::Reject {
            let failure = &mut exchange.answer.extras.make().failure;
            failure.get_or_insert_with(|| UNAPPROVED.to_owned());
        }
        verdict
    }

    /// Returns the verdict of `on_error`.
    fn on_error(&self, exchange: &mut Exchange) -> Verdict {
        match self.on_error {
            OnError::Next => Verdict::Next,
            OnError::Drop => Verdict::Drop,
            OnError::Reject => {
                exchange.answer.fail(UNAVAILABLE, Retry::Minutes(1));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_when_covers_its_transports_events_and_routes() {
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
