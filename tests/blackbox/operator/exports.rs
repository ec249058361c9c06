//! Exports to files: whole at every moment, and loud when they fail.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use karuta_tests::announce::Announce;
use karuta_tests::{Daemon, Done, LISTENERS, eventually, folder, run, write_config};
use serde_json::Value;

/// A configuration whose exports may be anywhere.
fn yaml(exports: &str) -> String {
    format!("{LISTENERS}landlock: false\nexport: {exports}\n")
}

fn reload(daemon: &Daemon, exports: &str) -> String {
    reload_with(daemon, &yaml(exports))
}

fn reload_with(daemon: &Daemon, yaml: &str) -> String {
    write_config(daemon.folder.path(), yaml);
    let admin = daemon.admin.to_string();
    let output = run(&["reload", "--admin", &admin], daemon.folder.path());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn status(daemon: &Daemon) -> Value {
    serde_json::from_str(&daemon.admin_page("/api/status")).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Starts a daemon whose folder `out` is for exports.
fn start(exports: &str) -> Daemon {
    let folder = folder(&yaml(exports));
    fs::create_dir(folder.path().join("out")).unwrap();
    Daemon::start_in(folder)
}

#[test]
fn a_file_is_replaced_whole_and_can_always_be_read() {
    let export = |fewest: u32| {
        format!("[{{ format: txtp, path: out/all.txt, every: 1h, min_peers: {fewest} }}]")
    };
    let daemon = start(&export(9));
    let file = daemon.folder.path().join("out/all.txt");
    eventually("the first export is made at the start", || file.exists());
    for letter in 'a'..='p' {
        Announce::of(letter).port(1).http(daemon.http).unwrap();
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Also if the test fails: the scope waits for the reader.
        let end = Done(&done);
        let reader = scope.spawn(|| {
            let mut seen = [0; 2];
            while !done.load(Ordering::Relaxed) {
                match fs::read_to_string(&file).unwrap().lines().count() {
                    0 => seen[0] += 1,
                    16 => seen[1] += 1,
                    other => panic!("{other} lines"),
                }
            }
            seen
        });
        for round in 0..5 {
            let (fewest, lines) = [(1, 16), (9, 0)][round % 2];
            assert!(reload(&daemon, &export(fewest)).contains("exports changed"));
            eventually("a changed export is made at once", || {
                fs::read_to_string(&file).unwrap().lines().count() == lines
            });
        }
        drop(end);
        let seen = reader.join().unwrap();
        assert!(seen[1] > 0, "{seen:?}");
    });
    assert_eq!(names(&daemon.folder.path().join("out")), ["all.txt"], "nothing is left beside it");
    let shown = &status(&daemon)["exports"][0];
    let bytes = fs::metadata(&file).unwrap().len();
    assert_eq!((&shown["format"], &shown["bytes"]), (&"txtp".into(), &bytes.into()));
    assert_eq!((&shown["every_seconds"], &shown["error"]), (&3600.into(), &Value::Null));
    let labels = format!("{{format=\"txtp\",path=\"{}\"}}", shown["path"].as_str().unwrap());
    assert_eq!(daemon.metric(&format!("karuta_export_size_bytes{labels}")), bytes as f64);
    assert!(daemon.metric(&format!("karuta_export_timestamp_seconds{labels}")) > 1e9);
    assert!(reload(&daemon, "[]").contains("exports changed"));
    eventually("it is forgotten", || status(&daemon)["exports"].as_array().unwrap().is_empty());
    assert!(!daemon.admin_page("/metrics").contains("karuta_export_"));
}

#[test]
fn exports_are_made_while_all_processors_are_busy() {
    let daemon = start("[]");
    let out = daemon.folder.path().join("out");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = Done(&done);
        for _ in 0..2 * std::thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop()
                }
            });
        }
        reload(&daemon, "[{ format: txt, path: out/all, every: 1h }]");
        eventually("it is there", || names(&out) == ["all"]);
    });
}

#[test]
fn exports_have_the_formats_and_the_peers_that_are_wanted() {
    let before = start("[]");
    Announce::of('a').port(7).seeder().http(before.http).unwrap();
    let more = "[{ format: bin, path: out/all.bin, every: 10s },
                 { format: ndjson, path: out/a.json, every: 10s, peers: true, prefix: '61' },
                 { format: txt, path: out/b.txt, every: 10s, prefix: '62' }]";
    reload(&before, more);
    let out = before.folder.path().join("out");
    eventually("all are there", || names(&out) == ["a.json", "all.bin", "b.txt"]);
    assert_eq!(fs::metadata(out.join("all.bin")).unwrap().len(), 28);
    let torrent: Value =
        serde_json::from_str(&fs::read_to_string(out.join("a.json")).unwrap()).unwrap();
    assert_eq!(torrent["peers"][0]["address"], "127.0.0.1:7");
    assert_eq!(fs::read(out.join("b.txt")).unwrap(), b"");
}

#[test]
fn a_failure_is_said_once_and_shown_until_the_next_success() {
    let daemon = start("[]");
    let out = daemon.folder.path().join("out");
    let export =
        |fewest: u32| format!("[{{ format: ben, path: out/all, every: 1h, min_peers: {fewest} }}]");
    // No folder accepts a file any more, not even root's.
    let limit = ["--fsize=5:", "--pid", &daemon.pid().to_string()].map(str::to_owned);
    let limited = std::process::Command::new("prlimit").args(limit).status().unwrap();
    assert!(limited.success());
    reload(&daemon, &export(0));
    daemon.logs("cannot write export; the last one stays");
    let shown = || status(&daemon)["exports"][0].clone();
    eventually("the status has the reason", || shown()["error"].is_string());
    assert_eq!(shown()["age_seconds"], Value::Null);
    let reasons = status(&daemon)["health"]["reasons"].to_string();
    assert!(reasons.contains("the last export to out/all failed: "), "{reasons}");
    let failures = "karuta_export_failures_total{format=\"ben\",path=\"out/all\"}";
    assert_eq!(daemon.metric(failures), 1.0);
    assert_eq!(names(&out), Vec::<String>::new(), "no part of a file is left");
    let unlimited = ["--fsize=unlimited:", "--pid", &daemon.pid().to_string()].map(str::to_owned);
    assert!(std::process::Command::new("prlimit").args(unlimited).status().unwrap().success());
    reload(&daemon, &export(1));
    eventually("it is well again", || {
        fs::read(out.join("all")).is_ok_and(|bytes| bytes == b"d5:filesdee")
            && status(&daemon)["health"]["word"] == "serving"
    });
    assert_eq!(daemon.log().matches("cannot write export").count(), 1);
}

#[test]
fn landlock_allows_the_folders_of_the_start() {
    let yaml = |path: &str| {
        format!("{LISTENERS}export: [{{ format: txt, path: {path}/all.txt, every: 10s }}]\n")
    };
    let own = folder(&yaml("out"));
    fs::create_dir(own.path().join("out")).unwrap();
    let mut daemon = Daemon::start_in(own);
    let folder = daemon.folder.path().to_owned();
    eventually("the folder of the start can be written to", || folder.join("out/all.txt").exists());
    fs::create_dir(folder.join("later")).unwrap();
    let said = reload_with(&daemon, &yaml("later"));
    if status(&daemon)["landlock"] == "on" {
        assert!(said.contains("export"), "{said}");
        assert!(names(&folder.join("later")).is_empty());
        daemon = daemon.restart();
    }
    eventually("it is written", || daemon.folder.path().join("later/all.txt").exists());
}
