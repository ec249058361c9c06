//! Approves or rejects clients by the first bytes of the peer id (BEP 20). See
//! `docs/policies/client-approval.md`.

use std::{cell::LazyCell, ops::Deref, time::Duration};

use karuta_plugin::{
    Announce, AnnounceFilter, Context, Error, Policy, Verdict,
    lists::{Approval, List},
    request, response,
    response::Scope,
    sets,
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    allow: Vec<Prefix>,
    #[serde(default)]
    deny: Vec<Prefix>,
    allow_from: Option<sets::Strings>,
    deny_from: Option<sets::Strings>,
}

/// A prefix of peer ids. The first 8 bytes of a peer id come with every announce. The others are
/// requested from the host only if those 8 match.
#[derive(PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct Prefix {
    head: u64,
    mask: u64,
    tail: Box<[u8]>,
}

impl TryFrom<String> for Prefix {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let bytes = text.as_bytes();
        if !(1..=20).contains(&bytes.len()) {
            return Err(format!("must be 1 to 20 bytes, is {}", bytes.len()));
        }
        let is_quoted = |quote| bytes.len() > 1 && text.starts_with(quote) && text.ends_with(quote);
        if text.ends_with(',') || ['"', '\'', '`'].into_iter().any(is_quoted) {
            return Err(format!(
                "`{text}` is in quotes or ends with a comma, so it would match no client"
            ));
        }
        let (head, tail) = bytes.split_at(bytes.len().min(8));
        let (mut value, mut mask) = ([0; 8], [0; 8]);
        value[..head.len()].copy_from_slice(head);
        mask[..head.len()].fill(0xff);
        Ok(Self {
            head: u64::from_be_bytes(value),
            mask: u64::from_be_bytes(mask),
            tail: tail.into(),
        })
    }
}

impl Prefix {
    fn matches(&self, client: u64, peer_id: &impl Deref<Target = [u8; 20]>) -> bool {
        client & self.mask == self.head
            && (self.tail.is_empty() || peer_id[8..].starts_with(&self.tail))
    }
}

struct ClientApproval {
    clients: Approval<Prefix, sets::Strings>,
    /// Whether the first 8 bytes of a peer id decide.
    by_head: bool,
}

/// How long the host may remember an approved client. It forgets all of them on a reload.
const LONG: Duration = Duration::from_hours(24);

impl Policy for ClientApproval {
    type Config = Config;
    fn init(config: Config, _: &Context) -> Result<Self, Error> {
        let by_head = config.allow_from.is_none()
            && config.deny_from.is_none()
            && config.allow.iter().chain(&config.deny).all(|prefix| prefix.tail.is_empty());
        let clients = Approval {
            allow: List::new(config.allow, config.allow_from),
            deny: List::new(config.deny, config.deny_from),
        };
        Ok(Self { clients, by_head })
    }
}

impl AnnounceFilter for ClientApproval {
    fn on_announce(&mut self, announce: &Announce) -> Verdict {
        let client = u64::from_be_bytes(announce.client());
        let peer_id = LazyCell::new(request::peer_id);
        let is_approved = self.clients.approves(|list| {
            list.any(
                |prefix| prefix.matches(client, &peer_id),
                |set| set.contains_beginning_of(&*peer_id),
            )
        });
        if !is_approved {
            return response::reject("unapproved client");
        }
        if self.by_head {
            response::remember(Scope::CLIENT, LONG);
        }
        Verdict::Next
    }
}

karuta_plugin::export!(ClientApproval: announce);

#[cfg(test)]
mod tests {
    use karuta_plugin::testing::{self, Answer, Data, Request};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn announce(config: &str, peer_id: &[u8; 20]) -> Answer {
        let mut policy: ClientApproval = testing::init(config).unwrap();
        Request { peer_id: *peer_id, ..Request::default() }.announce(&mut policy)
    }

    fn admits(config: &str, peer_id: &[u8; 20]) -> bool {
        let answer = announce(config, peer_id);
        match answer.verdict {
            Verdict::Next => assert_eq!(answer.failure, None),
            Verdict::Reject => assert_eq!(answer.failure.as_deref(), Some("unapproved client")),
            verdict => panic!("{verdict:?}"),
        }
        answer.verdict == Verdict::Next
    }

    #[test]
    fn without_lists_every_client_is_approved() {
        for config in ["{}", "null", r#"{"allow": [], "deny": []}"#, r#"{"allow_from": null}"#] {
            assert!(admits(config, b"-TR4050-abcdefghijkl"), "{config}");
            assert!(admits(config, &[0; 20]), "{config}");
        }
    }

    #[test]
    fn an_approved_client_is_remembered_if_its_first_bytes_decide() {
        for (config, remembered) in [
            (r#"{"allow": ["-TR", "-TR4050-"], "deny": ["-XL"]}"#, true),
            (r#"{"allow": ["-TR4050-a"]}"#, false),
            (r#"{"allow": ["-TR"], "deny": ["-XL4050-a"]}"#, false),
            (r#"{"allow": ["-XL"]}"#, false),
        ] {
            let answer = announce(config, b"-TR4050-abcdefghijkl");
            let expected = remembered.then_some((Scope::CLIENT, LONG));
            assert_eq!(answer.remember, expected, "{config}");
        }
        testing::set_data("list", Data::Strings(vec!["-XL".to_owned()]));
        let answer = announce(r#"{"deny_from": "list"}"#, b"-TR4050-abcdefghijkl");
        assert_eq!(answer.remember, None, "the list may have longer prefixes");
    }

    #[test]
    fn an_allow_list_rejects_all_others() {
        let config = r#"{"allow": ["-TR", "-qB4", "M"]}"#;
        assert!(admits(config, b"-TR4050-abcdefghijkl"));
        assert!(admits(config, b"-qB4500-abcdefghijkl"));
        assert!(admits(config, b"M7-11-0-abcdefghijkl"));
        assert!(!admits(config, b"-qB3300-abcdefghijkl"));
        assert!(!admits(config, b"-tr4050-abcdefghijkl"));
        assert!(!admits(config, b"T-R4050-abcdefghijkl"));
        assert!(!admits(config, &[0; 20]));
    }

    #[test]
    fn deny_takes_precedence_over_allow() {
        let config = r#"{"allow": ["-TR"], "deny": ["-TR2", "-XL"]}"#;
        assert!(admits(config, b"-TR4050-abcdefghijkl"));
        assert!(!admits(config, b"-TR2940-abcdefghijkl"));
        assert!(!admits(config, b"-XL0012-abcdefghijkl"));
        assert!(!admits(config, b"-qB4500-abcdefghijkl"));
        assert!(admits(r#"{"deny": ["-XL"]}"#, b"-qB4500-abcdefghijkl"));
    }

    #[test]
    fn prefixes_of_every_length_match_up_to_their_last_byte() {
        let peer_id = b"-TR4050-abcdefghijkl";
        for length in 1..=20 {
            let prefix = std::str::from_utf8(&peer_id[..length]).unwrap();
            let allow = format!(r#"{{"allow": ["{prefix}"]}}"#);
            let deny = format!(r#"{{"deny": ["-zz", "{prefix}"]}}"#);
            assert!(admits(&allow, peer_id), "{prefix}");
            assert!(!admits(&deny, peer_id), "{prefix}");
            let mut other = *peer_id;
            other[length - 1] ^= 1;
            assert!(!admits(&allow, &other), "{prefix}");
            assert!(admits(&deny, &other), "{prefix}");
            if length < 20 {
                let mut longer = *peer_id;
                longer[length] ^= 1;
                assert!(admits(&allow, &longer), "{prefix}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_prefix_matches_what_starts_with_it(
            prefixes in vec("[a-c]{1,20}", 1..20),
            peer_id in "[a-c]{20}",
        ) {
            let starts = prefixes.iter().any(|prefix| peer_id.starts_with(prefix));
            let bytes: &[u8; 20] = peer_id.as_bytes().try_into().unwrap();
            prop_assert_eq!(admits(&format!(r#"{{"allow": {prefixes:?}}}"#), bytes), starts);
            prop_assert_eq!(admits(&format!(r#"{{"deny": {prefixes:?}}}"#), bytes), !starts);
        }
    }

    #[test]
    fn lists_and_data_sources_are_combined() {
        let texts =
            |texts: &[&str]| Data::Strings(texts.iter().map(|text| (*text).into()).collect());
        testing::set_data("good", texts(&["-qB4", "-TR4050-abcdefghijkl", "é"]));
        testing::set_data("bad", texts(&["-qB45"]));
        let config = r#"{"allow": ["-lt"], "allow_from": "good", "deny_from": "bad"}"#;
        assert!(admits(config, b"-qB4400-abcdefghijkl"));
        assert!(!admits(config, b"-qB4500-abcdefghijkl"));
        assert!(admits(config, b"-TR4050-abcdefghijkl"));
        assert!(!admits(config, b"-TR4050-abcdefghijkm"));
        assert!(admits(config, b"-lt0D80-\xff\xfe\xfdghijklm!!"));
        assert!(admits(config, b"\xc3\xa9\xff45678-abcdefghijk"));
        assert!(!admits(config, b"\xc3\xff\xff45678-abcdefghijk"));
        testing::set_data("good", texts(&[]));
        assert!(!admits(r#"{"allow_from": "good"}"#, b"-TR4050-abcdefghijkl"));
    }

    #[test]
    fn a_prefix_is_the_bytes_of_its_text() {
        assert!(admits(r#"{"allow": ["é"]}"#, b"\xc3\xa9\xff45678-abcdefghijk"));
        assert!(admits(r#"{"allow": ["\u0000"]}"#, &[0; 20]));
        assert!(!admits(r#"{"allow": ["\u0000"]}"#, b"\x01234567-abcdefghijkl"));
    }

    #[test]
    fn a_wrong_configuration_is_refused_with_path_and_reason() {
        let cases = [
            (r#"{"allow": ["-TR", ""]}"#, "allow[1]: must be 1 to 20 bytes, is 0"),
            (
                r#"{"allow": ["-TR", "-TR4050-abcdefghijklm"]}"#,
                "allow[1]: must be 1 to 20 bytes, is 21",
            ),
            (r#"{"deny": ["ééééééééééé"]}"#, "deny[0]: must be 1 to 20 bytes, is 22"),
            (
                r#"{"deny": ["'-XL'"]}"#,
                "deny[0]: `'-XL'` is in quotes or ends with a comma, so it would match no client",
            ),
            (
                r#"{"deny": ["-XL,"]}"#,
                "deny[0]: `-XL,` is in quotes or ends with a comma, so it would match no client",
            ),
            (r#"{"deny": [4050]}"#, "deny[0]: found the number `4050`, expected a text"),
            (r#"{"deny": "-TR"}"#, "deny: found a text, expected a list"),
            (r#"{"allow": null}"#, "allow: found nothing, expected a list"),
            (
                r#"{"whitelist": ["-TR"]}"#,
                "whitelist: unknown key, expected one of allow, deny, allow_from, deny_from",
            ),
            (
                r#"{"deny_from": "bad"}"#,
                "deny_from: there is no data source `bad`, expected one that `data` declares",
            ),
        ];
        for (config, message) in cases {
            assert_eq!(testing::init::<ClientApproval>(config).err(), Some(message.into()));
        }
    }
}
