//! The tracker, the database and their connection die again and again.

use std::time::{Duration, Instant};

use karuta_tests::eventually;

use crate::proxy::Proxy;
use crate::site::{Crowd, Site, database, with_all};

/// Some times in CI, and many times with `--ignored`.
const FEW: u64 = 12;
const MANY: u64 = 100;

/// A random pause of up to 200 ms.
fn pause() {
    let mut bytes = [0; 1];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), &mut bytes)
        .unwrap();
    std::thread::sleep(Duration::from_millis(u64::from(bytes[0]) * 200 / 256));
}

fn tracker_dies(times: u64) {
    with_all(|kind| {
        let mut site = Site::start(kind);
        let crowd = Crowd::begin(&site.daemon);
        for _ in 0..times {
            let Site { daemon, database, tables } = site;
            let mut killed = None;
            crowd.during(|| {
                pause();
                killed = Some(daemon.kill());
            });
            let daemon = karuta_tests::Daemon::start_in(killed.unwrap());
            crowd.moves_to(daemon.http);
            site = Site { daemon, database, tables };
        }
        crowd.end(&site);
    });
}

#[test]
fn no_byte_is_lost_or_counted_twice_when_the_tracker_is_killed() {
    tracker_dies(FEW);
}

#[test]
#[ignore = "takes minutes"]
fn no_byte_is_lost_or_counted_twice_when_the_tracker_is_killed_many_times() {
    tracker_dies(MANY);
}

fn database_dies(times: u64) {
    with_all(|kind| {
        let mut site = Site::start(kind);
        let crowd = Crowd::begin(&site.daemon);
        crowd.during(|| {
            for _ in 0..times {
                pause();
                site.database.crash();
                pause();
                site.database.launch();
            }
        });
        crowd.end(&site);
    });
}

#[test]
fn no_byte_is_lost_or_counted_twice_when_the_database_crashes() {
    database_dies(FEW / 2);
}

#[test]
#[ignore = "takes minutes"]
fn no_byte_is_lost_or_counted_twice_when_the_database_crashes_many_times() {
    database_dies(MANY);
}

fn connections_are_cut(times: u64) {
    with_all(|kind| {
        let database = database(kind);
        let proxy = Proxy::start(database.port);
        let site = Site::start_with(kind, database, proxy.port, str::to_owned);
        let crowd = Crowd::begin(&site.daemon);
        proxy.cut(times);
        crowd.during(|| {
            let until = Instant::now() + Duration::from_secs(20 + times);
            while proxy.cuts() < times {
                assert!(Instant::now() < until, "only {} of {times} cuts", proxy.cuts());
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        crowd.end(&site);
    });
}

#[test]
fn no_byte_is_lost_or_counted_twice_when_connections_are_cut_around_commit() {
    connections_are_cut(5 * FEW);
}

#[test]
#[ignore = "takes minutes"]
fn no_byte_is_lost_or_counted_twice_when_connections_are_cut_a_thousand_times() {
    connections_are_cut(1000);
}

#[test]
fn what_members_move_while_the_database_is_away_is_in_it_afterwards() {
    with_all(|kind| {
        let mut site = Site::start(kind);
        let crowd = Crowd::begin(&site.daemon);
        site.database.stop();
        let size = || site.status()["size_bytes"].as_u64().unwrap();
        let before = size();
        crowd.during(|| {
            let announces = || site.daemon.metric("karuta_accounts_announces_total");
            let goal = announces() + 2000.0;
            eventually("many announces", || announces() > goal);
        });
        assert!(size() <= before + 64 * 1024, "rows are those of clients, not of announces");
        eventually("it says so", || site.status()["database"]["up"] == false);
        assert!(site.daemon.metric("karuta_accounts_pending_rows") > 0.0);
        site.database.launch();
        crowd.end(&site);
    });
}
