//! What policies have of the host beside the request: key-values, series of their own, signatures;
//! and the compiled components that the daemon keeps.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use karuta_tests::announce::Announce;
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, LISTENERS, folder, run, write_config};

fn tally(name: &str, more: &str) -> String {
    format!("policies:\n  - name: {name}\n    plugin: PLUGINS/test-tally.wasm\n{more}")
}

/// What the policy says to an announce with more parameters.
#[track_caller]
fn said(daemon: &Daemon, more: &str) -> String {
    let answer = Announce::of('a').with(more).dictionary(daemon.http);
    answer.text("warning message").expect("the policy says something")
}

#[track_caller]
fn reload(daemon: &Daemon, yaml: &str) -> String {
    write_config(daemon.folder.path(), &format!("{LISTENERS}{yaml}"));
    let admin = daemon.admin.to_string();
    let output = run(&["reload", "--admin", &admin], daemon.folder.path());
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8(text).unwrap().trim_end().to_owned()
}

/// New connections go to whichever worker the kernel likes, so that twenty meet both.
#[test]
fn counters_are_of_all_workers_and_outlive_a_reload() {
    let workers = "tracker: { workers: 2 }\n";
    let daemon = Daemon::start(&format!("{workers}{}", tally("tally", "")));
    for n in 1..=20 {
        assert_eq!(said(&daemon, ""), n.to_string());
    }
    Announce::of('a').udp(&Client::connect(daemon.udp)).unwrap();
    // A worker and its spare each, and no trial.
    karuta_tests::eventually("the spares come up", || said(&daemon, "ask=inits") == "4");

    let limits = "    limits: { storage: 64KiB }\n";
    let report = reload(&daemon, &format!("{workers}{}", tally("tally", limits)));
    assert_eq!(report, "generation 2: replaced tally");
    assert_eq!(said(&daemon, ""), "22");

    // Each is 1020 bytes, a key of four and 128 for the entry.
    let full = said(&daemon, "ask=flood");
    let (fit, reason) = full.split_once(": ").unwrap();
    assert_eq!(reason, "the storage is full: `limits.storage` allows 65536 bytes");
    assert!((50..=56).contains(&fit.parse::<u32>().unwrap()), "{full}");
    assert_eq!(said(&daemon, ""), "23", "what is there can still be counted");

    // A policy of another name has nothing of it.
    let report = reload(&daemon, &format!("{workers}{}", tally("other", limits)));
    assert_eq!(report, "generation 3: added other; removed tally");
    assert_eq!(said(&daemon, ""), "1");
}

#[test]
fn series_of_policies_are_shown() {
    let daemon = Daemon::start(&tally("tally", ""));
    let announces = "karuta_plugin_announces{policy=\"tally\"}";
    let port = "karuta_plugin_port{policy=\"tally\"}";
    let made = daemon.metric(announces);
    assert!(made >= 1000.0 && made % 1000.0 == 0.0, "instances that serve, and no trial: {made}");
    for port in [7000, 7001, 7002] {
        Announce::of('a').port(port).http(daemon.http).unwrap();
    }
    assert_eq!(daemon.metric(announces) % 1000.0, 3.0);
    assert_eq!(daemon.metric(port), 7002.0);
    let page = daemon.admin_page("/metrics");
    for line in [
        "# HELP karuta_plugin_announces Announces that were counted.",
        "# TYPE karuta_plugin_announces counter",
        "# TYPE karuta_plugin_port gauge",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }

    reload(&daemon, &tally("tally", "    config: { gauge: last_port }\n"));
    Announce::of('a').port(7003).http(daemon.http).unwrap();
    assert_eq!(daemon.metric(announces) % 1000.0, 4.0, "counted on");
    assert_eq!(daemon.metric("karuta_plugin_last_port{policy=\"tally\"}"), 7003.0);

    let refused = reload(&daemon, &tally("tally", "    config: { gauge: announces }\n"));
    let reason = "the policy `tally` already has a counter of that name";
    assert!(refused.contains(reason), "{refused}");
    assert!(!daemon.admin_page("/metrics").contains("policy=\"other\""));
}

/// The example of RFC 8037, appendix A.
#[test]
fn signatures_are_verified() {
    let key = r#"    config: { key: '{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}' }"#;
    let daemon = Daemon::start(&tally("tally", &format!("{key}\n")));
    let message = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = "860c98d2297f3060a33f42739672d61b53cf3adefed3d3c672f320dc021b411e\
                     9d59b8628dc351e248b88b29468e0e41855b0fb7d83bb15be902bfccb8cd0a02";
    let ask = |algorithm, message, signature| {
        let query = format!("algorithm={algorithm}&message={message}&signature={signature}");
        said(&daemon, &format!("ask=signature&{query}"))
    };
    assert_eq!(ask("EdDSA", message, signature), "true");
    assert_eq!(ask("ES256", message, signature), "false");
    assert_eq!(ask("EdDSA", "eyJhbGciOiJub25lIn0.RXhhbXBsZQ", signature), "false");
    assert_eq!(ask("EdDSA", message, &signature.replace("860c", "860d")), "false");

    let refused = reload(&daemon, &tally("tally", "    config: { key: '{}' }\n"));
    assert!(
        refused.contains("policies[0].config.key: not a JWK: missing field `kty`"),
        "{refused}"
    );
}

#[test]
fn compiled_components_are_kept() {
    let policy = tally("tally", "");
    let folder = folder(&format!("{LISTENERS}{policy}"));
    let components = folder.path().join("state/components");
    assert!(run(&["check"], folder.path()).status.success());
    assert!(!folder.path().join("state").exists(), "a check writes nothing");

    let private = |path: &Path| fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
    // With a state of its own it is lent nothing.
    let cold = self::folder(&format!("{LISTENERS}{policy}"));
    fs::create_dir(cold.path().join("state")).unwrap();
    private(&cold.path().join("state"));
    let mut daemon = Daemon::start_in(cold);
    let kept = daemon.folder.path().join("state/components");
    let files: Vec<_> = fs::read_dir(&kept).unwrap().map(|file| file.unwrap().path()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    let whole = fs::read(file).unwrap();

    // The file is taken by a daemon in another folder, where somebody has damaged it.
    daemon.signal("TERM");
    daemon.wait();
    fs::create_dir_all(&components).unwrap();
    let there = components.join(file.file_name().unwrap());
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    fs::write(&there, &damaged).unwrap();
    private(components.parent().unwrap());
    private(&components);
    let check = run(&["check"], folder.path());
    assert!(check.status.success(), "{check:?}");
    assert_eq!(fs::read(&there).unwrap(), damaged, "a check writes nothing");
    let again = Daemon::start_in(folder);
    again.logs("it is damaged");
    assert_eq!(fs::read(&there).unwrap().len(), whole.len());
    assert_ne!(fs::read(&there).unwrap(), damaged);
    assert_eq!(said(&again, ""), "1");
}
