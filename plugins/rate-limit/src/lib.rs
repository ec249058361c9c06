//! Limits the rate of announces for each address, credential or torrent. See
//! `docs/policies/rate-limit.md`.

use std::time::Duration;

use karuta_plugin::{
    Announce, AnnounceFilter, Context, Error, Event, Policy, Verdict, clock, config, keyvalue, log,
    metrics::Counter, response,
};
use serde::Deserialize;

mod key;
mod window;

use key::{By, Prefixes};
use window::Window;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    by: By,
    #[serde(default = "whole_ipv4")]
    ipv4_prefix: u8,
    #[serde(default = "one_ipv6_network")]
    ipv6_prefix: u8,
    /// The maximum number of announces in one window.
    requests: u32,
    /// The length of a window.
    every: Every,
    /// The first announce of a window, by its number, whose answer has a warning.
    warn_from: Option<u32>,
}

fn whole_ipv4() -> u8 {
    32
}

fn one_ipv6_network() -> u8 {
    64
}

/// A whole number of seconds, from 1 s to 7 d.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "config::Duration")]
struct Every(u32);

impl TryFrom<config::Duration> for Every {
    type Error = &'static str;
    fn try_from(duration: config::Duration) -> Result<Self, &'static str> {
        match u32::try_from(duration.as_secs()) {
            Ok(seconds @ 1..=window::LONGEST) if duration.subsec_nanos() == 0 => Ok(Self(seconds)),
            _ => Err("must be whole seconds, from 1s to 7d"),
        }
    }
}

struct RateLimit {
    by: By,
    prefixes: Prefixes,
    requests: u32,
    every: u32,
    warn_from: u32,
    /// Announces that could not be counted because the storage is full.
    uncounted: Counter,
}

impl Policy for RateLimit {
    type Config = Config;
    fn init(config: Config, _: &Context) -> Result<Self, Error> {
        let Config { by, ipv4_prefix, ipv6_prefix, requests, every, warn_from } = config;
        let at_most = |key: &str, number: u8, most: u8| match number <= most {
            true => Ok(number),
            false => Err(Error::at(key, format!("must be 0 to {most}, is {number}"))),
        };
        let prefixes = Prefixes {
            ipv4: at_most("ipv4_prefix", ipv4_prefix, 32)?,
            ipv6: at_most("ipv6_prefix", ipv6_prefix, 128)?,
        };
        if requests == 0 {
            return Err(Error::at("requests", "must be 1 or more, is 0"));
        }
        if let Some(number) = warn_from.filter(|number| !(1..=requests).contains(number)) {
            let message = format!("must be from 1 to `requests`, is {number}");
            return Err(Error::at("warn_from", message));
        }
        let uncounted = Counter::new(
            "uncounted",
            "Announces that could not be counted because limits.storage is used up.",
        )?;
        let warn_from = warn_from.unwrap_or(u32::MAX);
        Ok(Self { by, prefixes, requests, every: every.0, warn_from, uncounted })
    }
}

impl AnnounceFilter for RateLimit {
    fn on_announce(&mut self, announce: &Announce) -> Verdict {
        // A peer can always leave, and gets no peers.
        if announce.event() == Event::Stopped {
            return Verdict::Next;
        }
        let key = self.by.key(announce, self.prefixes, self.every);
        let Window { start, count } = match self.count(&key) {
            Ok(window) => window,
            Err(error) => {
                log::debug!("cannot count announce: {error}");
                self.uncounted.add(1);
                // The count is unknown. Treat it as above the limit.
                Window { start: None, count: u64::MAX }
            }
        };
        if count > u64::from(self.requests) {
            return self.refuse(announce, start);
        }
        if count >= u64::from(self.warn_from) {
            let Self { requests, every, .. } = self;
            response::warn(&format!("announce {count} of {requests} within {every} s"));
        }
        Verdict::Next
    }
}

impl RateLimit {
    /// Counts an announce, over all workers.
    fn count(&self, key: &[u8]) -> Result<Window, Error> {
        let ttl = Some(Duration::from_secs(self.every.into()));
        let window = Window::read(keyvalue::increment(key, 1, ttl)?);
        if window.count == 1 {
            // This call opened the window: no other call returns 1.
            keyvalue::increment(key, Window::opened_at(now()), ttl)?;
        }
        Ok(window)
    }

    /// Rejects an announce. A completed download still counts in the swarm, but gets no peers.
    fn refuse(&self, announce: &Announce, start: Option<u64>) -> Verdict {
        if announce.event() == Event::Completed {
            response::set_num_want(0);
            return Verdict::Next;
        }
        let left = start.map_or(self.every, |start| window::left(start, self.every, now()));
        response::set_retry_in(Some(Duration::from_secs(left.into())));
        response::reject("too many announces")
    }
}

/// Returns the seconds since 1970.
fn now() -> u64 {
    clock::unix_time().as_secs()
}

karuta_plugin::export!(RateLimit: announce);

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use karuta_plugin::testing::{self, Answer, Request};

    use super::*;

    fn minutes(minutes: u64) -> Option<Option<Duration>> {
        Some(Some(Duration::from_mins(minutes)))
    }

    fn policy(config: &str) -> RateLimit {
        testing::init(config).unwrap()
    }

    fn from(address: &str) -> Request {
        Request { address: address.parse().unwrap(), ..Request::default() }
    }

    fn with(event: Event) -> Request {
        Request { event, ..Request::default() }
    }

    fn is_refused(answer: &Answer) -> bool {
        let refused = answer.verdict == Verdict::Reject;
        assert_eq!(answer.failure.as_deref(), refused.then_some("too many announces"));
        assert_eq!(answer.retry_in.is_some(), refused);
        assert!(refused || answer.verdict == Verdict::Next);
        assert_eq!(answer.remember, None, "each announce is counted");
        refused
    }

    /// Returns how many of 20 announces are admitted.
    fn admitted(policy: &mut RateLimit, request: &Request) -> usize {
        (0..20).filter(|_| !is_refused(&request.announce(policy))).count()
    }

    #[test]
    fn announces_up_to_the_limit_are_admitted_and_the_rest_rejected() {
        let mut policy = policy(r#"{"by": "address", "requests": 3, "every": "90s"}"#);
        assert_eq!(admitted(&mut policy, &from("192.0.2.1")), 3);
        assert_eq!(admitted(&mut policy, &from("192.0.2.2")), 3, "another client");
        let refused = from("192.0.2.1").announce(&mut policy);
        assert_eq!(refused.retry_in, minutes(2), "90 seconds are two minutes");
        assert_eq!(refused.warning, None);
        let mut other =
            testing::init::<RateLimit>(r#"{"by": "address", "requests": 4, "every": "90s"}"#)
                .unwrap();
        assert!(
            is_refused(&from("192.0.2.1").announce(&mut other)),
            "all instances count together"
        );
    }

    #[test]
    fn a_rejected_client_is_told_when_the_window_ends_and_admitted_then() {
        let at = |seconds| {
            testing::set_time(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        };
        let mut policy = policy(r#"{"requests": 2, "every": "1h"}"#);
        let request = from("192.0.2.1");
        let start = 1_800_000_000;
        at(start);
        assert!(!is_refused(&request.announce(&mut policy)));
        assert!(!is_refused(&request.announce(&mut policy)));
        for (seconds, left) in [(0, 60), (60, 59), (61, 59), (3540, 1), (3599, 1)] {
            at(start + seconds);
            let answer = request.announce(&mut policy);
            assert!(is_refused(&answer), "{seconds}");
            assert_eq!(answer.retry_in, minutes(left), "{seconds}");
        }
        at(start + 3600);
        assert_eq!(admitted(&mut policy, &request), 2, "rejected announces count no longer");
    }

    #[test]
    fn a_rule_with_another_window_starts_anew_and_the_same_rule_goes_on() {
        let counted = |config: &str| admitted(&mut policy(config), &from("192.0.2.0"));
        assert_eq!(counted(r#"{"requests": 3, "every": "1h"}"#), 3);
        assert_eq!(counted(r#"{"requests": 5, "every": "1h"}"#), 0, "23 are more than 5, too");
        assert_eq!(counted(r#"{"requests": 50, "every": "1h"}"#), 10, "40 were made before");
        assert_eq!(counted(r#"{"requests": 3, "every": "2s"}"#), 3, "another window");
        let wider = r#"{"requests": 3, "every": "2s", "ipv4_prefix": 24}"#;
        assert_eq!(counted(wider), 3, "other addresses count together");
    }

    #[test]
    fn a_client_refused_by_a_new_rule_is_told_the_end_of_its_window() {
        let mut old = policy(r#"{"requests": 1, "every": "1h"}"#);
        admitted(&mut old, &from("192.0.2.1"));
        let mut new = policy(r#"{"requests": 1, "every": "2m"}"#);
        admitted(&mut new, &from("192.0.2.1"));
        let answer = from("192.0.2.1").announce(&mut new);
        assert_eq!(answer.retry_in, minutes(2));
    }

    #[test]
    fn clients_near_the_limit_are_warned() {
        let config = r#"{"by": "address", "requests": 3, "every": "1m", "warn_from": 2}"#;
        let mut policy = policy(config);
        let mut said = || from("192.0.2.1").announce(&mut policy).warning;
        assert_eq!(said(), None);
        assert_eq!(said().as_deref(), Some("announce 2 of 3 within 60 s"));
        assert_eq!(said().as_deref(), Some("announce 3 of 3 within 60 s"));
        assert_eq!(said(), None, "refused");
    }

    #[test]
    fn stopped_is_admitted_and_not_counted() {
        let mut policy = policy(r#"{"by": "address", "requests": 1, "every": "1m"}"#);
        for _ in 0..5 {
            let answer = with(Event::Stopped).announce(&mut policy);
            assert!(!is_refused(&answer));
        }
        assert_eq!(admitted(&mut policy, &with(Event::None)), 1);
        assert!(!is_refused(&with(Event::Stopped).announce(&mut policy)));
    }

    #[test]
    fn completed_beyond_the_limit_is_admitted_without_peers() {
        let mut policy = policy(r#"{"by": "address", "requests": 2, "every": "1m"}"#);
        let completed = with(Event::Completed);
        assert_eq!(completed.announce(&mut policy).num_want, 50);
        assert_eq!(completed.announce(&mut policy).num_want, 50);
        let beyond = completed.announce(&mut policy);
        assert!(!is_refused(&beyond));
        assert_eq!((beyond.num_want, beyond.warning), (0, None));
        for event in [Event::None, Event::Started, Event::Paused] {
            assert!(is_refused(&with(event).announce(&mut policy)), "{event:?}");
        }
    }

    #[test]
    fn a_wrong_configuration_is_refused_with_path_and_reason() {
        let with = |more: &str| format!(r#"{{"by": "address", "requests": 8, {more}}}"#);
        let every = "must be whole seconds, from 1s to 7d";
        let cases = [
            ("null".into(), "missing key `requests`".into()),
            (
                r#"{"by": "peer"}"#.into(),
                "by: unknown value `peer`, expected one of address, credential, torrent, \
                 address-torrent"
                    .into(),
            ),
            (r#"{"by": "address", "requests": 8}"#.into(), "missing key `every`".into()),
            (with(r#""every": "0s""#), format!("every: {every}")),
            (with(r#""every": "8d""#), format!("every: {every}")),
            (with(r#""every": "1500ms""#), format!("every: {every}")),
            (with(r#""every": 60"#), "every: found the number `60`, expected a text".into()),
            (
                r#"{"by": "address", "requests": 0, "every": "1m"}"#.into(),
                "requests: must be 1 or more, is 0".into(),
            ),
            (
                r#"{"requests": 1.5}"#.into(),
                "requests: found the number `1.5`, expected a whole number from 0 to 4294967295"
                    .into(),
            ),
            (
                with(r#""every": "1m", "warn_from": 9"#),
                "warn_from: must be from 1 to `requests`, is 9".into(),
            ),
            (
                with(r#""every": "1m", "warn_from": 0"#),
                "warn_from: must be from 1 to `requests`, is 0".into(),
            ),
            (
                with(r#""every": "1m", "ipv4_prefix": 33"#),
                "ipv4_prefix: must be 0 to 32, is 33".into(),
            ),
            (
                with(r#""every": "1m", "ipv6_prefix": 129"#),
                "ipv6_prefix: must be 0 to 128, is 129".into(),
            ),
            (
                with(r#""burst": 1"#),
                "burst: unknown key, expected one of by, ipv4_prefix, ipv6_prefix, requests, \
                 every, warn_from"
                    .into(),
            ),
        ];
        for (config, message) in cases {
            let refused = testing::init::<RateLimit>(&config).err();
            assert_eq!(refused.map(String::from), Some(message), "{config}");
        }
        for more in [r#""every": "7d", "warn_from": 8"#, r#""every": "1s", "ipv4_prefix": 0"#] {
            assert!(testing::init::<RateLimit>(&with(more)).is_ok(), "{more}");
        }
    }
}
