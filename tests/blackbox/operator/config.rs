//! Wrong configurations and wrong usage: the error, and that nothing else happens.

use std::net::TcpListener;

use karuta_tests::{folder, run};

/// Each with its whole error.
const WRONG: [(&str, &str); 17] = [
    ("", "config.yaml:1:1: the file is empty, expected a mapping"),
    ("tracker: {}\n", "config.yaml:1:1: no listener, expected at least one in http or udp"),
    (
        "http: [{}]\ntracker:\n  anounce_interval: 30m\n",
        "config.yaml:3:3: tracker: unknown key `anounce_interval`, did you mean `announce_interval`?",
    ),
    (
        "http: [{}]\ntracker:\n  workers: many\n",
        "config.yaml:3:12: tracker.workers: found a text, expected a whole number, 0 or more",
    ),
    (
        "http: [{}]\nadmin: 127.0.0.1:6880\n",
        "config.yaml:2:8: admin: found a text, expected a mapping",
    ),
    (
        "http: [{}]\ntracker: { announce_interval: 30 minutes }\n",
        "config.yaml:2:31: tracker.announce_interval: invalid duration `30 minutes`, expected a number \
         with a unit such as 30s, 5m, 1h",
    ),
    (
        "http: [{}]\ntracker:\n  peer_lifetime: 40m\n",
        "config.yaml:3:18: tracker.peer_lifetime: 40m is too short, expected more than max_interval (40m)",
    ),
    (
        "http: [{}]\npolicies:\n  - name: clients\n    plugin: plugins/nowhere.wasm\n",
        "config.yaml:4:13: policies[0].plugin: no such file: `plugins/nowhere.wasm`",
    ),
    (
        "http: [{}]\npolicies:\n  - { name: a, plugin: config.yaml }\n  - { name: a, plugin: config.yaml }\n",
        "config.yaml:4:13: policies[1].name: `a` is already the name of policies[0], expected another",
    ),
    (
        "http: [{}]\nudp: [{ connection_id_secret: { file: nowhere } }]\n",
        "config.yaml:2:31: udp[0].connection_id_secret: no such file: `nowhere`",
    ),
    ("http: [{}]\nhttp: [{}]\n", "config.yaml:2:1: duplicate key `http`"),
    ("http: [{}]\n---\nhttp: [{}]\n", "config.yaml:2:1: a second document, expected only one"),
    (
        "http: [{}]\nadmin: { listen: '0.0.0.0:6880' }\n",
        "config.yaml:2:18: admin.listen: `0.0.0.0:6880` is not a loopback address, expected one, or a token",
    ),
    (
        "http: [{ listen: '[::]:6881' }]\nadmin: { listen: '127.0.0.1:6881' }\n",
        "config.yaml:2:18: admin.listen: `127.0.0.1:6881` is taken by http[0].listen (`[::]:6881`), expected another",
    ),
    (
        "http: [{}]\nswarms:\n  snapshot: { path: a, every: 5s }\n",
        "config.yaml:3:31: swarms.snapshot.every: 5s is too short, expected at least 10s",
    ),
    (
        "http: [{}]\npolicies:\n  - { name: a, plugin: config.yaml, on_error: rejekt }\n",
        "config.yaml:3:47: policies[0].on_error: unknown value `rejekt`, expected one of reject, next, drop",
    ),
    (
        "http: [{}]\ntracker: [\n",
        "config.yaml:3:1: tracker: invalid YAML: while parsing a node, did not find expected node content",
    ),
];

/// The listener of each is taken. A tracker that tried to bind it would say so, and exit with 1.
#[test]
fn errors_say_what_is_wrong_and_where() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = format!("http: [{{ listen: '{}' }}]", taken.local_addr().unwrap());
    for (yaml, expected) in WRONG {
        let folder = tempfile::tempdir().unwrap();
        let yaml = yaml.replace("http: [{}]", &listener);
        std::fs::write(folder.path().join("config.yaml"), &yaml).unwrap();
        for command in ["run", "check"] {
            let output = run(&[command], folder.path());
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(said, format!("{expected}\n"), "{command} of\n{yaml}");
            assert_eq!(output.status.code(), Some(78), "{command} of\n{yaml}");
            assert_eq!(output.stdout, b"", "{command} of\n{yaml}");
        }
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(left.len(), 1, "something was written: {left:?}");
    }
}

#[test]
fn a_missing_configuration_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["run", "check"] {
        let output = run(&[command, "--config", "nowhere.yaml"], folder.path());
        assert_eq!(output.status.code(), Some(78));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said, "nowhere.yaml: no such file: `nowhere.yaml`\n");
    }
}

/// Its HTTP listener is taken.
#[test]
fn check_binds_no_listener_and_writes_nothing() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = folder(&format!(
        "
http: [{{ listen: '{0}' }}]
udp: [{{}}]
admin: {{ listen: '127.0.0.1:0' }}
policies:
  - {{ name: clients, plugin: PLUGINS/client-approval.wasm, config: {{ deny: [-XL] }} }}
",
        tcp.local_addr().unwrap()
    ));
    let output = run(&["check"], folder.path());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "config.yaml: fine\n");
    assert_eq!(output.status.code(), Some(0));
    assert!(!folder.path().join("state").exists());
}

#[test]
fn the_shipped_configuration_is_accepted() {
    let root = karuta_tests::root();
    let shipped = std::fs::read_to_string(root.join("config.yaml")).unwrap();
    let folder = folder(&shipped.replace("target/plugins", "PLUGINS"));
    let output = run(&["check", "-c", "config.yaml"], folder.path());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn paths_are_relative_to_the_configuration_file() {
    let folder = folder("");
    let inner = folder.path().join("etc");
    std::fs::create_dir(&inner).unwrap();
    let plugin = karuta_tests::plugins().join("client-approval.wasm");
    std::fs::copy(plugin, inner.join("p.wasm")).unwrap();
    karuta_tests::write_config(&inner, "http: [{}]\npolicies: [{ name: a, plugin: p.wasm }]");
    let output = run(&["check", "--config", "etc/config.yaml"], folder.path());
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = run(&["check"], &inner);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn wrong_usage_exits_with_2() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in
        [&[][..], &["serve"], &["run", "--colour"], &["check", "a", "b"], &["run", "-c"]]
    {
        let output = run(arguments, folder.path());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert_eq!(output.stdout, b"", "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    for arguments in [["--help"], ["--version"]] {
        assert_eq!(run(&arguments, folder.path()).status.code(), Some(0));
    }
}
