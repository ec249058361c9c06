//! The tracker is killed at each step of a change in turn: a start serves one version whole, and says which.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use karuta_tests::{Daemon, eventually, run};
use serde_json::{Value, json};

use super::generations::{command, page, place, rewrite, serving, standing, start, write_plugin};
use super::trial::on_trial;

/// The system calls that change a folder.
const STEPS: &str = "rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat";

/// Kills the daemon at the `step`th change of a folder from now on. Returns the tracer, or `None` if
/// there is no strace.
fn kill_at(daemon: &Daemon, step: u32) -> Option<std::process::Child> {
    let pid = daemon.pid().to_string();
    let inject = format!("inject={STEPS}:signal=KILL:when={step}");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={STEPS}"), "-e", &inject]);
    let tracer = strace.args(["-p", &pid]).stdin(Stdio::null()).spawn();
    let Ok(tracer) = tracer else {
        assert!(std::env::var_os("CI").is_none(), "strace is missing");
        eprintln!("skipped: strace is missing");
        return None;
    };
    let is_traced = || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        tasks.flatten().all(|task| {
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            !status.contains("TracerPid:\t0\n")
        })
    };
    eventually("strace follows all threads", is_traced);
    Some(tracer)
}

/// Does something to a daemon that is killed at each of its steps in turn, starts it again, and checks
/// that what serves is what the status says, and one of the versions that `may` serve, pinned or not. `act`
/// returns whether it was answered. Ends when there is no more step to be killed at.
fn killed_at_each_step(
    prepare: impl Fn() -> Daemon,
    act: impl Fn(&Daemon) -> bool,
    may: &[(u32, bool)],
) {
    for step in 1..100 {
        let daemon = prepare();
        let Some(mut tracer) = kill_at(&daemon, step) else { return };
        // The answer comes after the last step.
        let survived = act(&daemon);
        let folder = if survived { daemon.kill() } else { daemon.ended() };
        let _ = tracer.wait();
        let daemon = Daemon::start_in(folder);
        let interval = serving(&daemon);
        let (generation, pinned) = standing(&daemon);
        assert!(may.contains(&(interval, pinned.is_some())), "step {step}: {interval}, {pinned:?}");
        let history = page(&daemon, "/api/history");
        assert_eq!(history["fault"], Value::Null, "step {step}");
        let generations = history["generations"].as_array().unwrap();
        assert!(generations.iter().all(|one| one["error"].is_null()), "step {step}: {history}");
        assert_eq!(generations[0]["generation"], generation, "step {step}");
        let text = fs::read_to_string(kept_text(&daemon, generation)).unwrap();
        assert!(text.contains(&format!("number: {interval} ")), "step {step}: {text}");
        if let Some(pinned) = pinned {
            let text = fs::read_to_string(kept_text(&daemon, pinned)).unwrap();
            assert!(text.contains(&format!("number: {interval} ")), "step {step}: {text}");
        }
        if survived {
            assert!(step > 1, "nothing was written");
            return;
        }
    }
    panic!("there is no end of steps");
}

/// Returns the file with the configuration of a generation.
fn kept_text(daemon: &Daemon, generation: u64) -> PathBuf {
    let folder = daemon.folder.path().join(format!("state/generations/{generation}"));
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let is_text = |file: &PathBuf| file.extension().is_some_and(|suffix| suffix == "yaml");
    files.into_iter().find(is_text).unwrap()
}

/// Posts JSON to a daemon that may be killed meanwhile. Returns whether it answered.
fn is_answered(daemon: &Daemon, path: &str, body: &Value) -> bool {
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let mut answer = Vec::new();
    let exchanged = TcpStream::connect(daemon.admin).and_then(|mut stream| {
        stream.write_all(request.as_bytes())?;
        stream.read_to_end(&mut answer)
    });
    exchanged.is_ok() && answer.starts_with(b"HTTP/1.1 200")
}

#[test]
fn killed_at_any_step_of_a_reload_it_serves_one_version_whole() {
    let prepare = || {
        let daemon = start(2);
        rewrite(&daemon, 103);
        daemon
    };
    let act = |daemon: &Daemon| is_answered(daemon, "/api/reload", &json!({}));
    // The file is read again at the start.
    killed_at_each_step(prepare, act, &[(103, false)]);
}

#[test]
fn killed_at_any_step_of_a_rollback_it_serves_one_version_whole() {
    let act = |daemon: &Daemon| is_answered(daemon, "/api/rollback", &json!({}));
    killed_at_each_step(|| start(2), act, &[(102, false), (101, true)]);
}

#[test]
fn killed_at_any_step_of_a_rollback_that_writes_it_serves_one_version_whole() {
    let prepare = || {
        let daemon = start(2);
        write_plugin(daemon.folder.path(), 101);
        daemon
    };
    let act = |daemon: &Daemon| {
        let admin = daemon.admin.to_string();
        let rolled_back = run(&["rollback", "--write", "--admin", &admin], daemon.folder.path());
        rolled_back.status.success()
    };
    // Its plugin was overwritten, so that without the pin the file is another generation.
    killed_at_each_step(prepare, act, &[(102, false), (101, true), (101, false)]);
}

#[test]
fn killed_at_any_step_of_the_end_of_a_pin_it_serves_one_version_whole() {
    let prepare = || {
        let daemon = start(2);
        assert_eq!(command(&daemon, &["rollback"]).0, 0);
        daemon
    };
    let act = |daemon: &Daemon| is_answered(daemon, "/api/reload", &json!({ "anyway": true }));
    killed_at_each_step(prepare, act, &[(101, true), (102, false)]);
}

#[test]
fn killed_at_any_step_of_a_trial_it_serves_one_version_whole() {
    let prepare = || {
        let daemon = Daemon::start_in(place(101));
        rewrite(&daemon, 102);
        daemon
    };
    let act = |daemon: &Daemon| is_answered(daemon, "/api/reload", &json!({ "try": "1h" }));
    // Before the pin is written, the file is what a start serves.
    killed_at_each_step(prepare, act, &[(102, false), (101, true)]);
}

#[test]
fn killed_at_any_step_of_a_confirmation_it_serves_one_version_whole() {
    let prepare = || on_trial(&json!({ "try": "1h" }));
    let act = |daemon: &Daemon| is_answered(daemon, "/api/confirm", &json!({}));
    killed_at_each_step(prepare, act, &[(101, true), (102, false)]);
}

#[test]
fn killed_at_any_step_of_going_back_it_serves_one_version_whole() {
    let prepare = || on_trial(&json!({ "try": "1h" }));
    let act = |daemon: &Daemon| is_answered(daemon, "/api/rollback", &json!({}));
    killed_at_each_step(prepare, act, &[(101, true)]);
}
