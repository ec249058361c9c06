//! `karuta doctor`: faults that it must find.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use karuta_tests::tls::Authority;
use karuta_tests::{Daemon, eventually, folder, get, karuta, run, write_config};
use serde_json::Value;

const TRACKER: &str = "\
http: [{ listen: '127.0.0.1:0' }]
udp: [{ listen: '127.0.0.1:0' }]
policies: [{ name: clients, plugin: PLUGINS/client-approval.wasm, config: { deny: ['-XL'] } }]
";

/// Returns the findings of a subject, after checking the exit code.
#[track_caller]
fn findings(folder: &Path, code: i32, subject: &str) -> Vec<(String, String)> {
    let output = run(&["doctor", "--json"], folder);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{said}");
    let json: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(json["ok"], code == 0);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let all = json["findings"].as_array().expect("a list");
    let of_subject = all.iter().filter(|finding| finding["subject"] == subject);
    of_subject.map(|finding| (text(&finding["level"]), text(&finding["found"]))).collect()
}

#[track_caller]
fn finds(folder: &Path, code: i32, subject: &str, level: &str, text: &str) {
    let findings = findings(folder, code, subject);
    let matches = |(its, found): &(String, String)| its == level && found.contains(text);
    assert!(findings.iter().any(matches), "{level} {text}: {findings:?}");
}

#[test]
fn nothing_is_wrong_around_a_sound_tracker() {
    let folder = folder(TRACKER);
    let folder = folder.path();
    finds(folder, 0, "state folder", "ok", "does not exist yet");
    finds(folder, 0, "policies", "look", "`clients` has to be compiled at the next start");
    assert!(run(&["warm"], folder).status.success());
    finds(folder, 0, "state folder", "ok", "belongs to this user");
    finds(folder, 0, "policies", "ok", "`clients` is compiled already");
    finds(folder, 0, "mount", "ok", "");
    finds(folder, 0, "snapshot", "ok", "there is none yet");
    for subject in ["configuration", "UDP buffers", "open files", "clock", "free space", "systemd"]
    {
        assert!(!findings(folder, 0, subject).is_empty(), "{subject}");
    }
    // A line each, with what to do unless it is well.
    let output = run(&["doctor"], folder);
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let (level, rest) = line.split_once(' ').expect("a level");
        assert!(["ok", "look"].contains(&level), "{line}");
        assert!(level == "ok" || rest.contains("; "), "{line}");
    }
}

#[test]
fn a_running_tracker_says_the_same_of_what_is_around_it() {
    let folder = folder(
        "http: [{ listen: '127.0.0.1:0' }]
udp: [{ listen: '127.0.0.1:0' }]
admin: { listen: '127.0.0.1:0' }
export: [{ format: txt, path: exported/all, every: 1h }]
",
    );
    let exported = folder.path().join("exported");
    fs::create_dir(&exported).unwrap();
    let daemon = Daemon::start_in(folder);
    let folder = daemon.folder.path();
    eventually("the first export is written", || exported.join("all").exists());
    fs::remove_dir_all(&exported).unwrap();
    let examined: Value =
        serde_json::from_slice(&get(daemon.admin, "/api/doctor", &[]).body).unwrap();
    assert_eq!(examined["ok"], false);
    let found = examined["findings"].as_array().unwrap();
    let subjects: Vec<_> = found.iter().map(|finding| &finding["subject"]).collect();
    for subject in ["UDP buffers", "open files", "clock", "state folder", "mount", "export"] {
        assert!(subjects.iter().any(|found| *found == subject), "{subject}: {subjects:?}");
    }
    let export = found.iter().find(|finding| finding["subject"] == "export").unwrap();
    assert_eq!(export["level"], "wrong");
    assert!(export["found"].as_str().unwrap().starts_with("there is no folder "), "{export}");
    // It is not examined again at once.
    fs::create_dir(&exported).unwrap();
    let again: Value = serde_json::from_slice(&get(daemon.admin, "/api/doctor", &[]).body).unwrap();
    assert_eq!((&again["as_of"], &again["ok"]), (&examined["as_of"], &Value::Bool(false)));
    let said = run(&["doctor", "--json"], folder).stdout;
    let said: Value = serde_json::from_slice(&said).unwrap();
    let said = said["findings"].as_array().unwrap();
    // Others write to the disk, too.
    let changes =
        |finding: &Value| ["export", "free space"].iter().any(|of| finding["subject"] == *of);
    for finding in found.iter().filter(|finding| !changes(finding)) {
        assert!(said.contains(finding), "{finding} is not among {said:#?}");
    }
}

#[test]
fn a_state_folder_that_cannot_be_used_is_wrong() {
    let folder = folder(TRACKER);
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
    finds(folder.path(), 1, "state folder", "wrong", "writable by other users");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    fs::create_dir(state.join("swarms")).unwrap();
    fs::write(state.join("swarms/current"), "no snapshot").unwrap();
    finds(folder.path(), 1, "snapshot", "wrong", "cannot be used");
}

#[test]
fn the_user_of_run_as_is_asked_about() {
    if !nix::unistd::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "only root can become another user");
        return eprintln!("skipped: only root can become another user");
    }
    let folder = folder("udp: [{ listen: '127.0.0.1:0' }]\nrun_as: { user: daemon }\n");
    let path = folder.path();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    finds(path, 0, "user", "ok", "root becomes `daemon`");
    let state = path.join("state");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    finds(path, 1, "state folder", "wrong", "belongs to another user");
    let daemon = nix::unistd::User::from_name("daemon").unwrap().expect("every system has it");
    std::os::unix::fs::chown(&state, Some(daemon.uid.as_raw()), None).unwrap();
    finds(path, 0, "state folder", "ok", &format!("belongs to this user ({})", daemon.uid));
}

#[test]
fn certificates_and_secrets_are_looked_at() {
    let tls = "http: [{ listen: '127.0.0.1:0', tls: { certificate: a.pem, key: a.key } }]\n\
               admin:\n  listen: '127.0.0.1:0'\n  token: { file: token }\n\
               \x20 tokens: [{ name: scraper, token: { file: scraper }, may: [read] }]\n";
    let folder = folder(tls);
    let path = folder.path();
    let authority = Authority::new();
    let issued = authority.issue(&["localhost"]);
    issued.write(path, "a");
    for (file, token) in [("token", "0123456789abcdef"), ("scraper", "fedcba9876543210")] {
        fs::write(path.join(file), token).unwrap();
    }
    for file in ["a.key", "token", "scraper"] {
        fs::set_permissions(path.join(file), fs::Permissions::from_mode(0o644)).unwrap();
        finds(path, 1, "secrets", "wrong", &format!("{file} is open to every user"));
        fs::set_permissions(path.join(file), fs::Permissions::from_mode(0o640)).unwrap();
        finds_not(path, "secrets", &format!("{file} is open to every user"));
    }
    finds(path, 0, "certificate", "ok", "a.pem fits its key, and ends in");
    authority.issue(&["localhost"]).write_key(path, "a");
    fs::set_permissions(path.join("a.key"), fs::Permissions::from_mode(0o600)).unwrap();
    finds(path, 1, "certificate", "wrong", "does not belong to the certificate");
    fs::remove_file(path.join("token")).unwrap();
    finds(path, 1, "secrets", "wrong", "cannot find");
}

fn finds_not(folder: &Path, subject: &str, text: &str) {
    let output = run(&["doctor"], folder);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = said.lines().filter(|line| line.contains(subject));
    assert!(!lines.any(|line| line.contains(text)), "{said}");
}

#[test]
fn few_files_are_wrong() {
    let folder = folder(TRACKER);
    let tracker = karuta(&["doctor"], folder.path());
    let mut few = Command::new("prlimit");
    few.arg("--nofile=512").arg(tracker.get_program()).args(tracker.get_args());
    let output = few.current_dir(folder.path()).output().expect("prlimit runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("wrong  open files      at most 512"), "{said}");
}

#[test]
fn a_wrong_configuration_is_the_only_finding() {
    let folder = folder(TRACKER);
    write_config(folder.path(), "http: [{ listen: nowhere }]\n");
    let output = run(&["doctor"], folder.path());
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("wrong  configuration   config.yaml:1:"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    let broken = TRACKER.replace("PLUGINS/client-approval.wasm", "broken.wasm");
    fs::write(folder.path().join("broken.wasm"), "not a component").unwrap();
    write_config(folder.path(), &broken);
    fs::create_dir_all(folder.path().join("state/components")).unwrap();
    for part in ["state", "state/components"] {
        let path = folder.path().join(part);
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
    }
    finds(folder.path(), 1, "policies", "wrong", "`clients`: ");
}
