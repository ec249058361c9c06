//! What policies write into the log, and how much of it.

use std::time::Instant;

use karuta_tests::announce::Announce;
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, eventually};

#[test]
fn what_a_policy_prints_goes_into_the_log() {
    let daemon = Daemon::start(
        "policies: [{ name: talker, plugin: PLUGINS/test-hostile.wasm, \
         config: { rules: [{ on: announce, do: println, text: 'hello from the worker' }] } }]",
    );
    Announce::of('a').http(daemon.http).expect("it is served");
    Announce::of('a').udp(&Client::connect(daemon.udp)).expect("it is served");
    eventually("both lines are in the log", || {
        let log = daemon.log();
        let lines = log.lines().filter(|line| line.contains("hello from the worker"));
        lines.filter(|line| line.contains("talker")).count() == 2
    });
}

#[test]
fn a_flood_of_log_lines_is_cut() {
    let daemon = Daemon::start(
        "policies: [{ name: talker, plugin: PLUGINS/test-hostile.wasm, limits: { deadline: 1s }, \
         config: { rules: [{ on: announce, do: log-flood }] } }]",
    );
    Announce::of('a').http(daemon.http).expect("it is served");
    let lines = || daemon.log().lines().filter(|line| line.contains("\"line ")).count();
    eventually("some are there", || lines() > 0);
    assert!(lines() < 1000, "{} of 10000 lines", lines());
}

/// Restarts do not reset the allowance, and printing uses it as well.
#[test]
fn a_policy_has_one_allowance_of_log_lines_over_all_its_instances() {
    let daemon = Daemon::start(
        "tracker: { workers: 1 }
policies:
  - name: talker
    plugin: PLUGINS/test-hostile.wasm
    config:
      rules:
        - { on: init, do: log-flood }
        - { on: init, do: println, text: printed }
        - { on: announce, do: trap, query: bomb }
",
    );
    for port in 1000..1100 {
        let announce = Announce::of('a').port(port);
        let _ = announce.with("bomb").http(daemon.http);
    }
    let start = Instant::now();
    eventually("instances are made anew", || {
        let _ = Announce::of('b').with("bomb").http(daemon.http);
        daemon.metric("karuta_policy_restarts_total{policy=\"talker\"}") >= 3.0
    });
    let lines = || daemon.log().lines().filter(|line| line.contains("\"plugin\"")).count();
    eventually("it has written what it may", || lines() >= 50);
    // The allowance counts from the start of the daemon, up to 20 s before `start`.
    let most = 50 + 10 * (start.elapsed().as_secs() as usize + 20);
    assert!(lines() < most, "{}", lines());
}
