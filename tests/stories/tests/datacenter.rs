//! The parts of the story in `docs/stories/datacenter.md` that must hold.

use karuta_stories::Peers;
use karuta_stories::clients::{self, Release, SIZE, near_and_far};
use karuta_stories::handed_out::{Site, ask_all, subnet};
use karuta_tests::{Daemon, example};

#[test]
fn the_example_starts() {
    drop(Daemon::start_with(&example("datacenter.yaml")));
}

#[test]
fn a_release_crosses_racks_less_often_with_the_policy() {
    if !clients::are_there() {
        let why = "libtorrent for Python is missing; `make test` installs it";
        assert!(std::env::var_os("CI").is_none(), "{why}");
        eprintln!("skipped: {why}");
        return;
    }
    // Both at once, because they mostly wait for their speed limits.
    let [random, near] = std::thread::scope(|scope| {
        let runs =
            [Peers::Random, Peers::Near].map(|peers| scope.spawn(move || clients::release(peers)));
        runs.map(|run| run.join().expect("all hosts have the file"))
    });
    let crossed = |release: &Release| {
        assert_eq!(release.hosts.len(), clients::RACKS * clients::HOSTS);
        for host in &release.hosts {
            let got: u64 = host.from.values().sum();
            assert!(got >= SIZE, "{} got {got} bytes of {SIZE}", host.address);
        }
        let (in_racks, across) = near_and_far(&release.traffic());
        println!("{across} bytes across racks, {in_racks} within, in {} s", release.seconds);
        across
    };
    let (random, near) = (crossed(&random), crossed(&near));
    assert!(near >= clients::RACKS as u64 * SIZE, "every rack needs it once");
    assert!(near * 10 < random * 6, "{near} of {random} bytes");
}

/// Racks of 12 hosts that want 8 peers.
#[test]
fn a_far_share_keeps_racks_from_becoming_islands() {
    let site = Site { rows: 2, racks: 8, hosts: 12 };
    let [random, islands, connected, rows] = std::thread::scope(|scope| {
        let policies =
            [String::new(), subnet("[24]", 0), subnet("[24]", 10), subnet("[24, 16]", 10)];
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
}
