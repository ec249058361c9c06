//! The engine fails, as a whole or in part. No announce waits for it, and nothing is lost.

use std::time::{Duration, Instant};

use karuta_tests::announce::Announce;
use karuta_tests::engines::{Engine, Single};
use karuta_tests::nodes::{Probe, become_equal, start, swarms, waiting};
use karuta_tests::{Daemon, eventually};

use crate::{PARTS, Scene, alone, figures, lags};

/// A part whose primary has no other part, with three primaries.
const PART: usize = 0;

/// Kills the primary of [`PART`], and waits until all goes on as before.
fn kill_primary(scene: &mut Scene, cut_off_before: bool) {
    figures("before", &mut scene.crowd.lap());
    let primary = scene.cluster.primary_of(PART);
    let replica = scene.cluster.replica_of(primary);
    if cut_off_before {
        scene.cluster.cut_off_replicas(primary);
        scene.goes_on();
    }
    let probes = scene.probes();
    let killed = Instant::now();
    scene.cluster.servers[primary].kill();
    scene.cluster.is_primary(replica);
    eprintln!("the replica is the primary after {:?}", killed.elapsed());
    scene.has_caught_up();
    scene.goes_on();
    let mut heard = scene.crowd.lap();
    figures("meanwhile", &mut heard);
    heard.is_clean();
    lags(probes);
    // It comes back as a replica.
    scene.cluster.servers[primary].launch();
    scene.goes_on();
}

#[test]
fn a_primary_that_dies_takes_nothing_along() {
    let Some(engine) = Engine::first() else { return };
    let mut scene = Scene::begin(&engine);
    kill_primary(&mut scene, false);
    scene.ends_well();
}

#[test]
fn what_a_dead_primary_had_acknowledged_and_nobody_else_has_is_sent_again() {
    for engine in Engine::all() {
        let mut scene = Scene::begin(&engine);
        kill_primary(&mut scene, true);
        let again = |node: &Daemon| node.metric("karuta_share_again_total");
        assert!(scene.nodes.iter().map(again).sum::<f64>() > 0.0);
        scene.ends_well();
    }
}

#[test]
fn an_engine_that_stands_still_keeps_nobody_waiting() {
    let Some(engine) = Engine::newest() else { return };
    let scene = Scene::begin(&engine);
    figures("before", &mut scene.crowd.lap());
    scene.cluster.signal("STOP");
    // Three times as long as a request may take.
    (0..3).for_each(|_| scene.goes_on());
    assert!(scene.nodes.iter().all(|node| waiting(node) > 0.0));
    assert!(scene.nodes[0].admin_page("/readyz").contains("degraded"));
    let mut heard = scene.crowd.lap();
    figures("meanwhile", &mut heard);
    heard.is_clean();
    scene.cluster.signal("CONT");
    scene.has_caught_up();
    eventually("all is well", || !scene.nodes[0].admin_page("/readyz").contains("degraded"));
    scene.ends_well();
}

#[test]
fn moved_slots_and_planned_failovers_are_followed() {
    let Some(engine) = Engine::newest() else { return };
    let scene = Scene::begin(&engine);
    let probes = scene.probes();
    let to = scene.cluster.move_part(PART);
    scene.goes_on();
    scene.cluster.fail_over(to);
    scene.goes_on();
    scene.cluster.fail_over(scene.cluster.primary_of(1));
    scene.goes_on();
    lags(probes);
    scene.ends_well();
}

#[test]
fn an_emptied_engine_is_filled_by_later_announces() {
    let Some(engine) = Engine::first() else { return };
    let _alone = alone();
    let single = Single::start(&engine, &[]);
    let yaml = single.share("");
    let nodes = start(2, &yaml);
    let announce = |port| {
        Announce::of('a').port(port).http(nodes[0].http).expect("it is let in");
    };
    announce(1);
    become_equal(&[&nodes[0], &nodes[1]]);
    single.server.connect().does("FLUSHALL");
    announce(2);
    let known = become_equal(&[&nodes[0], &nodes[1]]);
    assert_eq!(known.values().next().expect("a torrent").peers.len(), 2);
    // A new node learns of peers as they announce again.
    let late = start(1, &yaml);
    eventually("the second one is there", || {
        swarms(&late[0]).values().any(|swarm| !swarm.peers.is_empty())
    });
    announce(1);
    become_equal(&[&nodes[0], &late[0]]);
}

#[test]
fn an_engine_that_is_started_anew_without_data_is_followed() {
    let Some(engine) = Engine::newest() else { return };
    let _alone = alone();
    let mut single = Single::start(&engine, &[]);
    let nodes = start(2, &single.share(""));
    for port in 1..100 {
        Announce::of('a').port(port).http(nodes[0].http).expect("it is let in");
    }
    become_equal(&[&nodes[0], &nodes[1]]);
    single.server.kill();
    for port in 100..200 {
        Announce::of('a').port(port).http(nodes[1].http).expect("it is let in");
    }
    eventually("they wait", || waiting(&nodes[1]) > 0.0);
    single.server.launch();
    let known = become_equal(&[&nodes[0], &nodes[1]]);
    assert_eq!(known.values().next().expect("a torrent").peers.len(), 199);
}

#[test]
fn a_full_engine_is_named_and_the_nodes_serve_on() {
    let Some(engine) = Engine::newest() else { return };
    let _alone = alone();
    let single = Single::start(&engine, &["--maxmemory-policy", "noeviction"]);
    let nodes = start(2, &single.share(""));
    let mut client = single.server.connect();
    client.does("CONFIG SET maxmemory 1");
    Announce::of('a').http(nodes[0].http).expect("it is let in");
    nodes[0].logs("OOM command not allowed");
    let says = |what: &str| nodes[0].admin_page("/api/status").contains(what);
    eventually("the status says so", || says("OOM command not allowed"));
    Announce::of('a').port(2).http(nodes[0].http).expect("it is let in");
    client.does("CONFIG SET maxmemory 0");
    eventually("all is well", || !says("OOM command not allowed"));
    become_equal(&[&nodes[0], &nodes[1]]);
}

#[test]
fn other_parts_do_not_wait_for_a_dead_primary() {
    let Some(engine) = Engine::newest() else { return };
    let mut scene = Scene::begin(&engine);
    let primary = scene.cluster.primary_of(PART);
    let replica = scene.cluster.replica_of(primary);
    // Nobody takes its place.
    scene.cluster.servers[replica].kill();
    scene.cluster.servers[primary].kill();
    let lost = |node: &Daemon| node.metric(&format!("karuta_share_connected{{part=\"{PART}\"}}"));
    eventually("the part is lost", || scene.nodes.iter().all(|node| lost(node) == 0.0));
    let [from, to] = [0, 1].map(|node| scene.nodes[node].udp);
    let probes: Vec<_> = (1..PARTS).map(|part| Probe::start(part, from, to)).collect();
    (0..2).for_each(|_| scene.goes_on());
    for lag in lags(probes) {
        assert!(lag < Duration::from_secs(5), "a part was late by {lag:?}");
    }
    assert_eq!(scene.nodes.iter().map(lost).sum::<f64>(), 0.0);
    let (heard, _) = scene.crowd.stop();
    heard.is_clean();
}
