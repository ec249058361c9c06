//! The parts of the story in `docs/stories/datacenter.md` that must hold.

use karuta_stories::Peers;
use karuta_stories::clients::{self, Release, SIZE, Setting, near_and_far};
use karuta_stories::handed_out::{Site, ask_all, subnet};
use karuta_stories::model::rules::Rule;
use karuta_stories::model::{EIGHT_RACKS, transfer};
use karuta_tests::{Daemon, example};

#[test]
fn the_example_starts() {
    drop(Daemon::start_with(&example("datacenter.yaml")));
}

/// Returns whether libtorrent is there; where all tests must run, it has to be.
fn can_run() -> bool {
    if clients::are_there() {
        return true;
    }
    let why = "libtorrent for Python is missing; `make test` installs it";
    assert!(std::env::var_os("CI").is_none(), "{why}");
    eprintln!("skipped: {why}");
    false
}

/// Checks that every host that stayed has got the file, and returns the bytes across racks. The script
/// has compared the files.
fn crossed(release: &Release) -> u64 {
    assert_eq!(release.hosts.len(), EIGHT_RACKS.all_hosts() - 1);
    for host in release.hosts.iter().filter(|host| !release.vanished.contains(&host.address)) {
        let got: u64 = host.from.values().sum();
        assert!(got >= SIZE, "{} got {got} bytes of {SIZE}", host.address);
    }
    let (in_racks, across) = near_and_far(&release.traffic());
    println!("{across} bytes across racks, {in_racks} within, in {} s", release.seconds);
    across
}

#[test]
fn a_release_crosses_racks_less_often_with_the_policy_and_least_with_gateways() {
    if !can_run() {
        return;
    }
    // All at once, because they mostly wait for their speed limits.
    let [random, near, gateways] = std::thread::scope(|scope| {
        let runs = [Peers::Random, Peers::Near, Peers::Gateways(1)].map(|peers| {
            let setting = Setting { shape: EIGHT_RACKS, peers, want: 4, killed: 0 };
            scope.spawn(move || clients::release(setting))
        });
        runs.map(|run| crossed(&run.join().expect("all hosts have the file")))
    });
    let least = EIGHT_RACKS.racks as u64 * SIZE;
    assert!(least <= gateways, "every rack needs it once");
    assert!(near * 10 < random * 6, "{near} of {random} bytes");
    assert!(gateways * 10 < near * 9, "{gateways} of {near} bytes");
}

#[test]
fn every_host_has_the_file_though_gateways_vanish_in_the_middle() {
    if !can_run() {
        return;
    }
    let setting = Setting { shape: EIGHT_RACKS, peers: Peers::Gateways(1), want: 4, killed: 2 };
    let release = clients::release(setting);
    assert_eq!(release.vanished.len(), 2, "{:?}", release.vanished);
    crossed(&release);
}

#[test]
fn the_model_says_what_clients_do() {
    let crossed = |rule| {
        let run = transfer::run(transfer::story(EIGHT_RACKS, rule, 4, 0, 1));
        assert!(run.is_complete && run.across + run.within >= 32 * SIZE, "{run:?}");
        run.across
    };
    let random = crossed(Rule::Random);
    let near = crossed(Rule::Near { far_percent: 10 });
    let gateways = crossed(Rule::Gateways { count: 1, far_percent: 50, seeds_first: true });
    let least = EIGHT_RACKS.racks as u64 * SIZE;
    assert!(least <= gateways && gateways < near && near < random, "{gateways} {near} {random}");
    // Two gateways vanish, and the racks find others.
    let rule = Rule::Gateways { count: 1, far_percent: 50, seeds_first: true };
    let run = transfer::run(transfer::story(EIGHT_RACKS, rule, 4, 2, 1));
    assert!(run.is_complete, "{run:?}");
}

/// Racks of 12 hosts that want 8 peers.
#[test]
fn a_far_share_or_gateways_keep_racks_from_becoming_islands() {
    let site = Site { rows: 2, racks: 8, hosts: 12 };
    let [random, islands, connected, rows, gateways, levels] = std::thread::scope(|scope| {
        let policies = [
            String::new(),
            subnet("[24]", 0, 0),
            subnet("[24]", 10, 0),
            subnet("[24, 16]", 10, 0),
            subnet("[24]", 0, 2),
            subnet("[24, 16]", 0, 2),
        ];
        let runs = policies.map(|policies| scope.spawn(move || ask_all(site, 8, &policies)));
        runs.map(|run| run.join().expect("it runs to its end"))
    });
    let hosts = 2 * 8 * 12;
    for run in [random, islands, connected, rows] {
        assert_eq!(run.all(), hosts * 8, "{run:?}");
    }
    assert!(random.rack * 4 < random.all() && random.components == 1, "{random:?}");
    assert_eq!((islands.rack, islands.components), (hosts * 8, 16), "{islands:?}");
    assert_eq!((connected.rack, connected.components), (hosts * 7, 1), "{connected:?}");
    assert_eq!((rows.rack, rows.row, rows.elsewhere), (hosts * 7, 0, hosts), "{rows:?}");
    assert_eq!(rows.components, 1, "{rows:?}");
    // Two hosts of each of 16 racks know others; of the rows, two hosts of each.
    assert_eq!((gateways.crossing, gateways.components), (32, 1), "{gateways:?}");
    assert_eq!((levels.crossing, levels.components), (32, 1), "{levels:?}");
    assert_eq!(levels.elsewhere, 2 * 2 * 2, "{levels:?}");
    // Each host is given a gateway of its rack, and each of those one that knows another row.
    assert!(gateways.diameter <= 5 && levels.diameter <= 6, "{gateways:?} {levels:?}");
}
