//! Announces that come together are decided together, and are answered as if they had come one by
//! one.

use karuta_tests::announce::{Announce, escape, torrent};
use karuta_tests::udp::{self, Client};
use karuta_tests::{Connection, Daemon, eventually, get, write_config};

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
    assert_counted_alike(&together, &alone);
}

/// Over HTTP, a batch is what several connections have sent.
#[test]
fn connections_that_are_ready_together_are_answered_like_one_after_the_other() {
    let (together, alone) = (daemon(), daemon());
    let announces: Vec<Announce> = (0..2 * BATCH as u16)
        .map(|number| {
            let torrent = match number {
                20 => 'x',
                30 => 'y',
                40 => 'z',
                _ => ['a', 'b', 'c'][usize::from(number % 3)],
            };
            let announce = Announce::of(torrent).port(6881 + number / 2).left((number % 5).into());
            announce.event(if number % 7 == 6 { "stopped" } else { "started" }).want(0)
        })
        .collect();
    let request = |announce: &Announce| {
        format!("GET /announce?{} HTTP/1.1\r\nHost: a\r\n\r\n", announce.query())
    };
    let open = |daemon: &Daemon| Connection::open(daemon.http);
    let mut connections: Vec<_> = announces.iter().map(|_| open(&together)).collect();
    // An answer shows that a connection is served, and waits for its next request.
    for connection in &mut connections {
        connection.send(b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(connection.answer().status, 404);
    }
    together.signal("STOP");
    for (connection, announce) in connections.iter_mut().zip(&announces) {
        connection.send(request(announce).as_bytes());
    }
    together.signal("CONT");
    let mut refused = Vec::new();
    for (number, connection) in connections.iter_mut().enumerate() {
        let answer = connection.answer();
        assert_eq!(answer.status, 200);
        refused.extend(answer.body_text().contains("failure reason").then_some(number));
    }
    assert_eq!(refused, [20, 30], "the trap and the loop");
    for announce in &announces {
        let _ = announce.http(alone.http);
    }
    let swarms = |daemon: &Daemon| {
        let asked = ['a', 'b', 'c', 'x', 'y', 'z'].map(|letter| escape(&torrent(letter)));
        get(daemon.http, &format!("/scrape?info_hash={}", asked.join("&info_hash=")), &[]).body
    };
    assert_eq!(swarms(&together), swarms(&alone));
    assert_counted_alike(&together, &alone);
}

/// A reload takes effect between two batches, and no packet is lost.
#[test]
fn a_reload_among_batches_changes_the_answers_of_later_ones() {
    let yaml = |text: &str| {
        format!(
            "{}policies:
  - name: hostile
    plugin: PLUGINS/test-hostile.wasm
    config:
      rules: [{{ on: announce, do: fail, text: {text} }}, {{ on: announce, do: reject }}]
",
            karuta_tests::LISTENERS
        )
    };
    let daemon = Daemon::start_with(&yaml("v0"));
    let client = Client::connect(daemon.udp);
    let mut newest = 0;
    for version in 1..=5 {
        write_config(daemon.folder.path(), &yaml(&format!("v{version}")));
        daemon.signal("HUP");
        eventually("the new version answers", || {
            daemon.signal("STOP");
            let packets = (0..2 * BATCH as u32).map(|number| {
                Announce::of('a').port(6881 + number as u16).packet(client.id, number)
            });
            let packets: Vec<_> = packets.collect();
            packets.iter().for_each(|packet| client.send(packet));
            daemon.signal("CONT");
            for _ in &packets {
                let answer = String::from_utf8_lossy(&client.receive()[8..]).into_owned();
                let given = answer.trim_matches(['v', '\0']).parse().expect("a version");
                assert!((newest..=version).contains(&given), "v{given} after v{newest}");
                newest = given;
            }
            newest == version
        });
    }
}

fn assert_counted_alike(together: &Daemon, alone: &Daemon) {
    for series in [
        "karuta_plugin_announces_total{policy=\"tally\"}",
        "karuta_policy_errors_total{policy=\"hostile\",hook=\"announce\",cause=\"trap\"}",
        "karuta_policy_errors_total{policy=\"hostile\",hook=\"announce\",cause=\"deadline\"}",
        "karuta_policy_errors_total{policy=\"shadow\",hook=\"announce\",cause=\"trap\"}",
    ] {
        let [together, alone] = [together, alone].map(|daemon| daemon.metric(series));
        assert!(together > 0.0, "{series}");
        assert!((together - alone).abs() < f64::EPSILON, "{series}: {together}, not {alone}");
    }
}
