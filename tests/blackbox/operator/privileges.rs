//! What the daemon gives up once it listens.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use karuta_tests::announce::Announce;
use karuta_tests::{
    Daemon, LISTENERS, eventually, folder, karuta, plugins, run, through, write_config,
};
use nix::unistd::{User, geteuid};
use tempfile::TempDir;

/// A user that every system has.
const USER: &str = "daemon";

/// Returns whether these tests run as root. Otherwise, the test must be skipped.
fn is_root() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        let why = "only root can become another user";
        assert!(std::env::var_os("CI").is_none(), "{why}");
        eprintln!("skipped: {why}");
    }
    is_root
}

/// Returns a folder that every user can read, with a configuration and a plugin.
fn public(yaml: &str) -> TempDir {
    let folder = folder(&yaml.replace("PLUGINS/", ""));
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    fs::copy(plugins().join("test-hostile.wasm"), folder.path().join("test-hostile.wasm")).unwrap();
    folder
}

fn policy(seconds: u32) -> String {
    format!(
        "policies:
  - name: told
    plugin: test-hostile.wasm
    config: {{ rules: [{{ on: announce, do: set-interval, number: {seconds} }}] }}
"
    )
}

/// Returns a line of the `status` of each of a daemon's threads.
fn statuses(daemon: &Daemon, field: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let read = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("status")).ok();
    let statuses: Vec<String> = threads.filter_map(|thread| read(thread.unwrap())).collect();
    assert!(statuses.len() > 3, "{}", statuses.len());
    let find = |status: &String| {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect(field);
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    statuses.iter().map(find).collect()
}

#[test]
fn root_binds_and_another_user_serves() {
    if !is_root() {
        return;
    }
    // A port that needs a privilege, at an address that is only used here.
    let privileged: SocketAddr = "127.31.7.9:81".parse().unwrap();
    let yaml = |seconds| {
        format!(
            "http: [{{ listen: '{privileged}' }}]
udp: [{{ listen: '127.0.0.1:0' }}]
admin: {{ listen: '127.0.0.1:0' }}
run_as: {{ user: {USER} }}
state_dir: new/kept
swarms: {{ snapshot: {{ path: elsewhere/swarms }} }}
log: {{ format: json, file: {{ path: karuta.log }} }}
{}",
            policy(seconds)
        )
    };
    let daemon = Daemon::start_with_log_file_in(public(&yaml(100)));
    let user = User::from_name(USER).unwrap().unwrap();
    let (uid, gid) = (user.uid, user.gid);
    for (field, expected) in [
        ("Uid:", format!("{uid} {uid} {uid} {uid}")),
        ("Gid:", format!("{gid} {gid} {gid} {gid}")),
        ("CapPrm:", "0000000000000000".into()),
        ("CapEff:", "0000000000000000".into()),
        ("NoNewPrivs:", "1".into()),
    ] {
        for found in statuses(&daemon, field) {
            assert_eq!(found, expected, "{field}");
        }
    }
    for groups in statuses(&daemon, "Groups:") {
        assert!(!groups.split(' ').any(|group| group == "0"), "{groups}");
    }
    assert_eq!(Announce::of('a').http(privileged).unwrap().interval, 100);

    // Policies are compiled by the user, state is kept, and the log goes on.
    let folder = daemon.folder.path();
    write_config(folder, &yaml(200));
    let admin = daemon.admin.to_string();
    for command in [&["reload"][..], &["snapshot", "save"]] {
        let output = run(&[command, &["--admin", &admin]].concat(), folder);
        assert!(output.status.success(), "{output:?}");
    }
    assert_eq!(Announce::of('a').http(privileged).unwrap().interval, 200);
    daemon.logs("reloaded: replaced told");
    for name in ["new", "new/kept", "new/kept/components", "elsewhere/swarms/current", "karuta.log"]
    {
        let found = fs::metadata(folder.join(name)).expect(name);
        assert_eq!((found.uid(), found.gid()), (uid.as_raw(), gid.as_raw()), "{name}");
        assert_eq!(found.mode() & 0o007, 0, "{name}");
    }

    let folder = daemon.stop();
    fs::rename(folder.path().join("karuta.log"), folder.path().join("karuta.log.1")).unwrap();
    Daemon::start_with_log_file_in(folder).logs("restored snapshot");
}

#[test]
fn a_state_folder_of_root_is_refused() {
    if !is_root() {
        return;
    }
    let folder = public(&format!("{LISTENERS}run_as: {{ user: {USER} }}\nstate_dir: kept\n"));
    fs::create_dir(folder.path().join("kept")).unwrap();
    let output = run(&["run"], folder.path());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("state_dir: kept: the folder belongs to another user"), "{said}");
}

#[test]
fn another_user_cannot_become_the_one() {
    let folder = public(&format!("{LISTENERS}run_as: {{ user: {USER} }}\nstate_dir: kept\n"));
    let karuta = karuta(&["run"], folder.path());
    let (mut command, who) = if geteuid().is_root() {
        // Nobody may be able to reach the program by its path.
        let open = "exec 3<\"$1\"; shift; \
                    exec setpriv --reuid=65534 --regid=65534 --clear-groups /proc/self/fd/3 \"$@\"";
        (through("sh", &["-c", open, "sh"], &karuta), 65534)
    } else {
        (karuta, geteuid().as_raw())
    };
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    let expected =
        format!("config.yaml:4:9: run_as: only root can become `{USER}`, and this is user {who}\n");
    assert!(said.ends_with(&expected), "{said}");
}

#[test]
fn root_that_stays_root_is_warned() {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    let is_all = map.split_whitespace().eq(["0", "0", "4294967295"]);
    let daemon = Daemon::start("");
    let warned = daemon.log().contains("keeping the privileges of root");
    assert_eq!(warned, geteuid().is_root() && is_all);
}

/// A policy that writes a file, if it may.
fn writer(grant: &str, landlock: bool) -> String {
    format!(
        "landlock: {landlock}
policies:
  - name: books
    plugin: PLUGINS/test-control.wasm
    tick: 100ms
    config: {{ tick: [{{ write: {{ path: /out/b, text: y }} }}] }}
    allow: {{ folders: [{grant}] }}
"
    )
}

const GRANT: &str = "{ path: out, at: /out, write: true }";

/// Starts without a grant, reloads with one, and returns what the command says.
fn grant(landlock: bool) -> (Daemon, String) {
    let folder = folder(&format!("{LISTENERS}{}", writer("", landlock)));
    fs::create_dir(folder.path().join("out")).unwrap();
    let daemon = Daemon::start_in(folder);
    write_config(daemon.folder.path(), &format!("{LISTENERS}{}", writer(GRANT, landlock)));
    let output = run(&["reload", "--admin", &daemon.admin.to_string()], daemon.folder.path());
    (daemon, String::from_utf8(output.stdout).unwrap())
}

fn ticks(daemon: &Daemon) -> f64 {
    daemon.metric("karuta_policy_calls_total{policy=\"books\",hook=\"tick\",verdict=\"ok\",remembered=\"false\"}")
}

#[test]
fn a_folder_that_is_granted_later_can_be_written_after_a_restart() {
    let (daemon, said) = grant(true);
    if daemon.log().contains("\"landlock\":\"unavailable\"") {
        eprintln!("skipped: this kernel has no Landlock");
        return;
    }
    let status: serde_json::Value =
        serde_json::from_str(&daemon.admin_page("/api/status")).unwrap();
    assert_eq!(status["landlock"], "on");
    assert!(said.contains("waiting for a restart: policies[].allow.folders"), "{said}");
    let before = ticks(&daemon);
    eventually("it has tried to", || ticks(&daemon) >= before + 2.0);
    assert!(!daemon.folder.path().join("out/b").exists());
    let daemon = daemon.restart();
    eventually("it can", || daemon.folder.path().join("out/b").exists());
}

#[test]
fn without_landlock_it_can_be_written_at_once() {
    let (daemon, said) = grant(false);
    assert!(!said.contains("waiting"), "{said}");
    eventually("it can", || daemon.folder.path().join("out/b").exists());
    assert!(daemon.log().contains("\"landlock\":\"off\""));
    let status: serde_json::Value =
        serde_json::from_str(&daemon.admin_page("/api/status")).unwrap();
    assert_eq!(status["landlock"], "off");
}
