//! Announces that come together are decided together, and are answered as if they had come one by
//! one.

use karuta_tests::Daemon;
use karuta_tests::announce::{Announce, torrent};
use karuta_tests::udp::{self, Client};

/// The most packets that the tracker receives at once.
const BATCH: usize = 32;

fn daemon() -> Daemon {
    Daemon::start(&format!(
        "tracker: {{ workers: 1 }}
policies:
  - {{ name: tally, plugin: PLUGINS/test-tally.wasm }}
  - name: hostile
    plugin: PLUGINS/test-hostile.wasm
    on_error: reject
    config:
      rules:
        - {{ on: announce, do: trap, info_hash: '{}' }}
        - {{ on: announce, do: loop, info_hash: '{}' }}
  - name: shadow
    plugin: PLUGINS/test-hostile.wasm
    mode: shadow
    config: {{ rules: [{{ on: announce, do: trap, info_hash: '{}' }}] }}
",
        "78".repeat(20),
        "79".repeat(20),
        "7a".repeat(20)
    ))
}

/// Returns announces of few torrents, peers and roles, with scrapes among them and one announce in
/// the middle of a batch that each hostile rule applies to.
fn packets(id: u64) -> Vec<Vec<u8>> {
    let mut state = 7_u32;
    let mut random = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % below
    };
    (0..8 * BATCH as u32)
        .map(|number| {
            let announce = match number {
                45 => Announce::of('x'),
                80 => Announce::of('y'),
                115 => Announce::of('z'),
                _ if random(10) == 0 => {
                    let asked = ['a', 'b', 'c'].map(torrent);
                    return [&udp::header(id, udp::SCRAPE, number)[..], asked.as_flattened()]
                        .concat();
                }
                _ => Announce::of(['a', 'b', 'c'][random(3) as usize]),
            };
            let event = ["", "started", "stopped", "completed"][random(4) as usize];
            let announce = announce.port(6881 + random(5) as u16).left(random(2).into());
            // Which peers are given is left to chance.
            announce.event(event).want(0).packet(id, number)
        })
        .collect()
}

#[test]
fn a_batch_is_answered_like_its_announces_one_by_one() {
    let (together, alone) = (daemon(), daemon());
    let [first, second] = [&together, &alone].map(|daemon| Client::connect(daemon.udp));
    let (mut answers, mut expected) = (Vec::new(), Vec::new());
    for batch in packets(first.id).chunks(BATCH) {
        together.signal("STOP");
        batch.iter().for_each(|packet| first.send(packet));
        together.signal("CONT");
        answers.extend(batch.iter().map(|_| first.receive()));
    }
    for packet in packets(second.id) {
        expected.push(second.exchange(&packet));
    }
    assert_eq!(answers.len(), expected.len());
    for (number, (answer, expected)) in answers.iter().zip(&expected).enumerate() {
        assert_eq!(answer, expected, "packet {number}");
    }
    let refused = |answer: &&Vec<u8>| answer[..4] == udp::ERROR.to_be_bytes();
    assert_eq!(answers.iter().filter(refused).count(), 2, "the trap and the loop");
    for series in [
        "karuta_plugin_announces{policy=\"tally\"}",
        "karuta_policy_errors_total{policy=\"hostile\",hook=\"announce\",cause=\"trap\"}",
        "karuta_policy_errors_total{policy=\"hostile\",hook=\"announce\",cause=\"deadline\"}",
        "karuta_policy_errors_total{policy=\"shadow\",hook=\"announce\",cause=\"trap\"}",
    ] {
        let [together, alone] = [&together, &alone].map(|daemon| daemon.metric(series));
        assert!(together > 0.0, "{series}");
        assert!((together - alone).abs() < f64::EPSILON, "{series}: {together}, not {alone}");
    }
}
