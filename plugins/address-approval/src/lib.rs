//! Approves or rejects clients by the address that they ask from. See
//! `docs/policies/address-approval.md`.

use karuta_plugin::{
    Announce, AnnounceFilter, Context, Error, Network, Policy, Scrape, ScrapeFilter, Verdict,
    lists::{Approval, List},
    request, response, sets,
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    allow: Vec<Network>,
    #[serde(default)]
    deny: Vec<Network>,
    allow_from: Option<sets::Addresses>,
    deny_from: Option<sets::Addresses>,
    #[serde(default)]
    scrapes: Scrapes,
}

/// How scrapes from unapproved addresses are answered.
#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Scrapes {
    /// With a failure.
    #[default]
    Reject,
    /// With the swarm's counts.
    Pass,
}

struct AddressApproval {
    addresses: Approval<Network, sets::Addresses>,
    scrapes: Scrapes,
}

impl AddressApproval {
    /// Decides by the address of the client that asks, never by one that the client chose.
    fn judge(&self) -> Verdict {
        let address = request::client_address();
        if !self.addresses.approves(|list| list.contains(address)) {
            return response::reject("unapproved address");
        }
        Verdict::Next
    }
}

impl Policy for AddressApproval {
    type Config = Config;
    fn init(config: Config, _: &Context) -> Result<Self, Error> {
        let addresses = Approval {
            allow: List::new(config.allow, config.allow_from),
            deny: List::new(config.deny, config.deny_from),
        };
        Ok(Self { addresses, scrapes: config.scrapes })
    }
}

impl AnnounceFilter for AddressApproval {
    fn on_announce(&mut self, _: &Announce) -> Verdict {
        self.judge()
    }
}

impl ScrapeFilter for AddressApproval {
    fn on_scrape(&mut self, _: &Scrape) -> Verdict {
        match self.scrapes {
            Scrapes::Pass => Verdict::Next,
            Scrapes::Reject => self.judge(),
        }
    }
}

karuta_plugin::export!(AddressApproval: announce, scrape);

#[cfg(test)]
mod tests {
    use karuta_plugin::testing::{self, Answer, Data, Request};

    use super::*;

    fn from(address: &str) -> Request {
        Request { address: address.parse().unwrap(), ..Request::default() }
    }

    fn is_rejected(answer: &Answer) -> bool {
        let rejected = answer.verdict == Verdict::Reject;
        assert_eq!(answer.failure.as_deref(), rejected.then_some("unapproved address"));
        assert!(rejected || answer.verdict == Verdict::Next);
        rejected
    }

    fn admits(config: &str, address: &str) -> bool {
        let mut policy: AddressApproval = testing::init(config).unwrap();
        !is_rejected(&from(address).announce(&mut policy))
    }

    #[test]
    fn without_lists_every_client_is_approved() {
        for config in ["{}", r#"{"allow": [], "deny": []}"#, r#"{"allow_from": null}"#] {
            assert!(admits(config, "192.0.2.1") && admits(config, "2001:db8::1"), "{config}");
        }
    }

    #[test]
    fn an_allow_list_rejects_all_others() {
        let config = r#"{"allow": ["10.1.2.3/8", "192.0.2.1", "2001:db8::/32"]}"#;
        for address in ["10.255.0.1", "192.0.2.1", "2001:db8:ffff::"] {
            assert!(admits(config, address), "{address}");
        }
        for address in ["11.0.0.0", "192.0.2.2", "2001:db9::", "::1"] {
            assert!(!admits(config, address), "{address}");
        }
    }

    #[test]
    fn deny_takes_precedence_over_allow() {
        let config = r#"{"allow": ["10.0.0.0/8"], "deny": ["10.1.0.0/16"]}"#;
        assert!(admits(config, "10.2.0.1") && !admits(config, "10.1.0.1"));
        assert!(!admits(config, "192.0.2.1"));
    }

    #[test]
    fn a_range_of_one_family_contains_no_address_of_the_other() {
        assert!(!admits(r#"{"allow": ["::/0"]}"#, "192.0.2.1"));
        assert!(admits(r#"{"deny": ["::/0"]}"#, "192.0.2.1"));
        assert!(!admits(r#"{"deny": ["::/0"]}"#, "2001:db8::1"));
        assert!(admits(r#"{"deny": ["0.0.0.0/0"]}"#, "2001:db8::1"));
    }

    #[test]
    fn ipv4_may_be_written_as_ipv6() {
        let deny = r#"{"deny": ["::ffff:203.0.113.0/120", "::ffff:192.0.2.1"]}"#;
        for (address, is_in) in
            [("203.0.113.7", false), ("203.0.114.7", true), ("192.0.2.1", false)]
        {
            assert_eq!(admits(deny, address), is_in, "{address}");
        }
        assert!(admits(r#"{"allow": ["::ffff:0:0/96"]}"#, "198.51.100.1"));
    }

    #[test]
    fn the_address_of_the_client_that_asks_counts() {
        let mut policy: AddressApproval = testing::init(r#"{"deny": ["10.0.0.0/8"]}"#).unwrap();
        let mut request = from("192.0.2.1");
        request.client_address = Some("10.0.0.1".parse().unwrap());
        assert!(is_rejected(&request.announce(&mut policy)));
        let mut request = from("10.0.0.1");
        request.client_address = Some("192.0.2.1".parse().unwrap());
        assert!(!is_rejected(&request.announce(&mut policy)));
    }

    #[test]
    fn scrapes_are_judged_unless_they_pass() {
        for (key, rejected) in
            [("", true), (r#", "scrapes": "pass""#, false), (r#", "scrapes": "reject""#, true)]
        {
            let config = format!(r#"{{"deny": ["10.0.0.0/8"]{key}}}"#);
            let mut policy: AddressApproval = testing::init(&config).unwrap();
            assert_eq!(is_rejected(&from("10.0.0.1").scrape(&mut policy)), rejected, "{key}");
            assert!(!is_rejected(&from("192.0.2.1").scrape(&mut policy)), "{key}");
        }
    }

    #[test]
    fn lists_and_data_sources_are_combined() {
        let range = |first: &str, prefix| (first.parse().unwrap(), prefix, 0);
        testing::set_data("good", Data::Addresses(vec![range("10.0.0.0", 8)]));
        testing::set_data("bad", Data::Addresses(vec![range("10.1.0.0", 16)]));
        let config = r#"{"allow": ["192.0.2.1"], "allow_from": "good", "deny_from": "bad"}"#;
        assert!(admits(config, "192.0.2.1") && admits(config, "10.0.0.1"));
        assert!(!admits(config, "10.1.0.1") && !admits(config, "192.0.2.2"));
        testing::set_data("good", Data::Addresses(Vec::new()));
        assert!(!admits(r#"{"allow_from": "good"}"#, "10.0.0.1"), "the list is empty");
    }

    #[test]
    fn a_wrong_configuration_is_refused_with_path_and_reason() {
        let cases = [
            (
                r#"{"allow": ["10.0.0.0/8", "10.0.0.0/33"]}"#,
                "allow[1]: invalid address range `10.0.0.0/33`, expected one such as 10.0.0.0/8 or \
                 fd00::/8",
            ),
            (r#"{"deny": [10]}"#, "deny[0]: found the number `10`, expected a text"),
            (
                r#"{"scrapes": "hide"}"#,
                "scrapes: unknown value `hide`, expected one of reject, pass",
            ),
            (
                r#"{"deny_from": "bad"}"#,
                "deny_from: there is no data source `bad`, expected one that `data` declares",
            ),
        ];
        for (config, message) in cases {
            assert_eq!(testing::init::<AddressApproval>(config).err(), Some(message.into()));
        }
    }
}
