//! Functions that policies import: key-values, metrics of their own, signatures.

use karuta_tests::announce::Announce;
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, LISTENERS, eventually, run, write_config};

fn tally(name: &str, more: &str) -> String {
    format!("policies:\n  - name: {name}\n    plugin: PLUGINS/test-tally.wasm\n{more}")
}

/// Returns the warning of the policy for an announce with more parameters.
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

/// The kernel chooses the worker of each new connection, so 20 of them reach both.
#[test]
fn counters_are_shared_by_all_workers_and_outlive_a_reload() {
    let workers = "tracker: { workers: 2 }\n";
    let daemon = Daemon::start(&format!("{workers}{}", tally("tally", "")));
    for n in 1..=20 {
        assert_eq!(said(&daemon, ""), n.to_string());
    }
    Announce::of('a').udp(&Client::connect(daemon.udp)).unwrap();
    // An instance and a spare for each worker. Trials do not count.
    eventually("the spares come up", || said(&daemon, "ask=inits") == "4");

    let limits = "    limits: { storage: 64KiB }\n";
    let report = reload(&daemon, &format!("{workers}{}", tally("tally", limits)));
    assert_eq!(report, "generation 2: replaced tally");
    assert_eq!(said(&daemon, ""), "22");

    // Each entry takes 1020 bytes for the value, 4 for the key and 128 for itself.
    let full = said(&daemon, "ask=flood");
    let (fit, reason) = full.split_once(": ").unwrap();
    assert_eq!(reason, "the storage is full: `limits.storage` allows 65536 bytes");
    assert!((50..=56).contains(&fit.parse::<u32>().unwrap()), "{full}");
    assert_eq!(said(&daemon, ""), "23", "what is there can still be counted");

    // A policy with another name does not see any of it.
    let report = reload(&daemon, &format!("{workers}{}", tally("other", limits)));
    assert_eq!(report, "generation 3: added other; removed tally");
    assert_eq!(said(&daemon, ""), "1");
}

#[test]
fn metrics_of_policies_are_shown() {
    let daemon = Daemon::start(&tally("tally", ""));
    let announces = "karuta_plugin_announces_total{policy=\"tally\"}";
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
        "# HELP karuta_plugin_announces_total Announces that were counted.",
        "# TYPE karuta_plugin_announces_total counter",
        "# TYPE karuta_plugin_port gauge",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }

    reload(&daemon, &tally("tally", "    config: { gauge: last_port }\n"));
    Announce::of('a').port(7003).http(daemon.http).unwrap();
    assert_eq!(daemon.metric(announces) % 1000.0, 4.0, "counted on");
    assert_eq!(daemon.metric("karuta_plugin_last_port{policy=\"tally\"}"), 7003.0);

    let refused = reload(&daemon, &tally("tally", "    config: { gauge: announces_total }\n"));
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
