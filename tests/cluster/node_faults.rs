//! Nodes fail, or cannot reach the engine.

use std::time::Instant;

use karuta_tests::announce::{Announce, torrent};
use karuta_tests::engines::{Engine, Single};
use karuta_tests::nodes::{become_equal, differences, node, start, swarms, waiting};
use karuta_tests::{Daemon, eventually, folder, write_config};

use crate::{Scene, alone};

#[test]
fn a_node_that_was_killed_has_everything_when_it_is_back() {
    let Some(engine) = Engine::first() else { return };
    let mut scene = Scene::begin(&engine);
    let records: u32 =
        std::env::var("KARUTA_RECORDS").map_or(0, |count| count.parse().expect("a number"));
    let announced = |scene: &Scene| scene.nodes[0].metric("karuta_share_applied_total");
    while announced(&scene) < f64::from(records) {
        scene.goes_on();
    }
    scene.crowd.dies(2);
    let folder = scene.nodes.remove(2).kill();
    scene.goes_on();
    let start = Instant::now();
    scene.nodes.push(Daemon::start_in(folder));
    eprintln!("ready after {:?}, with {} records", start.elapsed(), announced(&scene));
    let log = scene.nodes[2].log();
    let read = log.lines().filter(|line| line.contains("read the log of shared swarms"));
    read.for_each(|line| eprintln!("{line}"));
    scene.crowd.lives(2, scene.nodes[2].udp);
    scene.goes_on();
    scene.ends_well();
}

#[test]
fn a_node_starts_and_serves_without_its_engine() {
    let Some(engine) = Engine::newest() else { return };
    let _alone = alone();
    let mut single = Single::start(&engine, &[]);
    single.server.kill();
    // It waits for the log, and then goes on without it.
    let nodes = start(2, &single.share("catch_up: 1s"));
    Announce::of('a').http(nodes[0].http).expect("it is let in");
    Announce::of('b').http(nodes[1].http).expect("it is let in");
    assert!(nodes[0].admin_page("/readyz").contains("degraded"));
    single.server.launch();
    let known = become_equal(&[&nodes[0], &nodes[1]]);
    assert_eq!(known.len(), 2);
}

#[test]
fn what_no_longer_fits_into_the_queue_is_counted_and_heard_at_the_next_announce() {
    let Some(engine) = Engine::first() else { return };
    let _alone = alone();
    let mut single = Single::start(&engine, &[]);
    let nodes = start(2, &single.share("queue: 64KiB"));
    let announce = |first: u16, last: u16| {
        let udp = karuta_tests::udp::Client::connect(nodes[0].udp);
        for port in first..=last {
            Announce::of('a').port(port).udp(&udp).expect("it is let in");
        }
    };
    announce(1, 10);
    become_equal(&[&nodes[0], &nodes[1]]);
    single.server.kill();
    announce(11, 4000);
    let dropped = || nodes[0].metric("karuta_share_dropped_total");
    eventually("some are dropped", || dropped() > 0.0);
    // What is under way was taken out of the queue before.
    assert!(waiting(&nodes[0]) <= f64::from(2 << 16), "{}", waiting(&nodes[0]));
    single.server.launch();
    eventually("what waits is sent", || waiting(&nodes[0]) == 0.0);
    let differ = || differences(&swarms(&nodes[0]), &swarms(&nodes[1]));
    assert!(!differ().is_empty(), "none of {} was missed", dropped());
    // No faster than so small a queue takes them.
    for first in (11..=4000).step_by(210) {
        announce(first, first + 209);
        eventually("what waits is sent", || waiting(&nodes[0]) == 0.0);
    }
    become_equal(&[&nodes[0], &nodes[1]]);
}

#[test]
fn a_snapshot_is_restored_before_the_log_is_read() {
    let Some(engine) = Engine::newest() else { return };
    let _alone = alone();
    let single = Single::start(&engine, &[]);
    let yaml = format!("{}  snapshot: {{ every: 1h }}\n", single.share(""));
    let mut nodes = start(2, &yaml);
    for letter in ['a', 'b'] {
        Announce::of(letter).http(nodes[0].http).expect("it is let in");
    }
    become_equal(&[&nodes[0], &nodes[1]]);
    let folder = nodes.remove(1).stop();
    Announce::of('a').event("stopped").http(nodes[0].http).expect("it is let in");
    Announce::of('c').seeder().http(nodes[0].http).expect("it is let in");
    eventually("it is sent", || waiting(&nodes[0]) == 0.0);
    nodes.push(Daemon::start_in(folder));
    let known = become_equal(&[&nodes[0], &nodes[1]]);
    let hash = |letter| torrent(letter).map(|byte| format!("{byte:02x}")).concat();
    let peers = |letter| known.get(&hash(letter)).map_or(0, |swarm| swarm.peers.len());
    assert_eq!(['a', 'b', 'c'].map(peers), [0, 1, 1]);
}

#[test]
fn a_node_that_begins_to_share_tells_of_its_peers_as_they_announce() {
    let Some(engine) = Engine::newest() else { return };
    let _alone = alone();
    let single = Single::start(&engine, &[]);
    let sharing = start(1, &single.share(""));
    let other = Daemon::start_in(folder(&node("")));
    Announce::of('a').http(other.http).expect("it is let in");
    Announce::of('b').http(sharing[0].http).expect("it is let in");
    assert_eq!(swarms(&sharing[0]).len(), 1);
    let folder = other.stop();
    write_config(folder.path(), &node(&single.share("")));
    let other = Daemon::start_in(folder);
    // It has kept its own, and has read those of the other.
    assert_eq!(swarms(&other).len(), 2);
    Announce::of('a').http(other.http).expect("it is let in");
    assert_eq!(become_equal(&[&sharing[0], &other]).len(), 2);
}
