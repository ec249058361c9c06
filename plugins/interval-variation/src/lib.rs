//! Spreads announces over time by making the interval of some answers a little longer. See
//! `docs/policies/interval-variation.md`.
//!
//! The info-hash and the peer id alone decide which intervals grow and by how much, with the
//! arithmetic of chihaya's `interval variation`. So a peer gets the same interval at every
//! announce.

use std::time::Duration;

use karuta_plugin::{
    Announce, AnnounceFilter, Context, Error, Policy, Verdict,
    config::{self, Probability},
    request, response,
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The share of (torrent, peer) pairs that get a longer interval.
    probability: Probability,
    max_increase: Increase,
    #[serde(default = "yes")]
    min_interval: bool,
}

fn yes() -> bool {
    true
}

/// A whole number of seconds, at least 1.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "config::Duration")]
struct Increase(u32);

impl TryFrom<config::Duration> for Increase {
    type Error = &'static str;
    fn try_from(duration: config::Duration) -> Result<Self, &'static str> {
        match u32::try_from(duration.as_secs()) {
            Ok(seconds) if seconds > 0 && duration.subsec_nanos() == 0 => Ok(Self(seconds)),
            _ => Err("must be whole seconds, at least 1s"),
        }
    }
}

struct IntervalVariation {
    probability: Probability,
    max_increase: Increase,
    min_interval: bool,
}

impl IntervalVariation {
    /// Returns the time to add for this torrent and peer, if any.
    fn increase(&self, info_hash: &[u8; 20], peer_id: &[u8; 20]) -> Option<Duration> {
        let mut generator = Generator::new(info_hash, peer_id);
        // An f32 holds 24 bits exactly.
        let drawn = generator.below(1 << 24) as f32 / (1 << 24) as f32;
        let mut seconds = || u64::from(generator.below(self.max_increase.0)) + 1;
        (drawn < self.probability.get()).then(|| Duration::from_secs(seconds()))
    }
}

/// An xorshift128+ generator, seeded and used as in chihaya.
struct Generator(u64, u64);

impl Generator {
    fn new(info_hash: &[u8; 20], peer_id: &[u8; 20]) -> Self {
        let seed = |bytes: &[u8; 20]| {
            let (words, _) = bytes.as_chunks();
            u64::from_be_bytes(words[0]).wrapping_add(u64::from_be_bytes(words[1]))
        };
        Self(seed(info_hash), seed(peer_id))
    }

    fn next(&mut self) -> u64 {
        let Self(mut s0, s1) = *self;
        let drawn = s0.wrapping_add(s1);
        s0 ^= s0 << 23;
        *self = Self(s1, s0 ^ s1 ^ (s0 >> 18) ^ (s1 >> 5));
        drawn
    }

    /// Returns the absolute value of the next number, read as signed, modulo `limit`. Go cannot
    /// negate −2⁶³, so a peer that aims at it makes chihaya shorten the interval. Here it cannot.
    fn below(&mut self, limit: u32) -> u32 {
        let positive = self.next().cast_signed().unsigned_abs();
        (positive % u64::from(limit)) as u32
    }
}

impl Policy for IntervalVariation {
    type Config = Config;
    fn init(config: Config, _: &Context) -> Result<Self, Error> {
        let Config { probability, max_increase, min_interval } = config;
        Ok(Self { probability, max_increase, min_interval })
    }
}

impl AnnounceFilter for IntervalVariation {
    fn on_announce(&mut self, announce: &Announce) -> Verdict {
        let info_hash = announce.info_hash().to_bytes();
        if let Some(time) = self.increase(&info_hash, &request::peer_id()) {
            response::set_interval(response::interval().saturating_add(time));
            if self.min_interval {
                response::set_min_interval(response::min_interval().saturating_add(time));
            }
        }
        Verdict::Next
    }
}

karuta_plugin::export!(IntervalVariation: announce);

#[cfg(test)]
mod tests {
    use karuta_plugin::{
        InfoHash,
        testing::{self, Answer, Request},
    };

    use super::*;

    /// Info-hash, peer id, the first draw as a fraction of 2²⁴, and the seconds of at most 60, as
    /// computed by chihaya's own code.
    const VECTORS: [(&str, &str, f32, u64); 3] = [
        (
            "3030303030303030303030303030303030303031",
            "2d5452323834302d303030303030303030303031",
            0.231_434,
            57,
        ),
        (
            "6161616161616161616161616161616161616161",
            "2d7142343530302d6162636465666768696a6b6c",
            0.349_035,
            21,
        ),
        (
            "000102030405060708090a0b0c0d0e0f10111213",
            "1415161718191a1b1c1d1e1f2021222324252627",
            0.298_101,
            16,
        ),
    ];

    fn bytes(hex: &str) -> [u8; 20] {
        hex.parse::<InfoHash>().unwrap().to_bytes()
    }

    fn announce(config: &str, info_hash: [u8; 20], peer_id: [u8; 20]) -> Answer {
        let mut policy: IntervalVariation = testing::init(config).unwrap();
        let info_hash = InfoHash::from_bytes(info_hash);
        let answer = Request { info_hash, peer_id, ..Request::default() }.announce(&mut policy);
        assert_eq!(answer.verdict, Verdict::Next);
        answer
    }

    /// Returns the interval and the minimum interval, in seconds.
    fn intervals(answer: &Answer) -> (u64, u64) {
        (answer.interval.as_secs(), answer.min_interval.as_secs())
    }

    #[test]
    fn the_draws_are_those_of_chihaya() {
        for (info_hash, peer_id, first, seconds) in VECTORS {
            let mut generator = Generator::new(&bytes(info_hash), &bytes(peer_id));
            let drawn = generator.below(1 << 24) as f32 / (1 << 24) as f32;
            assert!((drawn - first).abs() < 5e-7, "{info_hash}: {drawn}");
            assert_eq!(u64::from(generator.below(60)) + 1, seconds, "{info_hash}");
        }
    }

    #[test]
    fn the_interval_grows_only_if_the_first_draw_is_below_the_probability() {
        for (info_hash, peer_id, first, seconds) in VECTORS {
            let (info_hash, peer_id) = (bytes(info_hash), bytes(peer_id));
            for (probability, seconds) in
                [(first - 0.000_01, 0), (first + 0.000_01, seconds), (1.0, seconds)]
            {
                let config = format!(r#"{{"probability": {probability}, "max_increase": "60s"}}"#);
                let answer = announce(&config, info_hash, peer_id);
                assert_eq!(intervals(&answer), (1800 + seconds, 900 + seconds), "{config}");
            }
        }
    }

    #[test]
    fn min_interval_false_keeps_the_minimum_interval() {
        let (info_hash, peer_id, _, seconds) = VECTORS[0];
        let config = r#"{"probability": 1, "max_increase": "1m", "min_interval": false}"#;
        let answer = announce(config, bytes(info_hash), bytes(peer_id));
        assert_eq!(intervals(&answer), (1800 + seconds, 900));
    }

    #[test]
    fn the_increase_is_at_least_one_second_for_every_peer_id() {
        // With the seeds 0 and 2⁶³ the first draw is the number that Go cannot negate.
        let mut aimed = [0; 20];
        aimed[0] = 0x80;
        for peer_id in [aimed, [0; 20], [0xff; 20]] {
            let config = r#"{"probability": 1, "max_increase": "1s"}"#;
            assert_eq!(intervals(&announce(config, [0; 20], peer_id)).0, 1801);
            let config = r#"{"probability": 1, "max_increase": "60s"}"#;
            let (interval, _) = intervals(&announce(config, [0; 20], peer_id));
            assert!((1801..=1860).contains(&interval), "{interval}");
        }
        assert_eq!(Generator(0, 1 << 63).below(60), 8);
    }

    #[test]
    fn a_wrong_configuration_is_refused_with_path_and_reason() {
        let keys = "probability, max_increase, min_interval";
        let cases = [
            ("null", "missing key `probability`".into()),
            (r#"{"probability": 0.2}"#, "missing key `max_increase`".into()),
            (r#"{"probability": 0}"#, "probability: must be above 0 and at most 1, is 0".into()),
            (r#"{"probability": -1}"#, "probability: must be above 0 and at most 1, is -1".into()),
            (
                r#"{"probability": 1.5}"#,
                "probability: must be above 0 and at most 1, is 1.5".into(),
            ),
            (r#"{"probability": "1"}"#, "probability: found a text, expected a number".into()),
            (
                r#"{"max_increase": "60"}"#,
                "max_increase: invalid duration `60`, expected a number with a unit such as 30s, \
                 5m, 1h"
                    .into(),
            ),
            (
                r#"{"max_increase": 60}"#,
                "max_increase: found the number `60`, expected a text".into(),
            ),
            (
                r#"{"max_increase": "0s"}"#,
                "max_increase: must be whole seconds, at least 1s".into(),
            ),
            (
                r#"{"max_increase": "1500ms"}"#,
                "max_increase: must be whole seconds, at least 1s".into(),
            ),
            (
                r#"{"min_interval": "yes"}"#,
                "min_interval: found a text, expected true or false".into(),
            ),
            (r#"{"max": 1}"#, format!("max: unknown key, expected one of {keys}")),
        ];
        for (config, message) in cases {
            let refused = testing::init::<IntervalVariation>(config).err();
            assert_eq!(refused.map(String::from), Some(message));
        }
    }
}
