//! Admits the members of a private tracker by their passkeys. See `docs/policies/passkey.md`.

use std::time::Duration;

use karuta_plugin::{
    Announce, AnnounceFilter, Context, DataSink, Error, Event, Policy, Scrape, ScrapeFilter,
    Verdict, account, request,
    response::{self, Scope},
    sets,
};
use serde::Deserialize;

mod members;

use members::{Member, Members};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The raw data source with the members.
    users_from: Option<sets::Raw>,
    /// The strings that are passkeys of members without a number, who may do everything.
    keys_from: Option<sets::Strings>,
    /// Whether the members and the torrents are those of the tracker's accounts.
    #[serde(default)]
    accounts: bool,
    /// Whether a scrape needs a passkey.
    #[serde(default = "yes")]
    scrapes: bool,
}

fn yes() -> bool {
    true
}

/// How long verdicts on members are remembered. A new list of members clears them at once.
const REMEMBERED: Duration = Duration::from_hours(1);

/// The attribute with the member's number, for later policies and for observers.
const MEMBER: &str = "member";

struct Passkey {
    config: Config,
    members: Members,
}

impl Passkey {
    /// Returns the member whose passkey the request carries.
    fn member(&self) -> Result<Member, &'static str> {
        if self.config.accounts
            && let Some(member) = account::member()
        {
            let (enabled, leech) = (member.is_enabled(), member.may_leech());
            return Ok(Member { id: Some(member.id()), enabled, leech });
        }
        let passkey = request::credential().ok_or("missing passkey")?;
        let listed = || self.config.keys_from?.contains(&passkey).then_some(Member::NAMELESS);
        self.members.find(&passkey).or_else(listed).ok_or("unknown passkey")
    }

    /// Returns why nobody may announce the torrent, if the accounts say so.
    fn unregistered(&self) -> Option<&'static str> {
        match account::torrent().filter(|torrent| !torrent.is_deleted()) {
            _ if !self.config.accounts => None,
            Some(torrent) if torrent.is_approved() => None,
            Some(_) => Some("torrent not approved"),
            None => Some("unregistered torrent"),
        }
    }
}

impl Policy for Passkey {
    type Config = Config;
    fn init(config: Config, _: &Context) -> Result<Self, Error> {
        if config.users_from.is_none() && config.keys_from.is_none() && !config.accounts {
            return Err(Error::new("expected `users_from`, `keys_from`, or `accounts: true`"));
        }
        Ok(Self { config, members: Members::default() })
    }
}

impl DataSink for Passkey {
    fn on_data(&mut self, name: &str, _: u64, data: &[u8]) -> Result<(), Error> {
        if self.config.users_from.as_ref().is_some_and(|users| users.name() == name) {
            self.members = Members::read(data)?;
        }
        Ok(())
    }
}

impl AnnounceFilter for Passkey {
    fn on_announce(&mut self, announce: &Announce) -> Verdict {
        let member = self.member();
        if let Ok(Member { id: Some(id), .. }) = member {
            response::set_attribute(MEMBER, &id.to_string());
        }
        let refusal = match member {
            // A peer can always leave, and gets no peers.
            _ if announce.event() == Event::Stopped => None,
            Err(reason) => Some(reason),
            Ok(member) if !member.enabled => Some("account disabled"),
            Ok(member) if !member.leech && !announce.is_seeder() => Some("leeching not allowed"),
            Ok(_) => self.unregistered(),
        };
        if member.is_ok() {
            // Verdicts on guessed passkeys would only fill the cache.
            response::remember(Scope::CREDENTIAL | Scope::ROLE | Scope::EVENT, REMEMBERED);
        }
        refusal.map_or(Verdict::Next, response::reject)
    }
}

impl ScrapeFilter for Passkey {
    fn on_scrape(&mut self, _: &Scrape) -> Verdict {
        if !self.config.scrapes {
            return Verdict::Next;
        }
        let refusal = match self.member() {
            Err(reason) => return response::reject(reason),
            Ok(member) => (!member.enabled).then_some("account disabled"),
        };
        response::remember(Scope::CREDENTIAL, REMEMBERED);
        refusal.map_or(Verdict::Next, response::reject)
    }
}

karuta_plugin::export!(Passkey: announce, scrape, data);

#[cfg(test)]
mod tests {
    use karuta_plugin::account::{Marks, Rights};
    use karuta_plugin::testing::{self, Answer, Data, Request};

    use super::*;

    const USERS: &str = r#"
{"passkey": "full", "id": 7}
{"passkey": "seeder", "id": 8, "leech": false}
{"passkey": "banned", "id": 9, "enabled": false}
{"passkey": "nameless", "enabled": true, "leech": true}
"#;

    fn policy(config: &str) -> Passkey {
        testing::set_data("users", Data::Raw);
        testing::init(config).unwrap()
    }

    fn members() -> Passkey {
        let mut policy = policy(r#"{"users_from": "users"}"#);
        policy.on_data("users", 1, USERS.as_bytes()).unwrap();
        policy
    }

    fn showing(passkey: &str) -> Request {
        Request { credential: Some(passkey.into()), ..Request::default() }
    }

    /// Returns why a request is rejected.
    fn refusal(answer: &Answer) -> Option<&str> {
        let refused = answer.verdict == Verdict::Reject;
        assert_eq!(answer.failure.is_some(), refused);
        assert!(refused || answer.verdict == Verdict::Next);
        answer.failure.as_deref()
    }

    #[test]
    fn members_are_admitted_within_their_rights() {
        let mut policy = members();
        for (passkey, leeching, seeding) in [
            ("full", None, None),
            ("nameless", None, None),
            ("seeder", Some("leeching not allowed"), None),
            ("banned", Some("account disabled"), Some("account disabled")),
            ("unknown", Some("unknown passkey"), Some("unknown passkey")),
            ("FULL", Some("unknown passkey"), Some("unknown passkey")),
            ("ful", Some("unknown passkey"), Some("unknown passkey")),
        ] {
            for event in [Event::None, Event::Started, Event::Completed, Event::Paused] {
                let mut request = Request { event, left: Some(1), ..showing(passkey) };
                let answer = request.announce(&mut policy);
                assert_eq!(refusal(&answer), leeching, "{passkey} {event:?}");
                request.left = Some(0);
                let answer = request.announce(&mut policy);
                assert_eq!(refusal(&answer), seeding, "{passkey} {event:?}");
            }
        }
        let anonymous = Request::default().announce(&mut policy);
        assert_eq!(refusal(&anonymous), Some("missing passkey"));
        let unsaid = Request { left: None, ..showing("seeder") }.announce(&mut policy);
        assert_eq!(refusal(&unsaid), Some("leeching not allowed"));
    }

    #[test]
    fn a_listed_key_is_a_member_with_all_rights() {
        testing::set_data("keys", Data::Strings(vec!["listed".into(), "banned".into()]));
        let mut both = policy(r#"{"users_from": "users", "keys_from": "keys"}"#);
        both.on_data("users", 1, USERS.as_bytes()).unwrap();
        for (passkey, expected) in [
            ("full", None),
            ("listed", None),
            ("banned", Some("account disabled")),
            ("unknown", Some("unknown passkey")),
        ] {
            let request = Request { left: Some(1), ..showing(passkey) };
            let answer = request.announce(&mut both);
            assert_eq!(refusal(&answer), expected, "{passkey}");
            assert_eq!(refusal(&request.scrape(&mut both)), expected, "{passkey}");
        }
        let answer = showing("listed").announce(&mut both);
        assert!(answer.attributes.is_empty() && answer.remember.is_some());
        let mut alone = policy(r#"{"keys_from": "keys"}"#);
        assert_eq!(refusal(&showing("listed").announce(&mut alone)), None);
        let answer = showing("full").announce(&mut alone);
        assert_eq!(refusal(&answer), Some("unknown passkey"));
    }

    #[test]
    fn members_and_torrents_are_those_of_the_accounts() {
        let mut policy = policy(r#"{"accounts": true}"#);
        let member = |id, rights| Some(testing::Member { id, rights, ..Default::default() });
        let torrent = |marks| Some(testing::Torrent { marks, ..Default::default() });
        let (banned, seeder) = (Rights::LEECH, Rights::ENABLED);
        let full = Rights::ENABLED | Rights::LEECH;
        let approved = Marks::APPROVED;
        let deleted = Marks::APPROVED | Marks::DELETED;
        for (member, torrent, expected) in [
            (member(7, full), torrent(approved), None),
            (member(7, banned), torrent(approved), Some("account disabled")),
            (member(7, seeder), torrent(approved), Some("leeching not allowed")),
            (member(7, full), None, Some("unregistered torrent")),
            (member(7, full), torrent(deleted), Some("unregistered torrent")),
            (member(7, full), torrent(Marks::empty()), Some("torrent not approved")),
            (None, torrent(approved), Some("unknown passkey")),
        ] {
            let request = Request { member, torrent, left: Some(1), ..showing("any") };
            assert_eq!(refusal(&request.announce(&mut policy)), expected);
        }
        let request = Request { member: member(7, full), ..Request::default() };
        let answer = request.announce(&mut policy);
        assert_eq!(answer.attributes, [(MEMBER.to_owned(), "7".to_owned())]);
        assert_eq!(refusal(&request.scrape(&mut policy)), None);
        let anonymous = Request::default().announce(&mut policy);
        assert_eq!(refusal(&anonymous), Some("missing passkey"));
    }

    #[test]
    fn stopped_is_always_admitted() {
        let mut policy = members();
        for passkey in ["full", "seeder", "banned", "unknown"] {
            let request = Request { event: Event::Stopped, ..showing(passkey) };
            assert_eq!(refusal(&request.announce(&mut policy)), None, "{passkey}");
        }
        let anonymous = Request { event: Event::Stopped, ..Request::default() };
        assert_eq!(refusal(&anonymous.announce(&mut policy)), None);
    }

    #[test]
    fn scrapes_need_a_passkey_unless_they_are_open() {
        let mut closed = members();
        let mut open = policy(r#"{"users_from": "users", "scrapes": false}"#);
        open.on_data("users", 1, USERS.as_bytes()).unwrap();
        for (request, expected) in [
            (showing("full"), None),
            (showing("seeder"), None),
            (showing("banned"), Some("account disabled")),
            (showing("unknown"), Some("unknown passkey")),
            (Request::default(), Some("missing passkey")),
        ] {
            assert_eq!(refusal(&request.scrape(&mut closed)), expected, "{request:?}");
            assert_eq!(refusal(&request.scrape(&mut open)), None, "{request:?}");
        }
    }

    #[test]
    fn verdicts_on_members_are_remembered_by_all_that_they_depend_on() {
        let mut policy = members();
        let scope = Scope::CREDENTIAL | Scope::ROLE | Scope::EVENT;
        for passkey in ["full", "seeder", "banned"] {
            let answer = showing(passkey).announce(&mut policy);
            assert_eq!(answer.remember, Some((scope, REMEMBERED)), "{passkey}");
            let answer = showing(passkey).scrape(&mut policy);
            assert_eq!(answer.remember, Some((Scope::CREDENTIAL, REMEMBERED)), "{passkey}");
        }
        for request in [showing("unknown"), Request::default()] {
            assert_eq!(request.announce(&mut policy).remember, None);
            assert_eq!(request.scrape(&mut policy).remember, None);
        }
    }

    #[test]
    fn the_member_number_is_set_as_an_attribute() {
        let mut policy = members();
        let mut attributes = |request: Request| request.announce(&mut policy).attributes;
        let number = |id: &str| vec![(MEMBER.to_owned(), id.to_owned())];
        assert_eq!(attributes(showing("full")), number("7"));
        assert_eq!(attributes(showing("banned")), number("9"));
        let stopped = Request { event: Event::Stopped, ..showing("seeder") };
        assert_eq!(attributes(stopped), number("8"));
        assert_eq!(attributes(showing("nameless")), []);
        assert_eq!(attributes(showing("unknown")), []);
    }

    #[test]
    fn without_a_list_every_passkey_is_unknown() {
        let mut policy = policy(r#"{"users_from": "users"}"#);
        let answer = showing("full").announce(&mut policy);
        assert_eq!(refusal(&answer), Some("unknown passkey"));
        policy.on_data("other", 1, USERS.as_bytes()).unwrap();
        let answer = showing("full").announce(&mut policy);
        assert_eq!(refusal(&answer), Some("unknown passkey"), "another source");
    }

    #[test]
    fn a_wrong_configuration_is_refused_with_path_and_reason() {
        testing::set_data("users", Data::Raw);
        testing::set_data("texts", Data::Strings(Vec::new()));
        let cases = [
            ("null", "expected `users_from`, `keys_from`, or `accounts: true`"),
            (
                r#"{"keys_from": "users"}"#,
                "keys_from: the data source `users` has the format raw, expected strings",
            ),
            (r#"{"users_from": ["users"]}"#, "users_from: found a list, expected a text"),
            (
                r#"{"users_from": "members"}"#,
                "users_from: there is no data source `members`, expected one that `data` declares",
            ),
            (
                r#"{"users_from": "texts"}"#,
                "users_from: the data source `texts` has the format strings, expected raw",
            ),
            (
                r#"{"users_from": "users", "scrapes": "hide"}"#,
                "scrapes: found a text, expected true or false",
            ),
            (
                r#"{"users": []}"#,
                "users: unknown key, expected one of users_from, keys_from, accounts, scrapes",
            ),
        ];
        for (config, message) in cases {
            assert_eq!(testing::init::<Passkey>(config).err(), Some(message.into()));
        }
    }
}
