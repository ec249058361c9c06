//! What has served comes back: the history of generations, looking before a reload, rollback and its pin.

use std::fs;
use std::path::Path;
use std::process::Command;

use karuta_tests::announce::Announce;
use karuta_tests::udp::Client;
use karuta_tests::{
    Connection, Daemon, LISTENERS, eventually, folder, karuta, plugins, run, write_config,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Returns a policy whose plugin is beside the configuration, and whose answer shows its version. Version
/// 102 fails if a request asks for it.
pub fn version(interval: u32) -> String {
    let bomb = match interval {
        102 => "{ on: announce, do: trap, query: bomb },",
        _ => "",
    };
    format!(
        "policies:
  - name: told
    plugin: told.wasm
    on_error: next
    config: {{ rules: [{{ on: announce, do: set-interval, number: {interval} }}, {bomb}
                       {{ on: announce, do: reject, query: wall }}] }}
"
    )
}

/// Writes the plugin of a version: the same component, with a section that makes its file differ.
pub fn write_plugin(folder: &Path, version: u32) {
    let component = fs::read(plugins().join("test-hostile.wasm")).unwrap();
    let name = [b'a' + u8::try_from(version % 26).unwrap()];
    let section = [&[0, 2, 1][..], &name].concat();
    fs::write(folder.join("new.wasm"), [component, section].concat()).unwrap();
    fs::rename(folder.join("new.wasm"), folder.join("told.wasm")).unwrap();
}

/// Returns a folder with a version and its plugin.
pub fn place(interval: u32) -> TempDir {
    let folder = folder(&format!("{LISTENERS}{}", version(interval)));
    write_plugin(folder.path(), interval);
    folder
}

/// Changes the configuration to a version, and the plugin with it.
pub fn rewrite(daemon: &Daemon, interval: u32) {
    write_config(daemon.folder.path(), &format!("{LISTENERS}{}", version(interval)));
    write_plugin(daemon.folder.path(), interval);
}

/// Runs a command against the daemon, and returns its exit code and what it prints, errors last.
pub fn command(daemon: &Daemon, arguments: &[&str]) -> (i32, String) {
    let admin = daemon.admin.to_string();
    let output = run(&[arguments, &["--admin", &admin]].concat(), daemon.folder.path());
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8(text).unwrap().trim_end().to_owned())
}

/// Posts JSON, and returns the status and the answer.
pub fn post(daemon: &Daemon, path: &str, body: &Value) -> (u16, Value) {
    let body = body.to_string();
    let mut connection = Connection::open(daemon.admin);
    connection.send(
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    );
    let answer = connection.answer();
    let said = answer.body_text();
    (answer.status, serde_json::from_str(&said).unwrap_or_else(|_| json!(said.trim())))
}

pub fn page(daemon: &Daemon, path: &str) -> Value {
    serde_json::from_str(&daemon.admin_page(path)).unwrap()
}

/// Returns the generation and what it is pinned to.
pub fn standing(daemon: &Daemon) -> (u64, Option<u64>) {
    let status = page(daemon, "/api/status");
    let pinned = status["configuration"]["pinned"]["generation"].as_u64();
    assert_eq!(daemon.metric("karuta_configuration_pinned"), f64::from(u8::from(pinned.is_some())));
    (status["generation"].as_u64().unwrap(), pinned)
}

/// Returns the interval that both transports answer.
#[track_caller]
pub fn serving(daemon: &Daemon) -> u32 {
    let announce = Announce::of('a');
    let http = announce.http(daemon.http).unwrap().interval;
    let udp = announce.udp(&Client::connect(daemon.udp)).unwrap().interval;
    assert_eq!(http, udp);
    http
}

/// Starts a daemon whose generations 1 to `last` have served, with the intervals 101 and so on.
pub fn start(last: u32) -> Daemon {
    let daemon = Daemon::start_in(place(101));
    for generation in 2..=last {
        rewrite(&daemon, 100 + generation);
        let (code, said) = command(&daemon, &["reload"]);
        assert_eq!((code, said), (0, format!("generation {generation}: replaced told")));
    }
    daemon
}

#[test]
fn ten_generations_come_back_after_their_file_and_plugins_are_overwritten() {
    let daemon = start(10);
    let path = daemon.folder.path();
    write_config(path, &format!("{LISTENERS}# nothing of what was\n"));
    fs::write(path.join("told.wasm"), "junk").unwrap();
    for (count, generation) in (1..=10).rev().chain([5, 9]).enumerate() {
        // The last one serves already.
        let wanted = generation.to_string();
        let (code, said) = command(&daemon, &["rollback", &wanted]);
        if count == 0 {
            assert_eq!((code, said), (1, "karuta: generation 10 is what serves".into()));
            continue;
        }
        let number = 10 + count as u64;
        let first = said.lines().next().unwrap();
        assert_eq!(
            (code, first),
            (
                0,
                &*format!(
                    "generation {number}: serving generation {generation} again; replaced told"
                )
            )
        );
        assert_eq!(serving(&daemon), 100 + generation);
        assert_eq!(standing(&daemon), (number, Some(u64::from(generation))));
    }
    let daemon = daemon.restart();
    assert_eq!((serving(&daemon), standing(&daemon)), (109, (21, Some(9))));
    let history = page(&daemon, "/api/history");
    assert_eq!(history["serving"], 21);
    assert_eq!(history["fault"], Value::Null);
    let newest = &history["generations"][0];
    assert_eq!((&newest["generation"], &newest["served"]["again"]), (&json!(21), &json!(9)));
    assert_eq!(newest["served"]["action"], "rollback");
    assert_eq!(newest["served"]["by"], "address 127.0.0.1");
}

#[test]
fn without_a_number_the_one_before_serves_again() {
    let daemon = start(3);
    for (number, again) in [(4, 2), (5, 1)] {
        assert_eq!(command(&daemon, &["rollback"]).0, 0);
        assert_eq!(
            (serving(&daemon), standing(&daemon)),
            (100 + again, (number, Some(again.into())))
        );
    }
    let (code, said) = command(&daemon, &["rollback"]);
    assert_eq!((code, &*said), (1, "karuta: no generation before 1 is kept"));
    let (code, said) = command(&daemon, &["rollback", "99"]);
    assert_eq!((code, &*said), (1, "karuta: generation 99 is not kept; kept are 1, 2, 3, 4, 5"));
    assert_eq!((serving(&daemon), standing(&daemon)), (101, (5, Some(1))));
}

#[test]
fn a_pin_holds_until_what_was_turned_down_changes() {
    let daemon = start(2);
    assert_eq!(command(&daemon, &["rollback"]).0, 0);
    let status = page(&daemon, "/api/status");
    let digest: String =
        status["configuration"]["sha256_on_disk"].as_str().unwrap().chars().take(12).collect();
    let said = format!("serving generation 1 again; config.yaml (sha256 {digest}…) is not in use");
    let reasons = status["health"]["reasons"].as_array().unwrap();
    assert_eq!(reasons, &[json!({ "panel": "reload", "text": said })]);
    assert!(daemon.admin_page("/readyz").starts_with("ok"));
    daemon.logs("pinned: the configuration file is not in use");
    assert!(command(&daemon, &["status"]).1.contains("serving generation 1 again"));

    let (code, said) = command(&daemon, &["reload"]);
    let refused = "karuta: config.yaml was turned down for generation 1; change it or its plugins, or \
                   use `--anyway`";
    assert_eq!((code, &*said), (1, refused));
    daemon.signal("HUP");
    eventually("a signal is refused too", || page(&daemon, "/api/reloads")[0]["by"] == "SIGHUP");
    assert_eq!((serving(&daemon), standing(&daemon)), (101, (3, Some(1))));
    let checked = run(&["check"], daemon.folder.path());
    let warned = String::from_utf8(checked.stderr).unwrap();
    assert!(warned.contains("a start serves generation 1 in its place"), "{warned}");

    let daemon = Daemon::start_in(daemon.kill());
    assert_eq!((serving(&daemon), standing(&daemon)), (101, (3, Some(1))));

    // Another plugin is enough.
    write_plugin(daemon.folder.path(), 103);
    assert_eq!(command(&daemon, &["reload"]), (0, "generation 4: replaced told".into()));
    assert_eq!((serving(&daemon), standing(&daemon)), (102, (4, None)));

    assert_eq!(command(&daemon, &["rollback"]).0, 0);
    let (code, said) = command(&daemon, &["reload", "--anyway"]);
    assert_eq!((code, &*said), (0, "generation 6: replaced told"));
    assert_eq!((serving(&daemon), standing(&daemon)), (102, (6, None)));
    let daemon = daemon.restart();
    assert_eq!((serving(&daemon), standing(&daemon)), (102, (6, None)));

    // A restart serves what is on the disk, if that is not what was turned down.
    assert_eq!(command(&daemon, &["rollback"]).0, 0);
    rewrite(&daemon, 104);
    let daemon = daemon.restart();
    assert_eq!((serving(&daemon), standing(&daemon)), (104, (8, None)));
    let daemon = daemon.restart();
    assert_eq!((serving(&daemon), standing(&daemon)), (104, (8, None)), "nothing is new");
}

#[test]
fn a_plugin_that_is_gone_does_not_end_a_pin() {
    let daemon = start(2);
    assert_eq!(command(&daemon, &["rollback"]).0, 0);
    fs::remove_file(daemon.folder.path().join("told.wasm")).unwrap();
    let daemon = daemon.restart();
    assert_eq!((serving(&daemon), standing(&daemon)), (101, (3, Some(1))));
}

#[test]
fn the_file_can_be_replaced_by_what_serves_again() {
    let daemon = start(2);
    let file = daemon.folder.path().join("config.yaml");
    let bad = fs::read_to_string(&file).unwrap();
    // A restart would load another plugin.
    let (code, said) = command(&daemon, &["rollback", "--write"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("\nkaruta: told.wasm is not the plugin of generation 1\n"), "{said}");
    assert!(
        said.ends_with("config.yaml was not replaced: a restart would load another plugin"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), bad);
    assert_eq!((serving(&daemon), standing(&daemon)), (101, (3, Some(1))));

    // The plugin is mended: the file alone is still to be replaced.
    write_plugin(daemon.folder.path(), 101);
    let (code, said) = command(&daemon, &["rollback", "1", "--write"]);
    let wrote = "wrote config.yaml; what was there is config.yaml.rejected";
    assert_eq!((code, said), (0, format!("generation 3: serving generation 1 again\n{wrote}")));
    assert_eq!(standing(&daemon), (3, None));

    fs::write(&file, &bad).unwrap();
    write_plugin(daemon.folder.path(), 102);
    assert_eq!(command(&daemon, &["reload"]).0, 0);
    write_plugin(daemon.folder.path(), 101);
    let (code, said) = command(&daemon, &["rollback", "1", "--write"]);
    let again = "generation 5: serving generation 1 again; replaced told";
    assert_eq!((code, said), (0, format!("{again}\n{wrote}")));
    let rejected = daemon.folder.path().join("config.yaml.rejected");
    assert_eq!(fs::read_to_string(rejected).unwrap(), bad);
    assert!(fs::read_to_string(&file).unwrap().contains("number: 101"));
    assert_eq!((serving(&daemon), standing(&daemon)), (101, (5, None)));
    let daemon = daemon.restart();
    assert_eq!((serving(&daemon), standing(&daemon)), (101, (5, None)));
    assert_eq!(command(&daemon, &["reload"]), (0, "generation 5: nothing has changed".into()));
}

#[test]
fn what_was_turned_down_stays_so_when_generations_go_further_back() {
    let daemon = start(3);
    for serves in [102, 101] {
        assert_eq!(command(&daemon, &["rollback"]).0, 0);
        assert_eq!(serving(&daemon), serves);
    }
    let (code, said) = command(&daemon, &["reload"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("config.yaml was turned down"), "{said}");
    assert_eq!((serving(&daemon), standing(&daemon)), (101, (5, Some(1))));
    // Who asks for what is not there has not reloaded anything.
    assert_eq!(command(&daemon, &["confirm"]).0, 1);
    let last = &page(&daemon, "/api/status")["last_reload"];
    assert_eq!(last["action"], "reload");
    let daemon = daemon.restart();
    assert_eq!((serving(&daemon), standing(&daemon)), (101, (5, Some(1))));
}

#[test]
fn a_damaged_history_is_said_and_what_serves_goes_on() {
    let daemon = start(3);
    let state = daemon.folder.path().join("state");
    let meta = state.join("generations/1/meta.json");
    let whole = fs::read_to_string(&meta).unwrap();
    fs::write(&meta, &whole[..whole.len() / 2]).unwrap();
    let (code, said) = command(&daemon, &["rollback", "1"]);
    assert_eq!(code, 1);
    assert!(
        said.starts_with("karuta: generation 1 cannot be used: meta.json: damaged: "),
        "{said}"
    );
    let (code, listed) = command(&daemon, &["history"]);
    assert_eq!(code, 0);
    assert!(listed.contains("\n    1  cannot be used: meta.json: damaged: "), "{listed}");
    fs::write(&meta, whole).unwrap();

    // The plugin of generation 2, overwritten and then removed.
    let kept: Value =
        serde_json::from_slice(&fs::read(state.join("generations/2/meta.json")).unwrap()).unwrap();
    let plugin = state.join("store/sha256").join(kept["plugins"]["told"].as_str().unwrap());
    fs::write(&plugin, "junk").unwrap();
    let (code, said) = command(&daemon, &["rollback", "2"]);
    assert_eq!(code, 1);
    assert!(said.contains("not the one pinned"), "{said}");
    fs::remove_file(&plugin).unwrap();
    let (code, said) = command(&daemon, &["rollback", "2"]);
    let gone =
        "karuta: generation 2 cannot be used: the plugin of policy `told`: it is no longer kept";
    assert_eq!((code, &*said), (1, gone));
    assert_eq!((serving(&daemon), standing(&daemon)), (103, (3, None)));

    // What is pinned and cannot serve any more.
    assert_eq!(command(&daemon, &["rollback", "1"]).0, 0);
    let folder = daemon.stop();
    fs::remove_dir_all(folder.path().join("state/store")).unwrap();
    let daemon = Daemon::start_in(folder);
    assert_eq!((serving(&daemon), standing(&daemon)), (103, (5, None)));
    let reasons = page(&daemon, "/api/status")["health"]["reasons"].to_string();
    assert!(reasons.contains("what was pinned cannot serve, so the file does: "), "{reasons}");
}

#[test]
fn on_a_full_disk_a_reload_works_and_history_says_that_it_was_not_kept() {
    let daemon = start(1);
    // What is compiled needs no room; the plugin itself, with a section of 8 MiB, needs some.
    write_config(daemon.folder.path(), &format!("{LISTENERS}{}", version(102)));
    let component = fs::read(plugins().join("test-hostile.wasm")).unwrap();
    let section = [&[0, 0x82, 0x80, 0x80, 0x04, 1, b'x'][..], &vec![0; 8 << 20]].concat();
    fs::write(daemon.folder.path().join("told.wasm"), [component, section].concat()).unwrap();
    assert!(run(&["warm"], daemon.folder.path()).status.success());
    let limit = |bytes: &str| {
        let arguments = [format!("--pid={}", daemon.pid()), format!("--fsize={bytes}:")];
        assert!(Command::new("prlimit").args(arguments).status().unwrap().success());
    };
    limit("4194304");
    let (code, said) = command(&daemon, &["reload"]);
    assert_eq!(code, 0, "{said}");
    let not_kept = "generation 2: replaced told\nkaruta: generation 2 could not be kept: ";
    assert!(said.starts_with(not_kept), "{said}");
    assert_eq!((serving(&daemon), standing(&daemon)), (102, (2, None)));
    let history = page(&daemon, "/api/history");
    assert!(history["fault"].as_str().unwrap().starts_with("generation 2 could not be kept: "));
    assert_eq!(history["generations"].as_array().unwrap().len(), 1);
    // A trial could not come back after a restart.
    write_config(daemon.folder.path(), &format!("{LISTENERS}{}", version(103)));
    let (status, refusal) = post(&daemon, "/api/reload", &json!({ "try": "5m" }));
    assert_eq!((status, &refusal["stage"]), (409, &json!("trial")), "{refusal}");
    assert_eq!(serving(&daemon), 102);
    // What was kept before comes back.
    assert_eq!(command(&daemon, &["rollback"]).0, 0);
    assert_eq!((serving(&daemon), standing(&daemon)), (101, (3, Some(1))));
    assert_eq!(page(&daemon, "/api/history")["fault"], Value::Null);
    limit("unlimited");
    assert_eq!(command(&daemon, &["reload"]).0, 0);
    assert_eq!((serving(&daemon), standing(&daemon)), (103, (4, None)));
    assert_eq!(page(&daemon, "/api/history")["fault"], Value::Null);
    // Where its pin cannot be written, what comes back stays only until a restart.
    fs::create_dir(daemon.folder.path().join("state/generations/pin.json")).unwrap();
    let (code, said) = command(&daemon, &["rollback", "1"]);
    assert_eq!((code, serving(&daemon)), (1, 101), "{said}");
    assert!(said.contains("a restart will serve the file again: "), "{said}");
    assert!(said.contains("karuta: it serves, but not after a restart"), "{said}");
}

#[test]
fn a_second_tracker_in_the_same_folder_keeps_none() {
    let first = start(1);
    let folder = place(201);
    let state = first.folder.path().join("state");
    write_config(
        folder.path(),
        &format!(
            "{LISTENERS}{}\nstate_dir: {}\nswarms: {{ snapshot: false }}\n",
            version(201),
            state.display()
        ),
    );
    let second = Daemon::start_in(folder);
    assert_eq!(serving(&second), 201);
    let fault = page(&second, "/api/history")["fault"].to_string();
    assert!(fault.contains("in use by another tracker"), "{fault}");
    assert_eq!(page(&first, "/api/history")["fault"], Value::Null);
    let (code, said) = command(&second, &["rollback"]);
    assert_eq!(code, 1);
    assert!(said.contains("in use by another tracker"), "{said}");
}

#[test]
fn what_is_kept_is_only_for_the_trackers_user() {
    use std::os::unix::fs::PermissionsExt;
    let daemon = start(2);
    let mut files = vec![
        daemon.folder.path().join("state/generations"),
        daemon.folder.path().join("state/store"),
    ];
    let mut seen = 0;
    while let Some(path) = files.pop() {
        let found = fs::metadata(&path).unwrap();
        let mode = found.permissions().mode() & 0o777;
        seen += 1;
        match found.is_dir() {
            true => {
                assert_eq!(mode, 0o700, "{}", path.display());
                files.extend(fs::read_dir(&path).unwrap().map(|file| file.unwrap().path()));
            }
            false => assert_eq!(mode, 0o600, "{}", path.display()),
        }
    }
    // Two generations with two files each, two plugins, a lock, and five folders.
    assert_eq!(seen, 4 + 2 + 1 + 5);
}

#[test]
fn a_dry_run_says_what_a_reload_would_change_and_changes_nothing() {
    let daemon = start(1);
    assert_eq!(command(&daemon, &["reload", "--dry-run"]), (0, "nothing would change".into()));
    let path = daemon.folder.path();
    let told = format!("{LISTENERS}tracker: {{ announce_interval: 35m }}\n{}", version(102));
    write_config(path, &told);
    let other = fs::read(plugins().join("client-approval.wasm")).unwrap();
    fs::write(path.join("other.wasm"), &other).unwrap();
    let more = "  - { name: clients, plugin: other.wasm, config: { deny: [-XL] } }\n";
    write_config(path, &format!("{told}{more}landlock: false\n"));
    let before = (serving(&daemon), standing(&daemon));
    let (code, said) = command(&daemon, &["reload", "--dry-run"]);
    assert_eq!(code, 3, "{said}");
    for line in [
        "would be generation 2: added clients; replaced told; settings changed",
        "would wait for a restart: landlock",
        "plugin of clients:",
        "  before  none",
        "-  announce_interval: 30m",
        "+  announce_interval: 35m",
        "+landlock: false",
    ] {
        assert!(said.lines().any(|found| found == line), "{line}\n{said}");
    }
    assert!(said.contains(&format!("  {} bytes  contract 0.", other.len())), "{said}");
    assert!(said.contains("karuta:policy/request@"), "{said}");
    assert_eq!((serving(&daemon), standing(&daemon)), before);
    assert_eq!(page(&daemon, "/api/reloads"), json!([]));
    assert_eq!(daemon.metric("karuta_reloads_total{outcome=\"applied\"}"), 0.0);

    // The preview of a plugin tells it apart, and a reload of what was looked at refuses another.
    let (status, preview) = post(&daemon, "/api/reload", &json!({ "dry_run": true }));
    assert_eq!(status, 200);
    let looked_at = json!({ "previewed": preview["content"], "expect": preview["sha256"] });
    fs::write(path.join("other.wasm"), [&other[..], &[0, 2, 1, b'x']].concat()).unwrap();
    let (status, refusal) = post(&daemon, "/api/reload", &looked_at);
    assert_eq!((status, &refusal["stage"]), (409, &json!("expect")));
    fs::write(path.join("other.wasm"), &other).unwrap();
    assert_eq!(post(&daemon, "/api/reload", &looked_at).0, 200);
    assert_eq!(standing(&daemon).0, 2);

    write_config(path, "nonsense: 1\n");
    let (code, said) = command(&daemon, &["reload", "--dry-run"]);
    assert_eq!(code, 1);
    assert!(said.contains("unknown key `nonsense`"), "{said}");
    assert_eq!(page(&daemon, "/api/reloads").as_array().unwrap().len(), 2, "nobody tried");
}

#[test]
fn history_and_diff_show_what_was_changed() {
    let daemon = start(2);
    let (code, said) = command(&daemon, &["history"]);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!((code, lines.len()), (0, 2), "{said}");
    assert!(lines[0].starts_with("*   2  ") && lines[0].ends_with("  replaced told"), "{said}");
    assert!(lines[0].contains("  reload      address 127.0.0.1  "), "{said}");
    assert!(lines[1].contains("  start       the start"), "{said}");
    let (code, said) = command(&daemon, &["diff", "1"]);
    assert_eq!(code, 3, "{said}");
    assert!(said.starts_with("plugin of told: "), "{said}");
    assert!(said.contains("\n--- generation 1\n+++ generation 2\n"), "{said}");
    assert!(said.contains("number: 101\n") && said.contains("number: 102\n"), "{said}");
    assert_eq!(command(&daemon, &["diff", "2"]), (0, String::new()));
    let (code, said) = command(&daemon, &["diff", "1", "7"]);
    assert_eq!(code, 1);
    assert!(said.contains("generation 7 is not kept; kept are 1, 2"), "{said}");
    assert_eq!(karuta_tests::get(daemon.admin, "/api/diff", &[]).status, 400);
    assert_eq!(karuta_tests::get(daemon.admin, "/api/diff?from=x", &[]).status, 400);
}

#[test]
fn two_reloads_at_once_are_one_after_the_other() {
    let daemon = start(1);
    rewrite(&daemon, 102);
    let outcomes = std::thread::scope(|scope| {
        let reload = || post(&daemon, "/api/reload", &json!({}));
        let both = [scope.spawn(reload), scope.spawn(reload)];
        both.map(|one| one.join().unwrap())
    });
    assert_eq!(
        outcomes.map(|(status, report)| (status, report["generation"].clone())),
        [(200, json!(2)), (200, json!(2))]
    );
    let attempts = page(&daemon, "/api/reloads");
    assert_eq!(
        (&attempts[0]["outcome"], &attempts[1]["outcome"]),
        (&json!("unchanged"), &json!("applied"))
    );
    assert_eq!(serving(&daemon), 102);
}

#[test]
fn a_start_without_a_state_folder_has_no_history() {
    let folder = folder(&format!("{LISTENERS}\nstate_dir: state\n"));
    let mut command = karuta(&["run"], folder.path());
    command.env_remove("HOME").env_remove("XDG_STATE_HOME");
    fs::write(folder.path().join("config.yaml"), format!("{LISTENERS}log: {{ format: json }}\n"))
        .unwrap();
    let daemon = Daemon::start_by(command, folder);
    let history = page(&daemon, "/api/history");
    assert_eq!(
        history,
        json!({ "serving": 1, "generations": [], "fault": "there is no state folder" })
    );
    let reasons = page(&daemon, "/api/status")["health"]["reasons"].to_string();
    assert!(!reasons.contains("reload"), "{reasons}");
    assert_eq!(post(&daemon, "/api/rollback", &json!({})).0, 409);
}
