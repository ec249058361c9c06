//! Approves or rejects torrents by info-hash. See `docs/policies/torrent-approval.md`.

use karuta_plugin::{
    Announce, AnnounceFilter, Context, Error, InfoHash, Policy, Scrape, ScrapeFilter, Verdict,
    lists::{Approval, List},
    response, sets,
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    allow: Vec<InfoHash>,
    #[serde(default)]
    deny: Vec<InfoHash>,
    allow_from: Option<sets::InfoHashes>,
    deny_from: Option<sets::InfoHashes>,
    #[serde(default)]
    scrapes: Scrapes,
}

/// How scrapes of unapproved torrents are answered.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Scrapes {
    /// With zeros.
    #[default]
    Hide,
    /// With a failure, for all info-hashes of the scrape.
    Reject,
    /// With the swarm's counts.
    Pass,
}

struct TorrentApproval {
    torrents: Approval<InfoHash, sets::InfoHashes>,
    scrapes: Scrapes,
}

impl TorrentApproval {
    fn approves(&self, info_hash: InfoHash) -> bool {
        self.torrents.approves(|list| list.contains(info_hash))
    }
}

fn reject() -> Verdict {
    response::reject("unapproved torrent")
}

impl Policy for TorrentApproval {
    type Config = Config;
    fn init(config: Config, _: &Context) -> Result<Self, Error> {
        let torrents = Approval {
            allow: List::new(config.allow, config.allow_from),
            deny: List::new(config.deny, config.deny_from),
        };
        Ok(Self { torrents, scrapes: config.scrapes })
    }
}

impl AnnounceFilter for TorrentApproval {
    fn on_announce(&mut self, announce: &Announce) -> Verdict {
        if self.approves(announce.info_hash()) { Verdict::Next } else { reject() }
    }
}

impl ScrapeFilter for TorrentApproval {
    fn on_scrape(&mut self, scrape: &Scrape) -> Verdict {
        match self.scrapes {
            Scrapes::Pass => Verdict::Next,
            _ if self.approves(scrape.info_hash()) => Verdict::Next,
            Scrapes::Hide => {
                response::hide();
                Verdict::Next
            }
            Scrapes::Reject => reject(),
        }
    }
}

karuta_plugin::export!(TorrentApproval: announce, scrape);

#[cfg(test)]
mod tests {
    use karuta_plugin::testing::{self, Answer, Data, Request};

    use super::*;

    const A: &str = "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3";
    const B: &str = "0000000000000000000000000000000000000000";
    const C: &str = "ffffffffffffffffffffffffffffffffffffffff";
    const D: &str = "a94a8fe5ccb19ba61c4c0873d391e987982fbbd4";

    fn policy(config: &str) -> TorrentApproval {
        testing::init(config).unwrap()
    }

    fn request(info_hash: &str) -> Request {
        Request { info_hash: info_hash.parse().unwrap(), ..Request::default() }
    }

    fn is_rejected(answer: &Answer) -> bool {
        let rejected = answer.verdict == Verdict::Reject;
        assert_eq!(answer.failure.as_deref(), rejected.then_some("unapproved torrent"));
        assert!(rejected || answer.verdict == Verdict::Next);
        rejected
    }

    fn admits(config: &str, info_hash: &str) -> bool {
        !is_rejected(&request(info_hash).announce(&mut policy(config)))
    }

    #[test]
    fn without_lists_every_torrent_is_approved() {
        for config in ["{}", "null", r#"{"allow": [], "deny": []}"#, r#"{"deny_from": null}"#] {
            assert!(admits(config, A), "{config}");
        }
    }

    #[test]
    fn an_allow_list_rejects_all_others() {
        let config = format!(r#"{{"allow": ["{C}", "{A}", "{B}"]}}"#);
        for hash in [A, B, C] {
            assert!(admits(&config, hash), "{hash}");
        }
        assert!(!admits(&config, D));
    }

    #[test]
    fn deny_takes_precedence_over_allow() {
        let config = format!(r#"{{"allow": ["{A}", "{B}"], "deny": ["{B}", "{C}"]}}"#);
        assert!(admits(&config, A));
        for hash in [B, C, D] {
            assert!(!admits(&config, hash), "{hash}");
        }
        let config = format!(r#"{{"deny": ["{B}"]}}"#);
        assert!(admits(&config, A) && !admits(&config, B));
    }

    fn set(name: &str, info_hashes: &[&str]) {
        let info_hashes = info_hashes.iter().map(|text| text.parse().unwrap());
        testing::set_data(name, Data::InfoHashes(info_hashes.collect()));
    }

    #[test]
    fn lists_and_data_sources_are_combined() {
        set("good", &[B]);
        set("bad", &[C]);
        let config = format!(
            r#"{{"allow": ["{A}", "{C}"], "allow_from": "good", "deny": ["{D}"], "deny_from": "bad"}}"#
        );
        assert!(admits(&config, A) && admits(&config, B));
        assert!(!admits(&config, C) && !admits(&config, D));
    }

    #[test]
    fn an_empty_allow_source_rejects_every_torrent() {
        set("good", &[]);
        let config = r#"{"allow_from": "good"}"#;
        assert!(!admits(config, A));
        let mut policy = policy(config);
        set("good", &[A]);
        assert!(!is_rejected(&request(A).announce(&mut policy)), "the set follows its source");
        set("bad", &[]);
        assert!(admits(r#"{"deny_from": "bad"}"#, A));
    }

    #[test]
    fn either_case_and_repetition_are_fine() {
        let config = format!(r#"{{"deny": ["{A}", "{}", "{A}"]}}"#, A.to_uppercase());
        assert!(!admits(&config, A) && admits(&config, D));
    }

    #[test]
    fn the_first_40_digits_of_a_v2_hash_count() {
        let config = format!(r#"{{"deny": ["{A}{}"]}}"#, "0123456789Ab".repeat(2));
        assert!(!admits(&config, A) && admits(&config, D));
    }

    #[test]
    fn a_scrape_of_an_unapproved_torrent_is_hidden_rejected_or_passed() {
        for (key, hidden, rejected) in [
            ("", true, false),
            (r#", "scrapes": "hide""#, true, false),
            (r#", "scrapes": "reject""#, false, true),
            (r#", "scrapes": "pass""#, false, false),
        ] {
            let mut policy = policy(&format!(r#"{{"deny": ["{A}"]{key}}}"#));
            let answer = request(A).scrape(&mut policy);
            assert_eq!((answer.hidden, is_rejected(&answer)), (hidden, rejected), "{key}");
            let answer = request(B).scrape(&mut policy);
            assert_eq!((answer.hidden, is_rejected(&answer)), (false, false), "{key}");
        }
    }

    #[test]
    fn a_wrong_configuration_is_refused_with_path_and_reason() {
        let cases = [
            (r#"{"allow": ["abc"]}"#, "allow[0]: must be 40 hexadecimal digits, or 64, is 3"),
            (
                r#"{"deny": ["a94a8fe5ccb19ba61c4c0873d391e987982fbbd3", "xyz"]}"#,
                "deny[1]: must be 40 hexadecimal digits, or 64, has 'x'",
            ),
            (r#"{"deny": [12]}"#, "deny[0]: found the number `12`, expected a text"),
            (r#"{"allow": {}}"#, "allow: found a mapping, expected a list"),
            (
                r#"{"scrapes": "drop"}"#,
                "scrapes: unknown value `drop`, expected one of hide, reject, pass",
            ),
            (r#"{"scrapes": true}"#, "scrapes: found `true`, expected a text"),
            (
                r#"{"blacklist": []}"#,
                "blacklist: unknown key, expected one of allow, deny, allow_from, deny_from, \
                 scrapes",
            ),
            (
                r#"{"allow_from": "approved"}"#,
                "allow_from: there is no data source `approved`, expected one that `data` declares",
            ),
            (
                r#"{"deny_from": "texts"}"#,
                "deny_from: the data source `texts` has the format strings, expected info-hashes",
            ),
        ];
        testing::set_data("texts", Data::Strings(Vec::new()));
        for (config, message) in cases {
            assert_eq!(testing::init::<TorrentApproval>(config).err(), Some(message.into()));
        }
    }
}
