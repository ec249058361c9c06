//! The log as journald reads it: a priority before each line, and no time of its own.

use karuta_tests::announce::Announce;
use karuta_tests::{Daemon, LISTENERS, eventually, folder, karuta, through};

/// Starts a daemon whose standard error is a stream to journald, or pretends to be one.
fn start(stream: &str, format: &str) -> Daemon {
    let folder = folder(&format!(
        "{LISTENERS}log: {{ format: {format}, level: debug }}
policies:
  - name: talker
    plugin: PLUGINS/test-hostile.wasm
    config: {{ rules: [{{ on: announce, do: log, text: \"two\\nlines\" }}] }}
"
    ));
    let script = format!("JOURNAL_STREAM={stream} exec \"$@\"");
    let command = through("sh", &["-c", &script, "sh"], &karuta(&["run"], folder.path()));
    Daemon::start_by(command, folder)
}

const ITS_OWN: &str = "$(stat --dereference --format=%d:%i /proc/self/fd/2)";

#[test]
fn each_line_has_the_priority_of_its_level_and_no_time() {
    let mut daemon = start(ITS_OWN, "text");
    Announce::of('a').http(daemon.http).unwrap();
    daemon.logs(r"<4> WARN plugin: two\nlines");
    std::fs::write(daemon.folder.path().join("config.yaml"), "nonsense").unwrap();
    daemon.signal("HUP");
    daemon.logs("<3>ERROR karuta::daemon::reload: refused the reload");
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    daemon.logs("<6> INFO karuta::daemon: stopped");
    let log = daemon.log();
    assert!(log.contains("\n<7>DEBUG "), "{log}");
    for line in log.lines() {
        let level = line.get(3..8).unwrap_or_default();
        let priority = ["ERROR", " WARN", " INFO", "DEBUG"].iter().zip([3, 4, 6, 7]);
        let priority = priority.clone().find(|(name, _)| **name == level).expect(line).1;
        assert!(line.starts_with(&format!("<{priority}>")), "{line}");
        assert!(!line.contains('\u{1b}'), "{line}");
    }
}

/// journald takes the priority off, and the rest is JSON.
#[test]
fn json_has_a_priority_too() {
    let daemon = start(ITS_OWN, "json");
    for line in daemon.log().lines() {
        assert!(line.starts_with('<'), "{line}");
        let line: serde_json::Value = serde_json::from_str(&line[3..]).unwrap();
        assert!(line["timestamp"].is_string(), "{line}");
    }
}

/// A child of a service inherits the variable, and may write elsewhere.
#[test]
fn another_stream_than_that_of_journald_has_the_time_of_each_line() {
    let daemon = start("1:1", "text");
    eventually("it logs", || !daemon.log().is_empty());
    for line in daemon.log().lines() {
        assert!(line.starts_with("20"), "{line}");
    }
}
