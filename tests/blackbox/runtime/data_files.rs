//! Data sources in files, which are followed while the tracker serves.

use std::fs;
use std::path::Path;

use karuta_tests::announce::{Announce, torrent};
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, LISTENERS, eventually, folder, run, write_config};
use serde_json::{Value, json};

const APPROVAL: &str = "
tracker: { workers: 2 }
policies:
  - name: torrents
    plugin: PLUGINS/torrent-approval.wasm
    config: { allow_from: approved, scrapes: pass }
    data: { approved: { file: lists/approved.txt, format: info-hashes } }
";

/// Returns the list of the torrents of these letters.
fn list(letters: &str) -> String {
    let line =
        |letter| torrent(letter).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    letters.chars().map(|letter| line(letter) + " # one of ours\r\n").collect()
}

/// Replaces the file by renaming a new one over it, as documented.
fn rename_in(file: &Path, text: &str) {
    let fresh = file.with_extension("new");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, file).unwrap();
}

/// Returns the letters of the torrents that are admitted, of `a` to `d`, over both transports.
fn approved(daemon: &Daemon) -> String {
    let client = Client::connect(daemon.udp);
    let is_in = |result: Result<_, String>| {
        result.map_err(|reason| assert_eq!(reason, "unapproved torrent")).is_ok()
    };
    let ask = |letter: &char| {
        let announce = Announce::of(*letter);
        is_in(announce.http(daemon.http)) && is_in(announce.udp(&client))
    };
    "abcd".chars().filter(ask).collect()
}

fn metric(daemon: &Daemon, series: &str) -> f64 {
    daemon.metric(&format!("karuta_data_{series}{{policy=\"torrents\",data=\"approved\"}}"))
}

fn data_of(daemon: &Daemon) -> Value {
    let status: Value = serde_json::from_str(&daemon.admin_page("/api/status")).unwrap();
    let data = &status["policies"][0]["data"][0];
    let age = data["age_seconds"].is_u64();
    let [name, version, entries] = ["name", "version", "entries"].map(|key| &data[key]);
    json!({ "name": name, "version": version, "entries": entries, "age_seconds": age })
}

#[test]
fn a_list_is_followed_and_a_broken_one_is_refused() {
    let daemon = Daemon::start(APPROVAL);
    let file = daemon.folder.path().join("lists/approved.txt");
    assert_eq!(approved(&daemon), "", "without the file, no torrent is listed");
    let nothing = json!({ "name": "approved", "version": 0, "entries": 0, "age_seconds": false });
    assert_eq!(data_of(&daemon), nothing);

    rename_in(&file, &list("ab"));
    eventually("the list is there", || approved(&daemon) == "ab");
    rename_in(&file, &list("bc"));
    eventually("a renamed one takes its place", || approved(&daemon) == "bc");
    fs::write(&file, list("bcd")).unwrap();
    eventually("so does one that is written over it", || approved(&daemon) == "bcd");
    let third = json!({ "name": "approved", "version": 3, "entries": 3, "age_seconds": true });
    assert_eq!(data_of(&daemon), third);
    assert_eq!((metric(&daemon, "entries"), metric(&daemon, "errors_total")), (3.0, 0.0));

    rename_in(&file, &(list("a") + "nonsense\n"));
    eventually("a broken one is refused", || metric(&daemon, "errors_total") > 0.0);
    assert_eq!(approved(&daemon), "bcd");
    assert_eq!(data_of(&daemon), third);
    daemon.logs("line 2: `nonsense`, expected 40 hexadecimal digits");

    fs::remove_file(&file).unwrap();
    rename_in(&file, &list("d"));
    eventually("a good one comes again", || approved(&daemon) == "d");
    assert_eq!(metric(&daemon, "errors_total"), 1.0);
}

#[test]
fn a_file_that_cannot_be_read_is_counted_and_logged_once() {
    let daemon = Daemon::start(APPROVAL);
    let file = daemon.folder.path().join("lists/approved.txt");
    rename_in(&file, &list("a"));
    eventually("the list is there", || approved(&daemon) == "a");
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("approved.txt", &file).unwrap();
    let told = || daemon.log().matches("cannot use new data").count();
    eventually("a loop of links is no list", || metric(&daemon, "errors_total") == 1.0);
    assert_eq!((approved(&daemon), told()), ("a".into(), 1));
    fs::remove_file(&file).unwrap();
    // Until this file is read, the tracker has looked at the broken one again and again.
    rename_in(&file, &list("b"));
    eventually("a list comes again", || approved(&daemon) == "b");
    assert_eq!((metric(&daemon, "errors_total"), told()), (1.0, 1));
}

#[test]
fn an_unchanged_source_keeps_its_data_through_a_reload() {
    let daemon = Daemon::start(APPROVAL);
    let file = daemon.folder.path().join("lists/approved.txt");
    rename_in(&file, &list("ab"));
    eventually("the list is there", || approved(&daemon) == "ab");
    fs::remove_file(&file).unwrap();
    let reload = |yaml: &str| {
        write_config(daemon.folder.path(), &format!("{LISTENERS}{yaml}"));
        let admin = daemon.admin.to_string();
        let output = run(&["reload", "--admin", &admin], daemon.folder.path());
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let more = APPROVAL.replace("scrapes: pass", &format!("deny: ['{}']", &list("b")[..40]));
    assert_eq!(reload(&more), "generation 2: replaced torrents\n");
    assert_eq!(approved(&daemon), "a", "the last good version stays");

    let required = more.replace("info-hashes }", "info-hashes, required: true }");
    let refused = reload(&required);
    assert!(refused.contains("policies[0].data.approved.file: no such file"), "{refused}");
    assert_eq!(approved(&daemon), "a");

    rename_in(&file, "nonsense\n");
    let refused = reload(&required);
    assert!(refused.contains("data: "), "{refused}");
    assert!(refused.contains("line 1: `nonsense`, expected 40 hexadecimal digits"), "{refused}");
    assert_eq!(approved(&daemon), "a");
}

/// A policy that refuses data in every way, and whose warning is the data that it has accepted.
const RAW: &str = "
tracker: { workers: 2 }
policies:
  - name: raw
    plugin: PLUGINS/test-hostile.wasm
    config:
      rules:
        - { on: data, do: refuse, text: wrong }
        - { on: data, do: trap, text: bomb }
        - { on: data, do: loop, text: endless }
        - { on: announce, do: remember, number: 3600 }
        - { on: announce, do: warn-data }
    data: { keys: { file: keys.txt, format: raw } }
    limits: { data: 100ms }
";

#[test]
fn raw_data_is_loaded_before_the_first_request_and_followed() {
    let daemon = Daemon::start(RAW);
    let file = daemon.folder.path().join("keys.txt");
    // Each worker remembers the verdict of each torrent.
    let taken = || {
        let answer = Announce::of('a').dictionary(daemon.http);
        answer.text("warning message").unwrap_or_default()
    };
    let errors = || daemon.metric("karuta_data_errors_total{policy=\"raw\",data=\"keys\"}");
    let everywhere = |text: &str| {
        eventually(text, || (0..20).all(|_| taken() == text));
    };
    everywhere("");
    rename_in(&file, "one");
    everywhere("keys 1 one");
    fs::write(&file, "two").unwrap();
    everywhere("keys 2 two");
    for (count, text) in [(1.0, "wrong"), (2.0, "bomb"), (3.0, "endless")] {
        rename_in(&file, text);
        eventually("the version is refused", || errors() == count);
        everywhere("keys 2 two");
    }
    daemon.logs("keys: wrong");
    rename_in(&file, "three");
    everywhere("keys 3 three");
    assert_eq!(daemon.metric("karuta_policy_restarts_total{policy=\"raw\"}"), 0.0);
}

#[test]
fn wrong_data_is_a_configuration_error() {
    let yaml = |config: &str| {
        format!("http: [{{ listen: '127.0.0.1:0' }}]{}", APPROVAL.replace("scrapes: pass", config))
    };
    let check = |yaml: &str, text: Option<&str>| {
        let folder = folder(yaml);
        if let Some(text) = text {
            rename_in(&folder.path().join("lists/approved.txt"), text);
        }
        let output = run(&["check"], folder.path());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(check(&yaml("deny: []"), Some(&list("a"))).0, Some(0));
    let wrong = |yaml: &str, text, expected: &str| {
        let (code, said) = check(yaml, text);
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains(expected), "{said}");
    };
    wrong(
        &yaml("deny: []"),
        Some("nonsense"),
        "config.yaml:7:23: policies[0].data.approved: line 1: `nonsense`, expected 40 hexadecimal",
    );
    wrong(
        &yaml("deny_from: banned"),
        None,
        "policies[0].config.deny_from: there is no data source `banned`, expected one that `data` \
         declares",
    );
    wrong(
        &yaml("deny: []").replace("allow_from: approved, ", "").replace("info-hashes", "raw"),
        Some("anything"),
        "policies[0].data.approved: the plugin takes no raw data (it exports no data-sink)",
    );
    wrong(
        &yaml("deny: []").replace("info-hashes", "strings"),
        None,
        "policies[0].config.allow_from: the data source `approved` has the format strings, \
         expected info-hashes",
    );
}
