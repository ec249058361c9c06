//! Swarms outlive the process: what a restart keeps, and what becomes of files that are damaged.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use karuta_tests::announce::{Announce, Reply, torrent};
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, LISTENERS, folder, ipv6, run, write_config};

const TORRENTS: [[u8; 20]; 4] = [[b'a'; 20], [b'b'; 20], [b'c'; 20], [b'd'; 20]];

/// Fills swarms of both families with every role, and a torrent that only has downloads.
fn fill(daemon: &Daemon) {
    for port in 1..=40 {
        Announce::of('a').port(port).want(0).http(daemon.http).unwrap();
    }
    for port in 1..=3 {
        Announce::of('b').port(port).seeder().http(daemon.http).unwrap();
        Announce::of('b').port(port).http(ipv6(daemon.http)).unwrap();
        Announce::of('b').port(9).event("paused").http(daemon.http).unwrap();
    }
    for torrent in ['b', 'c'] {
        let peer = Announce::of(torrent).port(7);
        peer.http(daemon.http).unwrap();
        peer.clone().seeder().event("completed").http(daemon.http).unwrap();
        if torrent == 'c' {
            peer.event("stopped").http(daemon.http).unwrap();
        }
    }
}

/// Returns the counts of all torrents, and the peers of two, as a new peer is told.
fn seen(daemon: &Daemon) -> (Vec<[u32; 3]>, [Reply; 2]) {
    let scrape = Client::connect(daemon.udp).scrape(&TORRENTS).unwrap();
    let peers = ['a', 'b'].map(|torrent| {
        let asking = Announce::of(torrent).port(6000);
        let reply = asking.clone().want(200).http(daemon.http).unwrap();
        asking.event("stopped").http(daemon.http).unwrap();
        reply
    });
    (scrape, peers)
}

/// Ends a daemon by a signal, lets `change` change its folder, and starts it again.
fn again(mut daemon: Daemon, signal: &str, change: impl FnOnce(&Path)) -> Daemon {
    daemon.signal(signal);
    daemon.wait();
    let kept = std::mem::replace(&mut daemon.folder, tempfile::tempdir().unwrap());
    change(kept.path());
    Daemon::start_in(kept)
}

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join("state/swarms").join(name)
}

fn files(daemon: &Daemon) -> Vec<String> {
    let files = fs::read_dir(daemon.folder.path().join("state/swarms")).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn save(daemon: &Daemon) -> String {
    let admin = daemon.admin.to_string();
    let output = run(&["snapshot", "save", "--admin", &admin], daemon.folder.path());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn snapshots(daemon: &Daemon, outcome: &str) -> f64 {
    daemon.metric(&format!("karuta_snapshots_total{{outcome=\"{outcome}\"}}"))
}

#[test]
fn a_restart_keeps_every_peer_and_every_count() {
    let daemon = Daemon::start("");
    fill(&daemon);
    let before = seen(&daemon);
    let daemon = again(daemon, "TERM", |_| {});
    daemon.logs("restored snapshot");
    let restored = |family, role| {
        let labels = format!("{{family=\"{family}\",role=\"{role}\"}}");
        daemon.metric(&format!("karuta_restored_peers{labels}"))
    };
    assert_eq!(restored("ipv4", "leecher") + restored("ipv4", "seeder"), 45.0);
    assert_eq!((restored("ipv6", "leecher"), restored("ipv6", "seeder")), (3.0, 0.0));
    assert_eq!(seen(&daemon), before);
    // A download that was counted before is not counted again.
    Announce::of('b').port(7).http(daemon.http).unwrap();
    Announce::of('b').port(7).seeder().event("completed").http(daemon.http).unwrap();
    let daemon = again(daemon, "INT", |_| {});
    assert_eq!(seen(&daemon), before, "restarts do not add up");
    assert_eq!(files(&daemon), ["current", "lock", "previous"]);
}

#[test]
fn peer_ids_are_kept_if_they_are_wanted() {
    let daemon = Daemon::start("swarms: { keep_peer_ids: true }");
    let id = *b"-KA0100-abcdefghijkl";
    Announce::of('a').port(1).peer_id(id).http(daemon.http).unwrap();
    let daemon = again(daemon, "TERM", |_| {});
    let asking = Announce::of('a').port(2);
    let answer = karuta_tests::get(
        daemon.http,
        &format!("/announce?{}", asking.query().replace("compact=1", "compact=0")),
        &[],
    );
    assert!(answer.body.windows(20).any(|part| part == id), "{}", answer.body_text());
}

#[test]
fn whoever_is_killed_loses_what_came_after_the_last_snapshot() {
    let daemon = Daemon::start("");
    fill(&daemon);
    let before = seen(&daemon);
    let said = save(&daemon);
    assert!(said.starts_with("2 swarms, 48 peers: "), "{said}");
    assert_eq!(snapshots(&daemon, "written"), 1.0);
    Announce::of('d').http(daemon.http).unwrap();
    let daemon = again(daemon, "KILL", |_| {});
    assert_eq!(seen(&daemon), before);
}

#[test]
fn the_first_start_says_that_there_is_nothing_yet() {
    let daemon = Daemon::start("");
    daemon.logs("no snapshot; starting with empty swarms");
    let status: serde_json::Value =
        serde_json::from_str(&daemon.admin_page("/api/status")).unwrap();
    let nothing = serde_json::json!({
        "age_seconds": null, "every_seconds": 300, "bytes": null, "error": null,
        "restored_peers": null,
    });
    assert_eq!(status["snapshot"], nothing);
}

#[test]
fn without_snapshots_a_restart_forgets() {
    let daemon = Daemon::start("swarms: { snapshot: false }");
    fill(&daemon);
    let admin = daemon.admin.to_string();
    let output = run(&["snapshot", "save", "--admin", &admin], daemon.folder.path());
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "karuta: 409 Conflict: there are no snapshots: `swarms.snapshot`\n");
    let daemon = again(daemon, "TERM", |folder| assert!(!folder.join("state/swarms").exists()));
    assert_eq!(daemon.metric("karuta_swarms"), 0.0);
}

#[test]
fn the_folder_of_snapshots_can_be_elsewhere() {
    let daemon = Daemon::start("swarms: { snapshot: { path: kept } }");
    fill(&daemon);
    let daemon = again(daemon, "TERM", |folder| {
        assert!(folder.join("kept/current").exists() && !folder.join("state/swarms").exists());
    });
    assert_eq!(daemon.metric("karuta_swarms"), 2.0);
}

#[test]
fn a_second_tracker_with_the_same_state_is_told_whose_it_is() {
    let first = Daemon::start("");
    let output = run(&["run"], first.folder.path());
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    let expected = format!(
        "karuta: swarms.snapshot: state/swarms: in use by the tracker with process id {}",
        first.pid()
    );
    assert_eq!(said.lines().next_back(), Some(&*expected), "{said}");
}

/// A way to make a file unusable.
type Spoil = fn(&Path);

/// What happens to files that are no snapshots: they are kept, and the tracker starts empty.
#[test]
fn a_file_that_cannot_be_used_is_put_aside() {
    let spoil: [(&str, Spoil); 4] = [
        ("it is of another kind", |path| change(path, |bytes| bytes[0] = b'X')),
        ("it has format 2, expected 1", |path| change(path, |bytes| bytes[8] = 2)),
        ("its header is damaged", |path| change(path, |bytes| bytes[20] ^= 1)),
        ("the file is writable by other users", |path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o666)).unwrap();
        }),
    ];
    let mut daemon = Daemon::start("");
    for (reason, spoil) in spoil {
        fill(&daemon);
        daemon = again(daemon, "TERM", |folder| {
            for file in fs::read_dir(folder.join("state/swarms")).unwrap() {
                let path = file.unwrap().path();
                if path.to_string_lossy().contains(".unreadable-") {
                    fs::remove_file(path).unwrap();
                }
            }
            spoil(&file(folder, "current"));
        });
        daemon.logs("cannot use the snapshot; starting with empty swarms");
        assert!(daemon.log().contains(reason), "{reason}");
        assert_eq!((daemon.metric("karuta_swarms"), snapshots(&daemon, "refused")), (0.0, 1.0));
        assert!(daemon.admin_page("/readyz").starts_with("ok"));
        let aside = |name: &String| name.starts_with("current.unreadable-");
        assert!(files(&daemon).iter().any(aside), "{:?}", files(&daemon));
    }
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Returns the start of the block of this kind.
fn block(bytes: &[u8], kind: u8) -> usize {
    let starts = (512..bytes.len()).step_by(512);
    let mut of_kind = starts.filter(|at| bytes[*at..at + 4] == [kind, 0, u8::from(kind == 1), 0]);
    of_kind.next().expect("a block of this kind")
}

/// The swarms are in one block, the torrents without peers in the next. Each is lost alone, and an
/// older snapshot does not take its place.
#[test]
fn a_damaged_block_costs_what_is_in_it() {
    let daemon = Daemon::start("");
    fill(&daemon);
    save(&daemon);
    let whole = Client::connect(daemon.udp).scrape(&TORRENTS).unwrap();
    for kind in [1, 2] {
        let copy = fs::read(file(daemon.folder.path(), "current")).unwrap();
        let daemon = Daemon::start("");
        let daemon = again(daemon, "KILL", |folder| {
            fs::create_dir_all(folder.join("state/swarms")).unwrap();
            for name in ["current", "previous"] {
                fs::write(file(folder, name), &copy).unwrap();
            }
            change(&file(folder, "current"), |bytes| {
                let at = block(bytes, kind) + 30;
                bytes[at] ^= 0x10;
            });
        });
        daemon.logs("snapshot is damaged; restored the rest");
        assert_eq!(snapshots(&daemon, "damaged"), 1.0);
        let [a, b, c, _] = Client::connect(daemon.udp).scrape(&TORRENTS).unwrap()[..] else {
            panic!("four torrents")
        };
        match kind {
            1 => assert_eq!([a, b, c], [[0; 3], [0; 3], whole[2]]),
            _ => assert_eq!([a, b, c], [whole[0], whole[1], [0; 3]]),
        }
        let path = file(daemon.folder.path(), "current");
        let output = run(&["snapshot", "verify", path.to_str().unwrap()], daemon.folder.path());
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.ends_with(": 1 blocks are whole, 1 are lost, 0 are malformed\n"), "{said}");
    }
}

#[test]
fn what_is_before_the_cut_is_restored() {
    let daemon = Daemon::start("");
    fill(&daemon);
    let before = seen(&daemon);
    let daemon = again(daemon, "TERM", |folder| {
        change(&file(folder, "current"), |bytes| {
            let end = bytes.len() - 512;
            bytes.truncate(end);
        });
    });
    daemon.logs("snapshot is damaged; restored the rest");
    daemon.logs("2 blocks are whole, 0 are lost, 0 are malformed, and the end is cut off");
    assert_eq!(seen(&daemon), before);
}

#[test]
fn the_time_that_passes_without_a_tracker_counts() {
    // Peers live for 45 minutes.
    for (minutes_ago, peers) in [(40, 45.0), (46, 0.0), (-600, 45.0)] {
        let daemon = Daemon::start("");
        fill(&daemon);
        let daemon = again(daemon, "TERM", |folder| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
            let created = now - minutes_ago * 60_000;
            change(&file(folder, "current"), |bytes| {
                // Its checksums are made with the id, not with the header.
                bytes[16..24].copy_from_slice(&created.to_le_bytes());
                let sum = crc32c(&bytes[..60]);
                bytes[60..64].copy_from_slice(&sum.to_le_bytes());
            });
        });
        let peers4 =
            |role| daemon.metric(&format!("karuta_peers{{family=\"ipv4\",role=\"{role}\"}}"));
        assert_eq!(peers4("leecher") + peers4("seeder"), peers, "{minutes_ago} minutes");
        let downloads = Client::connect(daemon.udp).scrape(&TORRENTS).unwrap()[2];
        assert_eq!(downloads, [0, 1, 0], "kept for a day");
    }
}

fn crc32c(bytes: &[u8]) -> u32 {
    let bit = |sum: u32, _| sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 };
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), bit))
}

#[test]
fn lower_limits_hold_for_restored_peers() {
    let daemon = Daemon::start("");
    fill(&daemon);
    let daemon = again(daemon, "TERM", |folder| {
        write_config(
            folder,
            &format!("{LISTENERS}swarms: {{ limits: {{ peers_per_torrent: 5 }} }}"),
        );
    });
    daemon.logs("swarms.limits leave no room for all restored peers");
    assert_eq!(daemon.metric("karuta_swarms"), 2.0);
    let counts = Client::connect(daemon.udp).scrape(&[torrent('a')]).unwrap();
    assert_eq!(counts, [[0, 0, 5]]);
}

#[test]
fn policies_remember_over_a_restart() {
    let daemon = Daemon::start(
        "
policies:
  - name: limits
    plugin: PLUGINS/rate-limit.wasm
    config: { by: address, requests: 2, every: 1h }
  - name: observer
    plugin: PLUGINS/test-control.wasm
",
    );
    let announce = Announce::of('a');
    let report = |uploaded: u64| {
        let query = announce.query().replace("uploaded=0", &format!("uploaded={uploaded}"));
        karuta_tests::get(daemon.http, &format!("/announce?{query}"), &[])
    };
    assert_eq!([report(1000), report(2000)].map(|answer| answer.status), [200; 2]);
    assert_eq!(announce.http(daemon.http), Err("too many announces".into()));
    let daemon = again(daemon, "TERM", |_| {});
    assert_eq!(announce.http(daemon.http), Err("too many announces".into()));
    daemon.logs("restored snapshot");
    let path = file(daemon.folder.path(), "current");
    let output = run(&["snapshot", "info", path.to_str().unwrap()], daemon.folder.path());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("\nswarms      1\npeers       1 IPv4, 0 IPv6, for up to 2700 s\n"),
        "{said}"
    );
    let policy = |name: &str, rows: &str| {
        let start = format!("policy      {name}: ");
        said.lines().any(|line| line.starts_with(&start) && line.ends_with(rows))
    };
    assert!(policy("limits", " key-values, 0 peers' reports"), "{said}");
    assert!(policy("observer", " key-values, 1 peers' reports"), "{said}");
}

/// A file system of 1 MiB.
struct Small(tempfile::TempDir);

impl Small {
    /// Returns `None` if this user may not mount it.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let options = ["-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs"];
        let mounted = Command::new("mount").args(options).arg(folder.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_leaves_the_last_snapshot() {
    let Some(mounted) = Small::mount() else {
        return eprintln!("skipped: only root can mount a small file system");
    };
    let small = mounted.0.path();
    let yaml = format!("swarms: {{ snapshot: {{ path: {} }} }}", small.display());
    let daemon = Daemon::start(&yaml);
    fill(&daemon);
    save(&daemon);
    let current = small.join("current");
    let before = fs::read(&current).unwrap();
    let _ = fs::write(small.join("filler"), vec![0; 1 << 20]);
    let admin = daemon.admin.to_string();
    for _ in 0..2 {
        let output = run(&["snapshot", "save", "--admin", &admin], daemon.folder.path());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
    assert_eq!(fs::read(&current).unwrap(), before);
    assert_eq!(snapshots(&daemon, "failed"), 2.0);
    daemon.logs("cannot write snapshot; the last one stays");
    assert_eq!(daemon.log().matches("cannot write snapshot; the last one stays").count(), 1);
    assert!(daemon.admin_page("/readyz").starts_with("ok"));
    let status: serde_json::Value =
        serde_json::from_str(&daemon.admin_page("/api/status")).unwrap();
    assert!(status["snapshot"]["error"].is_string() && status["snapshot"]["age_seconds"].is_u64());
    fs::remove_file(small.join("filler")).unwrap();
    save(&daemon);
}

#[test]
fn other_files_are_not_taken_for_snapshots() {
    let folder = folder("udp: [{}]");
    for command in ["info", "verify"] {
        let output = run(&["snapshot", command, "config.yaml"], folder.path());
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        let expected = "karuta: config.yaml: not a snapshot, or damaged: it is of another kind\n";
        assert_eq!(said, expected);
    }
}
