//! The log in a file: rotated by Karuta or by others, and what happens when the disk is full.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use karuta_tests::announce::Announce;
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, eventually, run};

const POLICIES: usize = 40;

/// Policies that each log a line of 4 KB for an announce. One alone may not write many.
fn talkers() -> String {
    let talker = |at| {
        format!(
            "  - name: talker-{at}
    plugin: PLUGINS/test-hostile.wasm
    config: {{ rules: [{{ on: announce, do: log, number: 4000 }}] }}
"
        )
    };
    format!(
        "tracker: {{ workers: 1 }}\npolicies:\n{}",
        (0..POLICIES).map(talker).collect::<String>()
    )
}

fn file(daemon: &Daemon, name: &str) -> PathBuf {
    daemon.folder.path().join(name)
}

fn read(daemon: &Daemon, name: &str) -> String {
    fs::read_to_string(file(daemon, name)).unwrap_or_default()
}

/// Makes the daemon write a line.
fn reload(daemon: &Daemon) {
    let output = run(&["reload", "--admin", &daemon.admin.to_string()], daemon.folder.path());
    assert!(output.status.success());
}

#[test]
fn another_program_may_rename_the_file_and_send_a_signal_or_not() {
    let mut daemon = Daemon::start_with_log_file("log: { file: { path: karuta.log } }\n");
    assert!(read(&daemon, "karuta.log").contains(" ready "));
    let mode = fs::metadata(file(&daemon, "karuta.log")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);

    fs::rename(file(&daemon, "karuta.log"), file(&daemon, "first")).unwrap();
    daemon.signal("USR1");
    eventually("there is a new file, without a line", || file(&daemon, "karuta.log").exists());
    reload(&daemon);
    eventually("the new file is written", || read(&daemon, "karuta.log").contains("reloaded"));

    fs::rename(file(&daemon, "karuta.log"), file(&daemon, "second")).unwrap();
    reload(&daemon);
    eventually("so is the next", || read(&daemon, "karuta.log").contains("reloaded"));

    fs::remove_file(file(&daemon, "karuta.log")).unwrap();
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    assert!(read(&daemon, "karuta.log").contains(" stopped"));
    assert!(!read(&daemon, "first").contains("reloaded"));
    assert_eq!(read(&daemon, "second").matches("reloaded").count(), 1);
}

#[test]
fn a_signal_to_reopen_ends_no_daemon_without_a_log_file() {
    let mut daemon = Daemon::start("");
    daemon.signal("USR1");
    Announce::of('a').http(daemon.http).unwrap();
    daemon.signal("TERM");
    assert!(daemon.wait().success());
}

#[test]
fn no_line_is_lost_or_torn_while_the_file_rotates_under_load() {
    const ANNOUNCES: usize = 40;
    let mut daemon = Daemon::start_with_log_file(&format!(
        "log: {{ format: json, file: {{ path: karuta.log, max_size: 64KiB, keep: 500 }} }}\n{}",
        talkers()
    ));
    let client = Client::connect(daemon.udp);
    for _ in 0..ANNOUNCES {
        Announce::of('a').udp(&client).unwrap();
    }
    let dropped = daemon.metric("karuta_log_dropped_total") as usize;
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    let (mut files, mut lines) = (0, 0);
    for entry in fs::read_dir(daemon.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if !path.to_string_lossy().contains("karuta.log") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.len() <= 64 << 10, "{}", path.display());
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("a whole line");
            lines += usize::from(line["target"] == "plugin");
        }
        files += 1;
    }
    assert!(files > 50, "{files}");
    assert_eq!(lines + dropped, ANNOUNCES * POLICIES);
}

#[test]
fn a_full_disk_costs_lines_that_are_counted_and_nothing_else() {
    let mut daemon = Daemon::start_with_log_file(&format!(
        "log: {{ format: json, file: {{ path: karuta.log }} }}\nswarms: {{ snapshot: false }}\n{}",
        talkers()
    ));
    let limit = |size: &str| {
        let arguments = [format!("--pid={}", daemon.pid()), format!("--fsize={size}:")];
        assert!(Command::new("prlimit").args(arguments).status().unwrap().success());
    };
    let dropped = || daemon.metric("karuta_log_dropped_total");
    limit("100000");
    let client = Client::connect(daemon.udp);
    // On a busy machine, lines are dropped before the file is full, too.
    while dropped() == 0.0 || !daemon.log().contains("cannot write the log file ") {
        Announce::of('a').udp(&client).expect("it is served");
    }
    Announce::of('b').udp(&client).expect("it is served");
    limit("unlimited");
    eventually("what is missing is said", || {
        reload(&daemon);
        read(&daemon, "karuta.log").contains("lost log lines; they could not be written")
    });
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    let complaints = daemon.log().matches("cannot write the log file ").count();
    assert_eq!(complaints, 1, "it is said once");
    for line in read(&daemon, "karuta.log").lines() {
        let _: serde_json::Value = serde_json::from_str(line).expect("no line is torn");
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_at_the_start() {
    let folder = karuta_tests::folder(
        "udp: [{ listen: '127.0.0.1:0' }]\nadmin: { listen: '127.0.0.1:0' }\nlog: { file: { path: log/karuta.log } }\n",
    );
    let place = "config.yaml:3:22: log.file.path: not a folder: `log`";
    for command in ["check", "run"] {
        let output = run(&[command], folder.path());
        assert_eq!(output.status.code(), Some(78));
        assert_eq!(String::from_utf8_lossy(&output.stderr).trim_end(), place);
    }
}
