//! Mixes made-up peers into some answers. See `docs/policies/deniability.md`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{Ipv4Net, Ipv6Net};
use karuta_plugin::{
    Announce, AnnounceFilter, Context, Error, Event, Policy, Verdict,
    config::Probability,
    request,
    response::{self, Place},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The share of answers that get made-up peers.
    probability: Probability,
    max_peers: Count,
    #[serde(default)]
    ports: Ports,
}

/// The maximum number of made-up peers in one answer, from 1 to 200.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "u64")]
struct Count(u8);

impl TryFrom<u64> for Count {
    type Error = String;
    fn try_from(number: u64) -> Result<Self, String> {
        match u8::try_from(number) {
            Ok(count @ 1..=200) => Ok(Self(count)),
            _ => Err(format!("must be 1 to 200, is {number}")),
        }
    }
}

/// The range of the ports of made-up peers: the first and the last.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "Vec<u16>")]
struct Ports(u16, u16);

impl Default for Ports {
    fn default() -> Self {
        Self(1024, u16::MAX)
    }
}

impl TryFrom<Vec<u16>> for Ports {
    type Error = &'static str;
    fn try_from(ports: Vec<u16>) -> Result<Self, &'static str> {
        match ports[..] {
            [first, last] if 0 < first && first <= last => Ok(Self(first, last)),
            _ => Err("must be two ports, the first and the last, such as [1024, 65535]"),
        }
    }
}

struct Deniability {
    config: Config,
    /// Must not be predictable from its earlier output: a client that can tell which peers are made
    /// up knows which are real.
    rng: StdRng,
}

impl Policy for Deniability {
    type Config = Config;
    fn init(config: Config, _: &Context) -> Result<Self, Error> {
        Ok(Self { config, rng: StdRng::from_os_rng() })
    }
}

impl AnnounceFilter for Deniability {
    fn on_announce(&mut self, announce: &Announce) -> Verdict {
        let Config { probability, max_peers: Count(max), ports: Ports(first, last) } = self.config;
        let rng = &mut self.rng;
        let answered_with_peers = announce.event() != Event::Stopped && announce.num_want() > 0;
        if answered_with_peers && rng.random::<f32>() < probability.get() {
            let is_ipv4 = request::client_address().is_ipv4();
            for _ in 0..rng.random_range(1..=max) {
                let address = if is_ipv4 { ipv4(rng).into() } else { IpAddr::from(ipv6(rng)) };
                let port = rng.random_range(first..=last);
                response::add_peer(SocketAddr::new(address, port), Place::Mixed);
            }
        }
        Verdict::Next
    }
}

karuta_plugin::export!(Deniability: announce);

const fn v4(a: u8, b: u8, c: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), prefix)
}

/// Ranges where no peer on the Internet can be: IANA's registry of special-purpose addresses,
/// multicast, and reserved addresses.
const NOT_ROUTED: [Ipv4Net; 18] = [
    v4(0, 0, 0, 8),
    v4(10, 0, 0, 8),
    v4(100, 64, 0, 10),
    v4(127, 0, 0, 8),
    v4(169, 254, 0, 16),
    v4(172, 16, 0, 12),
    v4(192, 0, 0, 24),
    v4(192, 0, 2, 24),
    v4(192, 31, 196, 24),
    v4(192, 52, 193, 24),
    v4(192, 88, 99, 24),
    v4(192, 168, 0, 16),
    v4(192, 175, 48, 24),
    v4(198, 18, 0, 15),
    v4(198, 51, 100, 24),
    v4(203, 0, 113, 24),
    v4(224, 0, 0, 4),
    v4(240, 0, 0, 4),
];

/// The large blocks of IANA's registry of global unicast addresses, one for each regional registry.
/// All other blocks are small, for a special purpose, or not allocated yet.
const ALLOCATED: [Ipv6Net; 5] = [v6(0x2400), v6(0x2600), v6(0x2800), v6(0x2a00), v6(0x2c00)];

const fn v6(first: u16) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0), 12)
}

fn ipv4(rng: &mut impl Rng) -> Ipv4Addr {
    loop {
        let address = Ipv4Addr::from_bits(rng.random());
        if !NOT_ROUTED.iter().any(|range| range.contains(&address)) {
            return address;
        }
    }
}

fn ipv6(rng: &mut impl Rng) -> Ipv6Addr {
    let block = ALLOCATED[rng.random_range(0..ALLOCATED.len())];
    let host = rng.random::<u128>() & block.hostmask().to_bits();
    Ipv6Addr::from_bits(block.network().to_bits() | host)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use ipnet::IpNet;
    use karuta_plugin::testing::{self, Answer, Request};

    use super::*;

    const ALWAYS: &str = r#"{"probability": 1, "max_peers": 3}"#;

    /// Returns the answers to `count` announces like this one, the same at every run.
    fn answers(config: &str, request: &Request, count: usize) -> Vec<Answer> {
        let mut policy: Deniability = testing::init(config).unwrap();
        policy.rng = StdRng::seed_from_u64(7);
        let answers = std::iter::repeat_with(|| request.announce(&mut policy));
        let answers: Vec<Answer> = answers.take(count).collect();
        for answer in &answers {
            assert_eq!(answer.verdict, Verdict::Next);
            assert!(answer.added.iter().all(|(_, place)| *place == Place::Mixed));
            assert_eq!(answer.remember, None, "each answer is drawn anew");
        }
        answers
    }

    fn added(answers: &[Answer]) -> impl Iterator<Item = SocketAddr> {
        answers.iter().flat_map(|answer| &answer.added).map(|(peer, _)| *peer)
    }

    #[test]
    fn the_probability_is_the_share_of_answers_with_made_up_peers() {
        for (probability, from, to) in [("1", 2000, 2000), ("0.5", 900, 1100), ("0.05", 60, 140)] {
            let config = format!(r#"{{"probability": {probability}, "max_peers": 2}}"#);
            let answers = answers(&config, &Request::default(), 2000);
            let given = answers.iter().filter(|answer| !answer.added.is_empty()).count();
            assert!((from..=to).contains(&given), "{probability}: {given}");
        }
    }

    #[test]
    fn one_to_max_peers_are_added() {
        let answers = answers(ALWAYS, &Request::default(), 300);
        let counts: HashSet<usize> = answers.iter().map(|answer| answer.added.len()).collect();
        assert_eq!(counts, HashSet::from([1, 2, 3]));
        let peers: HashSet<SocketAddr> = added(&answers).collect();
        assert_eq!(peers.len(), added(&answers).count(), "no peer is made up twice");
    }

    #[test]
    fn ports_are_within_their_range_and_cover_it() {
        let config = r#"{"probability": 1, "max_peers": 3, "ports": [6881, 6884]}"#;
        let ports: HashSet<u16> =
            added(&answers(config, &Request::default(), 200)).map(|peer| peer.port()).collect();
        assert_eq!(ports, HashSet::from([6881, 6882, 6883, 6884]));
        let config = r#"{"probability": 1, "max_peers": 1, "ports": [80, 80]}"#;
        assert!(added(&answers(config, &Request::default(), 9)).all(|peer| peer.port() == 80));
        let mut all = answers(ALWAYS, &Request::default(), 2000);
        assert!(added(&all).all(|peer| peer.port() >= 1024));
        all.retain(|answer| answer.added.iter().any(|(peer, _)| peer.port() > 60_000));
        assert!(!all.is_empty());
    }

    #[test]
    fn made_up_peers_have_the_family_of_the_client() {
        let request = |address: &str, client: Option<&str>| Request {
            address: address.parse().unwrap(),
            client_address: client.map(|address| address.parse().unwrap()),
            ..Request::default()
        };
        for (request, is_ipv4) in [
            (request("192.0.2.1", None), true),
            (request("2001:db8::1", None), false),
            (request("192.0.2.1", Some("2001:db8::1")), false),
            (request("2001:db8::1", Some("192.0.2.1")), true),
        ] {
            assert!(added(&answers(ALWAYS, &request, 50)).all(|peer| peer.is_ipv4() == is_ipv4));
        }
    }

    /// IANA's special-purpose address registries, multicast, and reserved addresses.
    const SPECIAL: &str = "\
        0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 \
        192.0.0.0/29 192.0.0.8/32 192.0.0.9/32 192.0.0.10/32 192.0.0.170/31 192.0.2.0/24 \
        192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 \
        198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 255.255.255.255/32 \
        ::/3 ::1/128 ::/128 ::ffff:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 100:0:0:1::/64 \
        2001::/23 2001::/32 2001:1::1/128 2001:1::2/128 2001:1::3/128 2001:2::/48 2001:3::/32 \
        2001:4:112::/48 2001:10::/28 2001:20::/28 2001:30::/28 2001:db8::/32 2002::/16 \
        2620:4f:8000::/48 3fff::/20 4000::/2 5f00::/16 8000::/1 fc00::/7 fe80::/10 ff00::/8";

    #[test]
    fn made_up_peers_are_globally_routable() {
        let special: Vec<IpNet> = SPECIAL.split(' ').map(|range| range.parse().unwrap()).collect();
        let mut rng = StdRng::seed_from_u64(1);
        for _ in 0..20_000 {
            for address in [IpAddr::from(ipv4(&mut rng)), ipv6(&mut rng).into()] {
                let found = special.iter().find(|range| range.contains(&address));
                assert_eq!(found, None, "{address}");
            }
        }
        // Random draws seldom hit a small range, so each range is looked up.
        for range in &special {
            match range {
                IpNet::V4(range) => assert!(NOT_ROUTED.iter().any(|known| known.contains(range))),
                IpNet::V6(range) => assert!(
                    !ALLOCATED.iter().any(|block| block.contains(range) || range.contains(block)),
                    "{range}"
                ),
            }
        }
    }

    #[test]
    fn all_of_the_routed_addresses_are_drawn() {
        let mut rng = StdRng::seed_from_u64(1);
        let first = |address: Ipv4Addr| address.octets()[0];
        let firsts: HashSet<u8> = (0..20_000).map(|_| first(ipv4(&mut rng))).collect();
        let expected = (1..=223).filter(|first| ![10, 127].contains(first)).collect();
        assert_eq!(firsts, expected);
        let blocks: HashSet<u16> =
            (0..200).map(|_| ipv6(&mut rng).segments()[0] & 0xfff0).collect();
        assert_eq!(blocks, HashSet::from([0x2400, 0x2600, 0x2800, 0x2a00, 0x2c00]));
    }

    #[test]
    fn answers_without_peers_get_none() {
        for request in [
            Request { event: Event::Stopped, ..Request::default() },
            Request { num_want: 0, ..Request::default() },
        ] {
            assert_eq!(added(&answers(ALWAYS, &request, 50)).count(), 0);
        }
    }

    #[test]
    fn a_wrong_configuration_is_refused_with_path_and_reason() {
        let ports = "must be two ports, the first and the last, such as [1024, 65535]";
        let with = |more: &str| format!(r#"{{"probability": 0.1, "max_peers": 2, {more}}}"#);
        let cases = [
            ("null".into(), "missing key `probability`".into()),
            (r#"{"probability": 0.1}"#.into(), "missing key `max_peers`".into()),
            (
                r#"{"probability": 0, "max_peers": 2}"#.into(),
                "probability: must be above 0 and at most 1, is 0".into(),
            ),
            (r#"{"max_peers": 0}"#.into(), "max_peers: must be 1 to 200, is 0".into()),
            (r#"{"max_peers": 201}"#.into(), "max_peers: must be 1 to 200, is 201".into()),
            (
                r#"{"max_peers": -1}"#.into(),
                "max_peers: found the number `-1`, expected a whole number, 0 or more".into(),
            ),
            (with(r#""ports": [1024]"#), format!("ports: {ports}")),
            (with(r#""ports": [1, 2, 3]"#), format!("ports: {ports}")),
            (with(r#""ports": [0, 80]"#), format!("ports: {ports}")),
            (with(r#""ports": [81, 80]"#), format!("ports: {ports}")),
            (
                with(r#""ports": [1, 65536]"#),
                "ports[1]: found the number `65536`, expected a whole number from 0 to 65535"
                    .into(),
            ),
            (with(r#""ports": 80"#), "ports: found the number `80`, expected a list".into()),
            (
                with(r#""prefix": "-TR""#),
                "prefix: unknown key, expected one of probability, max_peers, ports".into(),
            ),
        ];
        for (config, message) in cases {
            let refused = testing::init::<Deniability>(&config).err();
            assert_eq!(refused.map(String::from), Some(message), "{config}");
        }
    }
}
