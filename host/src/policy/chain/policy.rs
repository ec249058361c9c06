//! A policy of the configuration, and what becomes of what it decides.

use std::sync::Arc;
use std::time::Duration;

use karuta_bittorrent::http::Retry;
use karuta_bittorrent::{Event, Transport};

use crate::config::{Mode, OnError};
use crate::exchange::{Exchange, Request};
use crate::metrics::Hook;
use crate::policy::contract::Verdict;
use crate::policy::instance::Plugin;
use crate::policy::supply::Service;

/// What a client is told where a policy cannot decide.
const UNAVAILABLE: &str = "temporarily unavailable";
/// What a client is told where a policy rejects without a text.
const UNAPPROVED: &str = "unapproved request";

/// One policy of the configuration.
pub struct Policy {
    pub service: Arc<Service>,
    pub when: When,
    pub on_error: OnError,
    pub mode: Mode,
    /// How often its control instance ticks.
    pub tick: Duration,
    /// A change of its file is a reason to reload.
    pub watch: bool,
}

/// Why a policy is not asked about a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passed {
    NoHook,
    /// Its `when` leaves the request out.
    When,
    /// A policy before it has decided.
    Decided(Verdict),
}

/// Which requests a policy is asked about. An empty list means all.
#[derive(Clone, Default)]
pub struct When {
    pub transports: Vec<Transport>,
    /// Announces only: a scrape has no event, and is asked about.
    pub events: Vec<Event>,
    pub routes: Vec<u16>,
}

impl Policy {
    pub fn plugin(&self) -> &Arc<Plugin> {
        self.service.plugin()
    }

    /// Why it is not asked about a request; `None`: it is.
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
            exchange.answer.decided_by = Some(self.plugin().name.clone());
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
