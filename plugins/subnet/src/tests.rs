use karuta_plugin::locality::Order;
use karuta_plugin::testing::{self, Data, Locality, Request};

use super::*;

const PREFIXES: &str = r#"{"ipv4": [26, 22, 16], "ipv6": [64, 56, 48]}"#;

fn place(policy: &mut Subnet, address: &str) -> Option<Locality> {
    let request = Request { address: address.parse().unwrap(), ..Request::default() };
    let answer = request.announce(policy);
    assert_eq!(answer.verdict, Verdict::Next);
    assert_eq!(answer.remember, None);
    answer.locality
}

/// Returns the level that two addresses share, as the host finds it; 0 is the nearest.
fn level(policy: &mut Subnet, a: &str, b: &str) -> Option<usize> {
    let (a, b) = (place(policy, a)?, place(policy, b)?);
    let shared = (a.label ^ b.label).leading_zeros();
    assert!(a.prefixes.is_sorted_by(|longer, shorter| longer > shorter));
    (a.prefixes == b.prefixes).then_some(())?;
    a.prefixes.iter().position(|&bits| shared >= bits.into())
}

fn init(config: &str) -> Subnet {
    testing::init(config).unwrap_or_else(|error| panic!("{config}: {error}"))
}

#[test]
fn addresses_are_as_near_as_the_prefix_they_share() {
    let mut policy = init(PREFIXES);
    for (a, b, expected) in [
        ("10.1.4.1", "10.1.4.1", Some(0)),
        ("10.1.4.0", "10.1.4.63", Some(0)),
        ("10.1.4.63", "10.1.4.64", Some(1)),
        ("10.1.4.0", "10.1.7.255", Some(1)),
        ("10.1.7.255", "10.1.8.0", Some(2)),
        ("10.1.0.0", "10.1.255.255", Some(2)),
        ("10.1.255.255", "10.2.0.0", None),
        ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", Some(0)),
        ("2001:db8::", "2001:db8:0:1::", Some(1)),
        ("2001:db8::", "2001:db8:0:100::", Some(2)),
        ("2001:db8::", "2001:db8:1::", None),
        ("10.1.4.1", "2001:db8::1", None),
    ] {
        assert_eq!(level(&mut policy, a, b), expected, "{a} {b}");
        assert_eq!(level(&mut policy, b, a), expected, "{b} {a}");
    }
}

#[test]
fn an_ipv4_address_is_one_however_it_is_written() {
    let mut policy = init(r#"{"ipv4": [24], "groups": {"eu": ["::ffff:10.1.0.0/112"]}}"#);
    assert_eq!(place(&mut policy, "::ffff:192.0.2.1"), place(&mut policy, "192.0.2.1"));
    assert_eq!(level(&mut policy, "10.1.0.1", "::ffff:10.1.255.1"), Some(0));
    let mut policy = init(r#"{"groups": {"eu": ["::/0"]}}"#);
    assert!(place(&mut policy, "192.0.2.1").is_none(), "an IPv6 network holds no IPv4");
    assert!(place(&mut policy, "2001:db8::1").is_some());
}

#[test]
fn a_family_without_levels_is_not_placed() {
    let mut policy = init(r#"{"ipv4": [8]}"#);
    assert!(place(&mut policy, "10.0.0.1").is_some());
    assert_eq!(place(&mut policy, "2001:db8::1"), None);
    let mut policy = init(r#"{"ipv6": [64]}"#);
    assert_eq!(place(&mut policy, "10.0.0.1"), None);
}

#[test]
fn groups_are_as_near_as_the_levels_they_share() {
    let mut policy = init(
        r#"{"ipv4": [8], "groups": {
            "eu/fra1/rack7": ["10.1.7.0/24", "2001:db8:1:7::/64"],
            "eu/fra1/rack8": ["10.1.8.0/24"],
            "eu/ams1/rack7": ["10.2.7.0/24"],
            "eu": ["10.0.0.0/8"],
            "us/iad1/rack7": ["10.3.7.0/24"]
        }}"#,
    );
    for (a, b, expected) in [
        ("10.1.7.1", "10.1.7.2", Some(0)),
        // IPv4 and IPv6 of one group
        ("10.1.7.1", "2001:db8:1:7::1", Some(0)),
        ("10.1.8.1", "2001:db8:1:7::1", Some(1)),
        ("10.1.7.1", "10.1.8.1", Some(1)),
        ("10.1.7.1", "10.2.7.1", Some(2)),
        ("10.1.7.1", "10.3.7.1", None),
        // Addresses of the wider network that are in no narrower one
        ("10.9.9.9", "10.8.8.8", Some(0)),
        ("10.9.9.9", "10.1.7.1", Some(2)),
        ("10.9.9.9", "10.3.7.1", None),
        // Outside all groups prefixes count
        ("11.0.0.1", "11.9.9.9", Some(0)),
        ("11.0.0.1", "10.9.9.9", None),
    ] {
        assert_eq!(level(&mut policy, a, b), expected, "{a} {b}");
    }
}

#[test]
fn an_address_in_a_group_goes_by_its_group_alone() {
    let mut policy = init(r#"{"ipv4": [8], "groups": {"eu": ["10.1.0.0/16"]}}"#);
    assert_eq!(level(&mut policy, "10.1.0.1", "10.2.0.1"), None, "they share the prefix");
    assert_eq!(level(&mut policy, "10.2.0.1", "10.3.0.1"), Some(0));
}

#[test]
fn names_have_up_to_eight_levels() {
    let mut policy = init(
        r#"{"groups": {
            "1/2/3/4/5/6/7/8": ["10.0.0.0/24"],
            "1/2/3/4/5/6/7/9": ["10.0.1.0/24"],
            "1/3": ["10.0.2.0/24"]
        }}"#,
    );
    assert_eq!(level(&mut policy, "10.0.0.1", "10.0.0.2"), Some(0));
    assert_eq!(level(&mut policy, "10.0.0.1", "10.0.1.1"), Some(1));
    assert_eq!(level(&mut policy, "10.0.0.1", "10.0.2.1"), Some(7));
    assert_eq!(level(&mut policy, "10.0.2.1", "10.0.2.2"), Some(0));
}

#[test]
fn groups_may_come_as_data() {
    testing::set_data("sites", Data::Raw);
    let config = r#"{"groups": {"eu/fra1": ["10.1.0.0/16"]}, "groups_from": "sites"}"#;
    let with = |data: &str| {
        let mut policy = init(config);
        policy.on_data("sites", 1, data.as_bytes())?;
        Ok::<_, Error>(policy)
    };
    let mut before = init(config);
    assert!(place(&mut before, "10.1.0.1").is_some() && place(&mut before, "10.2.0.1").is_none());
    let mut first = with("10.2.0.0/16 eu/ams1\n2001:db8::/32 eu/fra1\n").unwrap();
    assert_eq!(level(&mut first, "10.1.0.1", "10.2.0.1"), Some(1));
    assert_eq!(level(&mut first, "10.1.0.1", "2001:db8::1"), Some(0));
    let mut second = with("10.2.0.0/16 eu/ams1\n10.3.0.0/16 eu/lon1\n").unwrap();
    for address in ["10.1.0.1", "10.2.0.1"] {
        assert_eq!(place(&mut first, address), place(&mut second, address), "{address}");
    }
    assert!(place(&mut second, "2001:db8::1").is_none());

    let error = with("10.1.0.0/16 us\n").err();
    let expected = "line 1: 10.1.0.0/16 is also in the group `eu/fra1`, expected it in one group";
    assert_eq!(error, Some(expected.into()));
    let invalid = init(config).on_data("sites", 1, &[0xff]);
    assert_eq!(invalid, Err(Error::new("line 1: not UTF-8")));
    let mut policy = init(config);
    policy.on_data("other", 1, b"10.2.0.0/16 us\n").unwrap();
    assert!(place(&mut policy, "10.2.0.1").is_none(), "data of another source is ignored");
}

/// These settings behave as earlier trackers did.
#[test]
fn both_historic_behaviours_are_settings() {
    for (order, expected) in [("near-first", Order::NearFirst), ("role-first", Order::RoleFirst)] {
        let config =
            format!(r#"{{"ipv4": [8], "ipv6": [16], "order": "{order}", "far_percent": 0}}"#);
        let mut policy = init(&config);
        let found = place(&mut policy, "44.0.0.1").unwrap();
        assert_eq!((found.order, found.far_percent), (expected, 0));
        for (near, a, b) in [
            (true, "44.0.0.1", "44.255.0.1"),
            (false, "44.0.0.1", "45.0.0.1"),
            (true, "fc01::1", "fc01:ffff::1"),
            (false, "fc01::1", "fc02::1"),
            (false, "44.0.0.1", "fc01::1"),
        ] {
            assert_eq!(level(&mut policy, a, b).is_some(), near, "{a} {b}");
        }
    }
}

#[test]
fn omitted_keys_have_defaults() {
    let found = place(&mut init(r#"{"ipv4": [16]}"#), "10.0.0.1").unwrap();
    assert_eq!((found.order, found.far_percent, found.gateways), (Order::NearFirst, 10, 0));
    for config in [r#"{"groups_from": null, "ipv4": [1]}"#, r#"{"ipv6": [64, 1], "groups": {}}"#] {
        init(config);
    }
}

#[test]
fn every_plan_has_the_gateways() {
    let config =
        r#"{"ipv4": [24], "ipv6": [64], "groups": {"eu": ["10.1.0.0/16"]}, "gateways": 2}"#;
    let mut policy = init(config);
    for address in ["10.0.0.1", "10.1.0.1", "2001:db8::1"] {
        assert_eq!(place(&mut policy, address).map(|found| found.gateways), Some(2), "{address}");
    }
}

#[test]
fn a_wrong_configuration_is_refused_with_path_and_reason() {
    testing::set_data("list", Data::Addresses(Vec::new()));
    let nothing = "no prefixes and no groups, expected prefix lengths in ipv4 or ipv6, or groups \
                   in groups or groups_from";
    let bits = |bits, longest| {
        format!(
            "found the number `{bits}`, expected a prefix length from 1 to {longest}, the nearest \
             (longest) first"
        )
    };
    let cases = [
        ("{}", nothing.to_owned()),
        (r#"{"ipv4": [], "groups": {}, "order": "role-first"}"#, nothing.to_owned()),
        (r#"{"ipv4": [33]}"#, format!("ipv4[0]: {}", bits(33, 32))),
        (r#"{"ipv4": [26, 0]}"#, format!("ipv4[1]: {}", bits(0, 32))),
        (r#"{"ipv4": [16, 22]}"#, format!("ipv4[1]: {}", bits(22, 32))),
        (r#"{"ipv4": [16, 16]}"#, format!("ipv4[1]: {}", bits(16, 32))),
        (r#"{"ipv4": [1, 1]}"#, format!("ipv4[1]: {}", bits(1, 32))),
        (r#"{"ipv6": [128, 64]}"#, format!("ipv6[0]: {}", bits(128, 64))),
        (
            r#"{"ipv4": [9, 8, 7, 6, 5, 4, 3, 2, 1]}"#,
            "ipv4: 9 prefix lengths, expected at most 8".into(),
        ),
        (
            r#"{"ipv4": [300]}"#,
            "ipv4[0]: found the number `300`, expected a whole number from 0 to 255".into(),
        ),
        (r#"{"ipv4": 16}"#, "ipv4: found the number `16`, expected a list".into()),
        (
            r#"{"ipv4": [16], "far_percent": 101}"#,
            "far_percent: found the number `101`, expected a whole number from 0 to 100".into(),
        ),
        (
            r#"{"ipv4": [16], "order": "far-first"}"#,
            "order: unknown value `far-first`, expected one of near-first, role-first".into(),
        ),
        (
            r#"{"ipv5": [16]}"#,
            "ipv5: unknown key, expected one of ipv4, ipv6, order, far_percent, gateways, groups, \
             groups_from"
                .into(),
        ),
        (
            r#"{"ipv4": [16], "gateways": 256}"#,
            "gateways: found the number `256`, expected a whole number from 0 to 255".into(),
        ),
        (r#"{"groups": ["eu"]}"#, "groups: found a list, expected a mapping".into()),
        (
            r#"{"groups": {"eu": "10.0.0.0/8"}}"#,
            "groups.eu: found a text, expected a list".into(),
        ),
        (
            r#"{"groups": {"eu/fra1": ["10.0.0.0/8", "10.0.0.0/33"]}}"#,
            "groups.eu/fra1[1]: invalid network `10.0.0.0/33`, expected one such as 10.1.7.0/24 or \
             2001:db8::/64"
                .into(),
        ),
        (
            r#"{"groups": {"eu/": []}}"#,
            "groups.eu/: invalid group `eu/`, expected a name such as eu/fra1/rack7".into(),
        ),
        (
            r#"{"groups": {"1/2/3/4/5/6/7/8/9": []}}"#,
            "groups.1/2/3/4/5/6/7/8/9: `1/2/3/4/5/6/7/8/9` has 9 levels, expected at most 8".into(),
        ),
        (
            r#"{"groups": {"a": ["10.0.0.0/8"], "b": ["10.1.0.0/16", "10.9.9.9/8"]}}"#,
            "groups.b[1]: 10.0.0.0/8 is also in the group `a`, expected it in one group".into(),
        ),
        (
            r#"{"groups_from": "sites"}"#,
            "groups_from: there is no data source `sites`, expected one that `data` declares"
                .into(),
        ),
        (
            r#"{"groups_from": "list"}"#,
            "groups_from: the data source `list` has the format addresses, expected raw".into(),
        ),
    ];
    for (config, message) in cases {
        let refused = testing::init::<Subnet>(config).err();
        assert_eq!(refused.map(String::from), Some(message), "{config}");
    }
}
