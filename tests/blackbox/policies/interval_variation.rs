//! interval-variation: intervals are spread, so that clients do not all announce at once.

use karuta_tests::Daemon;
use karuta_tests::announce::Announce;

use super::one;
use crate::everywhere;

/// Vectors of chihaya's arithmetic: an info-hash, a peer id, and the seconds that are added if at
/// most 60 may be.
const VECTORS: [([u8; 20], [u8; 20], u32); 3] = [
    (*b"00000000000000000001", *b"-TR2840-000000000001", 57),
    (*b"aaaaaaaaaaaaaaaaaaaa", *b"-qB4500-abcdefghijkl", 21),
    (
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19],
        [20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39],
        16,
    ),
];

#[test]
fn intervals_vary_as_in_chihaya() {
    let both = one("interval-variation", "{ probability: 1, max_increase: 60s }", "");
    let interval_alone =
        one("interval-variation", "{ probability: 1, max_increase: 1m, min_interval: false }", "");
    for (info_hash, peer_id, delta) in VECTORS {
        let announce = Announce::of_hash(info_hash).peer_id(peer_id);
        for reply in everywhere::answers(&both, &announce) {
            assert_eq!(reply.unwrap().interval, 1800 + delta);
        }
        let intervals = |daemon: &Daemon| {
            let answer = announce.dictionary(daemon.http);
            ["interval", "min interval"].map(|key| answer.integer(key))
        };
        let delta = i64::from(delta);
        assert_eq!(intervals(&both), [1800 + delta, 900 + delta]);
        assert_eq!(intervals(&interval_alone), [1800 + delta, 900]);
    }
}

/// The draws of the vectors are 0.231434, 0.349035 and 0.298101.
#[test]
fn intervals_that_are_not_drawn_stay() {
    for (probability, changed) in
        [("0.2314", [false; 3]), ("0.25", [true, false, false]), ("0.3", [true, false, true])]
    {
        let config = format!("{{ probability: {probability}, max_increase: 60s }}");
        let daemon = one("interval-variation", &config, "");
        for ((info_hash, peer_id, delta), changed) in VECTORS.into_iter().zip(changed) {
            let reply = Announce::of_hash(info_hash).peer_id(peer_id).http(daemon.http).unwrap();
            let expected = if changed { 1800 + delta } else { 1800 };
            assert_eq!(reply.interval, expected, "{probability}");
        }
    }
}
