//! Decides as Ocelot does for a site that is made for it, with its texts. See
//! `docs/policies/gazelle.md`.

use std::time::Duration;

use karuta_plugin::{
    Announce, AnnounceFilter, Context, Error, Event, Policy, Scrape, ScrapeFilter, Transport,
    Verdict, account, config, request,
    response::{self, Scope},
    sets,
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The beginnings of the peer ids that are let in; `None`: all.
    whitelist_from: Option<sets::Strings>,
    /// Whether an HTTP client must ask for compact peers.
    #[serde(default)]
    compact: bool,
    /// What the reasons of deletions mean: the first is that of 1. Reason 0 is none.
    #[serde(default = "reasons")]
    reasons: Vec<String>,
    /// How long a refused client is to wait.
    #[serde(default = "failure_interval")]
    failure_interval: config::Duration,
}

/// Those of Gazelle, which counts them from 0.
const REASONS: [&str; 23] = [
    "Dupe",
    "Trump",
    "Bad File Names",
    "Bad Folder Names",
    "Bad Tags",
    "Disallowed Format",
    "Discs Missing",
    "Discography",
    "Edited Log",
    "Inaccurate Bitrate",
    "Low Bitrate",
    "Mutt Rip",
    "Disallowed Source",
    "Encode Errors",
    "Specifically Banned",
    "Tracks Missing",
    "Transcode",
    "Unapproved Cassette",
    "Unsplit Album",
    "User Compilation",
    "Wrong Format",
    "Wrong Media",
    "Audience Recording",
];

fn reasons() -> Vec<String> {
    REASONS.map(str::to_owned).into()
}

fn failure_interval() -> config::Duration {
    config::Duration(Duration::from_mins(90))
}

/// How long verdicts are remembered. A change of the member or the torrent ends that.
const REMEMBERED: Duration = Duration::from_hours(1);

/// The attribute with the member's number, for later policies and for observers.
const MEMBER: &str = "member";

const NO_PASSKEY: &str = "Passkey not found";
const UNREGISTERED: &str = "Unregistered torrent";

struct Gazelle(Config);

/// Returns the member, unless it is unknown or disabled: those look alike.
fn member() -> Option<account::Member> {
    account::member().filter(account::Member::is_enabled)
}

/// Returns the torrent, unless nobody may announce it.
fn registered() -> Option<account::Torrent> {
    account::torrent().filter(|torrent| torrent.is_approved() && !torrent.is_deleted())
}

impl Gazelle {
    /// Returns why an announce of a member is refused.
    fn refusal(&self, member: account::Member, announce: &Announce) -> Option<String> {
        if registered().is_none() {
            return Some(self.unregistered());
        }
        let is_compact = || request::query_param("compact").is_some_and(|value| value == "1");
        if self.0.compact && announce.transport() != Transport::Udp && !is_compact() {
            return Some("Your client does not support compact announces".to_owned());
        }
        let is_listed = |list: sets::Strings| list.contains_beginning_of(&request::peer_id());
        if self.0.whitelist_from.is_some_and(|list| !is_listed(list)) {
            return Some("Your client is not on the whitelist".to_owned());
        }
        let may = member.may_leech() || announce.is_seeder();
        (!may).then(|| "Access denied, leeching forbidden".to_owned())
    }

    /// Says that a torrent is not registered, and why it was deleted.
    fn unregistered(&self) -> String {
        let deleted = account::torrent().filter(account::Torrent::is_deleted);
        let number = deleted.map_or(0, |torrent| torrent.reason() as usize);
        match number.checked_sub(1).and_then(|at| self.0.reasons.get(at)) {
            Some(reason) => format!("{UNREGISTERED}: {reason}"),
            None => UNREGISTERED.to_owned(),
        }
    }

    fn reject(&self, reason: &str) -> Verdict {
        response::set_retry_in(Some(self.0.failure_interval.0));
        response::reject(reason)
    }
}

impl Policy for Gazelle {
    type Config = Config;
    fn init(config: Config, _: &Context) -> Result<Self, Error> {
        Ok(Self(config))
    }
}

impl AnnounceFilter for Gazelle {
    fn on_announce(&mut self, announce: &Announce) -> Verdict {
        let member = member();
        if let Some(member) = &member {
            response::set_attribute(MEMBER, &member.id().to_string());
        }
        // A peer can always leave, and gets no peers.
        if announce.event() == Event::Stopped {
            return Verdict::Next;
        }
        // Verdicts on guessed passkeys would only be in the way of others.
        let Some(member) = member else { return self.reject(NO_PASSKEY) };
        let refusal = self.refusal(member, announce);
        if self.0.whitelist_from.is_none() && !self.0.compact {
            response::remember(Scope::CREDENTIAL | Scope::ROLE | Scope::EVENT, REMEMBERED);
        }
        refusal.map_or(Verdict::Next, |reason| self.reject(&reason))
    }
}

impl ScrapeFilter for Gazelle {
    fn on_scrape(&mut self, _: &Scrape) -> Verdict {
        if member().is_none() {
            return self.reject(NO_PASSKEY);
        }
        if registered().is_none() {
            response::hide();
        }
        Verdict::Next
    }
}

karuta_plugin::export!(Gazelle: announce, scrape);

#[cfg(test)]
mod tests {
    use karuta_plugin::account::{Marks, Rights};
    use karuta_plugin::testing::{self, Answer, Data, Member, Request, Torrent};

    use super::*;

    fn policy(config: &str) -> Gazelle {
        testing::init(config).unwrap()
    }

    /// A leecher of a member that may download, at a registered torrent.
    fn request() -> Request {
        let (member, torrent) = (Some(Member::default()), Some(Torrent::default()));
        Request { member, torrent, left: Some(1), ..Request::default() }
    }

    fn failure(answer: &Answer) -> &str {
        answer.failure.as_deref().unwrap_or_default()
    }

    fn deleted(reason: u32) -> Request {
        let marks = Marks::APPROVED | Marks::DELETED;
        Request { torrent: Some(Torrent { marks, reason, ..Torrent::default() }), ..request() }
    }

    #[test]
    fn requests_are_decided_with_the_texts_of_ocelot() {
        let member = |rights| Some(Member { rights, ..Member::default() });
        let (leech, enabled) = (Rights::LEECH, Rights::ENABLED);
        let unapproved = Torrent { marks: Marks::empty(), ..Torrent::default() };
        for (request, expected) in [
            (request(), ""),
            (Request { member: None, ..request() }, "Passkey not found"),
            (Request { member: member(leech), ..request() }, "Passkey not found"),
            (Request { torrent: None, ..request() }, "Unregistered torrent"),
            (Request { torrent: Some(unapproved), ..request() }, "Unregistered torrent"),
            (deleted(0), "Unregistered torrent"),
            (deleted(1), "Unregistered torrent: Dupe"),
            (deleted(23), "Unregistered torrent: Audience Recording"),
            (deleted(24), "Unregistered torrent"),
            (deleted(u32::MAX), "Unregistered torrent"),
            (Request { member: member(enabled), ..request() }, "Access denied, leeching forbidden"),
            (Request { member: member(enabled), left: Some(0), ..request() }, ""),
            (
                Request { member: member(enabled), left: None, ..request() },
                "Access denied, leeching forbidden",
            ),
        ] {
            let answer = request.announce(&mut policy("{}"));
            assert_eq!(failure(&answer), expected, "{request:?}");
            let wait = (!expected.is_empty()).then_some(Some(Duration::from_mins(90)));
            assert_eq!(answer.retry_in, wait);
            let left = Request { event: Event::Stopped, ..request }.announce(&mut policy("{}"));
            assert_eq!(failure(&left), "", "a peer can always leave");
        }
    }

    #[test]
    fn the_first_check_that_fails_in_the_order_of_ocelot_is_named() {
        testing::set_data("whitelist", Data::Strings(vec!["-qB".to_owned()]));
        let mut policy = policy(r#"{"whitelist_from": "whitelist", "compact": true}"#);
        let compact = |value: &str| vec![("compact".to_owned(), value.to_owned())];
        let seeder = Some(Member { rights: Rights::ENABLED, ..Member::default() });
        let all = Request { member: None, ..deleted(2) };
        let mut says = |request: &Request, expected| {
            assert_eq!(failure(&request.announce(&mut policy)), expected);
        };
        says(&all, "Passkey not found");
        let all = Request { member: seeder, ..all };
        says(&all, "Unregistered torrent: Trump");
        let all = Request { torrent: request().torrent, ..all };
        says(&all, "Your client does not support compact announces");
        says(
            &Request { query: compact("0"), ..all.clone() },
            "Your client does not support compact announces",
        );
        let all = Request { query: compact("1"), ..all };
        says(&all, "Your client is not on the whitelist");
        let all = Request { peer_id: *b"-qB4500-abcdefghijkl", ..all };
        says(&all, "Access denied, leeching forbidden");
        says(&Request { left: Some(0), ..all.clone() }, "");
        says(&Request { left: Some(0), transport: Transport::Udp, query: Vec::new(), ..all }, "");
    }

    #[test]
    fn beginnings_of_peer_ids_of_any_length_are_listed() {
        let listed = |list: &[&str], peer_id: &[u8; 20]| {
            let list = list.iter().map(|prefix| (*prefix).to_owned()).collect();
            testing::set_data("whitelist", Data::Strings(list));
            let mut policy = policy(r#"{"whitelist_from": "whitelist"}"#);
            let answer = Request { peer_id: *peer_id, ..request() }.announce(&mut policy);
            assert_eq!(answer.remember, None, "it depends on the whole peer id");
            failure(&answer).is_empty()
        };
        assert!(listed(&["-TR4050-abcdefghijkl"], b"-TR4050-abcdefghijkl"));
        assert!(!listed(&["-TR4050-abcdefghijkl"], b"-TR4050-abcdefghijkm"));
        assert!(listed(&["M"], b"M7-11-0-\xff\xfe\xfdghijklm!!"));
        assert!(!listed(&["-tr"], b"-TR4050-abcdefghijkl"));
        assert!(!listed(&[], b"-TR4050-abcdefghijkl"), "an empty list lets nobody in");
    }

    #[test]
    fn scrapes_need_a_passkey_and_know_registered_torrents() {
        let mut policy = policy("{}");
        let answer = request().scrape(&mut policy);
        assert_eq!((failure(&answer), answer.hidden), ("", false));
        assert!(deleted(1).scrape(&mut policy).hidden);
        assert!(Request { torrent: None, ..request() }.scrape(&mut policy).hidden);
        let answer = Request { member: None, ..request() }.scrape(&mut policy);
        assert_eq!(failure(&answer), "Passkey not found");
    }

    #[test]
    fn verdicts_on_members_are_remembered() {
        let mut policy = policy(r#"{"failure_interval": "1h", "reasons": ["Gone"]}"#);
        let scope = Scope::CREDENTIAL | Scope::ROLE | Scope::EVENT;
        let answer = deleted(1).announce(&mut policy);
        assert_eq!(failure(&answer), "Unregistered torrent: Gone");
        assert_eq!(answer.remember, Some((scope, REMEMBERED)));
        assert_eq!(answer.retry_in, Some(Some(Duration::from_hours(1))));
        assert_eq!(answer.attributes, [(MEMBER.to_owned(), "1".to_owned())]);
        let unknown = Request { member: None, ..request() }.announce(&mut policy);
        assert_eq!((unknown.remember, unknown.attributes.len()), (None, 0));
    }

    #[test]
    fn a_wrong_configuration_is_refused_with_path_and_reason() {
        for (config, message) in [
            (
                r#"{"whitelist": []}"#,
                "whitelist: unknown key, expected one of whitelist_from, compact, reasons, failure_interval",
            ),
            (
                r#"{"whitelist_from": "x"}"#,
                "whitelist_from: there is no data source `x`, expected one that `data` declares",
            ),
            (r#"{"reasons": "Dupe"}"#, "reasons: found a text, expected a list"),
        ] {
            assert_eq!(testing::init::<Gazelle>(config).err(), Some(message.into()));
        }
    }
}
