use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use proptest::prelude::*;

use super::{
    values::{parse_duration, show_duration},
    *,
};

/// The configuration that `make run` starts with.
const DEFAULT: &str = include_str!("../../../config.yaml");

/// A folder for one test, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("karuta-config-{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&folder.0).unwrap();
        for (name, text) in files {
            let file = folder.0.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        folder
    }

    fn parse(&self, text: &str) -> Result<Config, Error> {
        parse(text, &self.0.join("config.yaml"))
    }

    /// Returns the error for `text`, without the folder.
    fn wrong(&self, text: &str) -> String {
        let error = self.parse(text).expect_err(text).to_string();
        error.replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn shipped() -> Folder {
    Folder::new(&[
        ("target/plugins/client-approval.wasm", ""),
        ("target/plugins/interval-variation.wasm", ""),
        ("target/plugins/torrent-approval.wasm", ""),
    ])
}

/// Invalid texts, each followed by its error.
#[test]
fn each_wrong_configuration_has_its_error() {
    let folder = Folder::new(&[
        ("p.wasm", ""),
        ("folder/file", ""),
        ("empty", "\n"),
        ("database.url", "postgres://karuta@localhost/site\n"),
    ]);
    let cases = include_str!("wrong.txt").split("\n====\n");
    let mut count = 0;
    for case in cases {
        let (text, expected) = case.split_once("\n=> ").expect(case);
        assert_eq!(folder.wrong(text), expected.trim_end(), "{text}");
        count += 1;
    }
    assert!(count >= 40, "{count}");
}

/// Enables the settings of the default configuration that are commented out with `#` and no blank.
fn switch_on(text: &str) -> String {
    let on = |line: &str| match line.strip_prefix('#') {
        // A blank after the `#` begins a sentence; several are the indentation of a setting.
        Some(rest) if !rest.starts_with(' ') || rest.starts_with("  ") => rest.to_owned() + "\n",
        _ => line.to_owned() + "\n",
    };
    text.lines().map(on).collect()
}

#[test]
fn the_default_configuration_says_the_defaults() {
    let folder = shipped();
    let shipped = folder.parse(DEFAULT).unwrap();
    let mut minimal = folder
        .parse(
            r#"
http: [{}]
udp: [{}]
policies:
  - name: clients
    plugin: target/plugins/client-approval.wasm
    config: { deny: ["-XL", "-SD", "-XF", "-QD", "-BN"] }
  - name: spread
    plugin: target/plugins/interval-variation.wasm
    on_error: next
    config: { probability: 0.2, max_increase: 60s, min_interval: true }
"#,
        )
        .unwrap();
    assert_ne!(minimal.source, shipped.source);
    minimal.source = shipped.source.clone();
    assert_eq!(shipped, minimal);
}

/// The default configuration has a line for every key, and those that are commented out are known
/// too.
#[test]
fn the_default_configuration_has_every_key() {
    let folder = Folder::new(&[
        ("target/plugins/client-approval.wasm", ""),
        ("target/plugins/torrent-approval.wasm", ""),
        ("target/plugins/interval-variation.wasm", ""),
        ("connection-id.secret", "correct horse battery staple\n"),
        ("grafana.token", "a token that only reads\n"),
        ("target/plugins/passkey.wasm", ""),
        ("torrust.token", "a token of the site\n"),
        ("gazelle.password", "0123456789abcdef0123456789ABCDEF\n"),
        ("gazelle.report", "0123456789abcdef0123456789abcdef\n"),
        ("unit3d.key", "abcdefghijklmnopqrstuvwxyz0123456789\n"),
        ("valkey-password", "a password of the engine\n"),
        ("database.url", "postgres://karuta@localhost/site\n"),
        ("acme/.well-known/acme-challenge/token", ""),
    ]);
    let text = ["KARUTA_ADMIN_TOKEN", "KARUTA_LIST_TOKEN"]
        .iter()
        .fold(switch_on(DEFAULT), |text, variable| text.replace(variable, "PATH"));
    let config = folder.parse(&text).unwrap();
    let names: Vec<&str> = config.policies.iter().map(|policy| policy.name.as_str()).collect();
    assert_eq!(names, ["clients", "torrents", "members", "spread"]);
    assert!(config.policies[0].sha256.is_some());
    assert!(config.http[0].real_ip.is_some());
    assert_eq!(config.state_dir, Some(folder.0.join("state")));
    assert_eq!(
        config.udp[0].connection_id_secret.as_ref().unwrap().expose(),
        b"correct horse battery staple"
    );
    assert!(config.admin.token.is_some());

    // The error for an unknown key lists all known ones.
    let value: Value = serde_yaml::from_str(&text).unwrap();
    for at in [
        "",
        "tracker",
        "tracker.num_want",
        "tracker.limits",
        "http[0]",
        "http[0].real_ip",
        "http[0].tls",
        "udp[0]",
        "udp[0].error_budget",
        "swarms",
        "swarms.limits",
        "swarms.snapshot",
        "swarms.share",
        "swarms.share.tls",
        "policies[0]",
        "policies[0].when",
        "policies[0].limits",
        "policies[0].allow",
        "admin",
        "admin.tokens[0]",
        "admin.torrust",
        "admin.gazelle",
        "admin.unit3d",
        "admin.unit3d.donors",
        "log",
        "log.file",
        "decision_log",
        "decision_log.rotate",
        "decision_log.mask",
        "swarms.full_scrape",
        "export[0]",
        "run_as",
    ] {
        let mut wrong = value.clone();
        let mut node = &mut wrong;
        for segment in at.split('.').filter(|segment| !segment.is_empty()) {
            node = match segment.strip_suffix("[0]") {
                Some(list) => &mut node[list][0],
                None => &mut node[segment],
            };
        }
        let here = node.as_mapping_mut().unwrap();
        let written: Vec<String> =
            here.keys().map(|key| key.as_str().unwrap().to_owned()).collect();
        here.insert("quite-unknown-to-anybody".into(), Value::Null);
        let error = folder.wrong(&serde_yaml::to_string(&wrong).unwrap());
        let known = error.rsplit_once("expected one of ").unwrap().1;
        let missing: Vec<&str> =
            known.split(", ").filter(|key| !written.iter().any(|is| is == key)).collect();
        assert!(missing.is_empty(), "{at}: {missing:?}");
    }
}

#[test]
fn listeners_on_different_addresses_are_accepted() {
    let folder = Folder::new(&[]);
    for text in [
        "http: [{ listen: '[::]:80' }]\nudp: [{ listen: '127.0.0.1:80' }]",
        "http: [{ listen: '[::]:80' }, { listen: '127.0.0.1:81' }]",
        "http: [{ listen: '[::]:80', only_v6: true }, { listen: '127.0.0.1:80' }]",
        "http: [{ listen: '0.0.0.0:80' }, { listen: '[::]:80', only_v6: true }]",
        "http: [{ listen: '0.0.0.0:80' }, { listen: '[::1]:80' }]",
        "http: [{ listen: '[::ffff:0.0.0.0]:80' }, { listen: '[::1]:80' }]",
        "http: [{ listen: '[::]:0' }, { listen: '127.0.0.1:0' }, { listen: '[::]:0' }]",
        "http: [{ listen: '[::]:80', only_v6: true }]\nadmin: { listen: '127.0.0.1:80' }",
        "udp: [{ listen: '[fe80::1%1]:80' }, { listen: '[fe80::1%2]:80' }]",
    ] {
        folder.parse(text).expect(text);
    }
}

#[test]
fn what_is_written_is_read() {
    let folder = Folder::new(&[("plugins/a.wasm", ""), ("secrets/udp", "\u{1}\u{2}\r\n")]);
    let config = folder
        .parse(
            r#"
tracker: { announce_interval: 1h30m, max_interval: 1d, peer_lifetime: 1d1s }
http:
  - listen: "127.0.0.1:0"
    announce: ["/{key}/announce"]
    real_ip: { header: X-Real-IP, trusted: [10.1.2.3/8, "::1", "::ffff:192.0.2.7/120"] }
  - listen: "[::ffff:127.0.0.1]:0"
    max_request: 1MiB
udp:
  - listen: "[::1]:6970"
    only_v6: true
    connection_id_secret: { file: secrets/udp }
policies:
  - name: a
    plugin: plugins/a.wasm
    sha256: "00FF000000000000000000000000000000000000000000000000000000000001"
    credential: ["query:jwt", "path:key", "header:Authorization"]
    when: { transports: [udp, http], events: [none, paused], routes: ["/{key}/announce"] }
    on_error: drop
    limits: { memory: 64KiB, deadline: 500ms }
    allow: { http: ["http://[::ffff:192.0.2.1]:8080/api"] }
state_dir: state
swarms: { keep_downloads: 0s }
"#,
        )
        .unwrap();
    assert_eq!(config.tracker.announce_interval, Duration::from_mins(90));
    assert_eq!(config.swarms.keep_downloads, Duration::ZERO);
    assert_eq!(config.tracker.peer_lifetime, Duration::from_secs(86_401));
    let real_ip = config.http[0].real_ip.as_ref().unwrap();
    assert_eq!(real_ip.header, "x-real-ip");
    let trusted = ["10.0.0.0/8", "::1/128", "192.0.2.0/24"];
    assert_eq!(real_ip.trusted, trusted.map(|range| range.parse().unwrap()));
    assert_eq!(config.http[1].listen, "127.0.0.1:0".parse().unwrap());
    assert_eq!(config.http[1].max_request, 1 << 20);
    assert_eq!(config.udp[0].connection_id_secret.as_ref().unwrap().expose(), [1, 2]);
    assert_eq!(config.state_dir, Some(folder.0.join("state")));
    let policy = &config.policies[0];
    assert_eq!(policy.plugin, folder.0.join("plugins/a.wasm"));
    let digest = policy.sha256.unwrap();
    assert_eq!((digest[0], digest[1], digest[31]), (0, 255, 1));
    assert_eq!(
        policy.credential,
        [
            CredentialRule::Query("jwt".into()),
            CredentialRule::Path("key".into()),
            CredentialRule::Header("authorization".into()),
        ]
    );
    assert_eq!(policy.when.transports, [Transport::Udp, Transport::Http]);
    assert_eq!(policy.when.events, [Event::None, Event::Paused]);
    assert_eq!(policy.on_error, OnError::Drop);
    assert_eq!(policy.allow.http[0].as_str(), "http://192.0.2.1:8080/api");
    assert_eq!(policy.limits.memory, 65_536);
    assert_eq!(policy.limits.deadline, Duration::from_millis(500));
    assert_eq!(policy.limits.init, Duration::from_secs(5));
    assert_eq!(policy.config, serde_json::json!({}));
}

#[test]
fn a_policys_config_becomes_json() {
    let folder = Folder::new(&[("a.wasm", "")]);
    let config = folder
        .parse(
            r#"
udp: [{}]
policies:
  - name: a
    plugin: a.wasm
    config:
      numbers: [0, -1, 18446744073709551615, -9223372036854775808, 0.5, 1e3]
      texts: ["1", yes, 1h, -XL, "", 2024-01-01, 007]
      words: [true, false, null, ~, ]
      base: &base { deep: { "1": [[]] } }
      again: *base
      empty:
  - { name: b, plugin: a.wasm, config: ~ }
"#,
        )
        .unwrap();
    assert_eq!(
        config.policies[0].config,
        serde_json::json!({
            "numbers": [0, -1, u64::MAX, i64::MIN, 0.5, 1000.0],
            "texts": ["1", "yes", "1h", "-XL", "", "2024-01-01", "007"],
            "words": [true, false, null, null],
            "base": { "deep": { "1": [[]] } },
            "again": { "deep": { "1": [[]] } },
            "empty": null,
        })
    );
    assert_eq!(config.policies[1].config, serde_json::json!({}));
}

/// A section whose keys are all commented out.
#[test]
fn an_empty_section_is_its_defaults() {
    let folder = Folder::new(&[]);
    let mut empty = folder
        .parse(
            "udp: [{}]\ntracker:\n  limits:\nhttp:\nswarms:\npolicies:\nadmin:\nlog:\nstate_dir:\n",
        )
        .unwrap();
    let minimal = folder.parse("udp: [{}]\n").unwrap();
    empty.source = minimal.source.clone();
    assert_eq!(empty, minimal);
}

#[test]
fn a_file_that_cannot_be_read_has_its_error() {
    let folder = Folder::new(&[("binary.yaml", ""), ("long.yaml", &"#\n".repeat(3 << 20))]);
    fs::write(folder.0.join("binary.yaml"), b"udp: \xff").unwrap();
    fs::write(folder.0.join("wide.yaml"), b"\xff\xfeu\0d\0p\0").unwrap();
    let pipe = folder.0.join("pipe.yaml");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for (name, expected) in [
        ("nowhere.yaml", "nowhere.yaml: no such file: `nowhere.yaml`"),
        ("binary.yaml", "binary.yaml: line 1: not UTF-8"),
        ("wide.yaml", "wide.yaml: UTF-16, expected UTF-8"),
        ("pipe.yaml", "pipe.yaml: not a file: `pipe.yaml`"),
        ("long.yaml", "long.yaml: too long, expected at most 4MiB"),
    ] {
        let error = load(&folder.0.join(name)).unwrap_err().to_string();
        assert_eq!(error.replace(&format!("{}/", folder.0.display()), ""), expected);
    }
}

#[test]
fn a_byte_order_mark_and_any_line_ends_are_read() {
    let folder = Folder::new(&[]);
    let text = "\u{feff}udp: [{}]\r\nlog:\r\n  level: debug\r\n";
    for text in [text.to_owned(), text.replace("\r\n", "\r")] {
        let path = folder.0.join("config.yaml");
        fs::write(&path, text).unwrap();
        assert_eq!(load(&path).unwrap().log.level, LogLevel::Debug);
    }
}

#[test]
fn secrets_are_not_shown() {
    let folder = Folder::new(&[("token", "\u{feff}sword fish\r\n")]);
    let config = folder.parse("udp: [{}]\nadmin: { token: { file: token } }\n").unwrap();
    assert_eq!(config.admin.token.as_ref().unwrap().expose(), b"sword fish");
    assert!(!format!("{config:?}").contains("fish"));
}

#[test]
fn secrets_that_are_none_are_pointed_at() {
    use std::os::unix::fs::PermissionsExt;

    let folder = Folder::new(&[("long", "a token of 17 bytes"), ("short", "fifteen bytes..\n")]);
    let mode = |name, mode| {
        fs::set_permissions(folder.0.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("long", 0o640);
    mode("short", 0o600);
    let warnings = |file: &str| {
        let token = format!("udp: [{{}}]\nadmin: {{ token: {{ file: {file} }} }}\n");
        folder.parse(&token).unwrap().warnings()
    };
    assert_eq!(warnings("long"), []);
    assert_eq!(warnings("short")[0].0, "admin.token");
    mode("long", 0o604);
    assert!(warnings("long")[0].1.starts_with("every user can read `"));
    let share = "udp: [{}]\nswarms: { share: { nodes: ['a:1'], password: { file: long } } }\n";
    let warnings = folder.parse(share).unwrap().warnings();
    let keys: Vec<_> = warnings.iter().map(|(key, _)| &**key).collect();
    assert_eq!(keys, ["swarms.share.password", "udp[0].connection_id_secret"]);
    let token = "udp: [{}]\nadmin: { tokens: [{ name: a, token: { file: short }, may: [read] }] }";
    assert_eq!(
        folder.wrong(token),
        "config.yaml:2:37: admin.tokens[0].token: too short, expected at least 16 bytes"
    );
}

/// A secret that is not for a header may contain any bytes.
#[test]
fn a_secret_for_a_header_must_be_a_valid_header_value() {
    let wrong = ["a\n\n", "a\nb", "\u{7f}", "a\tb", "ü", " a", "a ", "\u{feff}", "\u{feff}\n"];
    for text in wrong {
        let folder = Folder::new(&[("secret", text), ("p.wasm", "")]);
        let connections = "udp: [{ connection_id_secret: { file: secret } }]\n";
        folder.parse(connections).unwrap();
        let carry = "the file `secret` is not a valid header value, expected one line of visible \
                     ASCII without spaces around it";
        assert_eq!(
            folder.wrong("udp: [{}]\nadmin: { token: { file: secret } }\n"),
            format!("config.yaml:2:17: admin.token: {carry}")
        );
        let header = "udp: [{}]\npolicies:\n  - name: a\n    plugin: p.wasm\n    data:\n      d: { format: raw, \
                      url: 'https://a/', headers: { x-key: { file: secret } } }\n";
        let said = folder.wrong(header);
        assert!(said.ends_with(&format!("headers.x-key: {carry}")), "{said}");
    }
}

#[test]
fn errors_of_plugins_find_their_place_in_the_file() {
    let folder = Folder::new(&[("p.wasm", "")]);
    let config = folder
        .parse(
            r#"udp: [{}]
policies:
  - name: a
    plugin: p.wasm
  - name: b
    plugin: p.wasm
    sha256: "0000000000000000000000000000000000000000000000000000000000000000"
    config:
      allow: ["-TR", "-qB4",
              "-lt"]
      groups:
        eu/fra1.de: [10.0.0.0/8]
        eu: [11.0.0.0/8]
      issuers:
        - issuer: x
"#,
        )
        .unwrap();
    let shown = |error: Error| error.to_string().replace(&format!("{}/", folder.0.display()), "");
    for (text, expected) in [
        ("allow[2]: too long", "10:15: policies[1].config.allow[2]: too long"),
        ("allow[7]: what: else", "9:14: policies[1].config.allow[7]: what: else"),
        ("groups.eu/fra1.de[0]: a: b", "12:22: policies[1].config.groups.eu/fra1.de[0]: a: b"),
        ("groups.eu[0]: no", "13:14: policies[1].config.groups.eu[0]: no"),
        ("issuers[0].keys: missing", "15:11: policies[1].config.issuers[0].keys: missing"),
        ("missing key `keys`", "9:7: policies[1].config: missing key `keys`"),
        ("keys: missing", "9:7: policies[1].config: keys: missing"),
        ("allow is strange: yes", "9:7: policies[1].config: allow is strange: yes"),
        ("", "9:7: policies[1].config: "),
    ] {
        let error = config.source.plugin_error(1, text);
        assert_eq!(shown(error), format!("config.yaml:{expected}"), "{text}");
    }
    for (path, position) in [
        ("policies[1].sha256", "7:13"),
        ("policies[0].config.deny", "3:5"),
        ("policies[5]", "3:3"),
        ("log.level", "1:1"),
    ] {
        let error = config.source.error(path, "no");
        assert_eq!(shown(error), format!("config.yaml:{position}: {path}: no"));
    }
    let error = config.source.plugin_error(0, "allow: missing");
    assert_eq!(shown(error), "config.yaml:3:5: policies[0].config: allow: missing");
}

#[test]
fn bombs_are_refused() {
    let folder = Folder::new(&[]);
    let level = |level: usize| {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        format!("a{level}: &a{level} [{aliases}]\n")
    };
    let bomb = String::from("udp: [{}]\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
        + &(1..30).map(level).collect::<String>();
    assert_eq!(
        folder.wrong(&bomb),
        "config.yaml:6:45: a4[7]: aliases expand to more than 100000 values"
    );
    let long = format!("udp: [{{}}]\na: &a {}\nb: [*a, *a, *a, *a, *a]\n", "x".repeat(1 << 20));
    let expected = "config.yaml:3:21: b[4]: aliases expand to more than 4MiB of text";
    assert_eq!(folder.wrong(&long), expected);
    let keys = format!("a: &a {{ {}: 1 }}\nb: &b [*a, *a, *a]\nc: [*b]\n", "x".repeat(1000 << 10));
    assert!(folder.wrong(&keys).ends_with("c[0]: aliases expand to more than 4MiB of text"));
    for wide in [format!("[{}]", "1,".repeat(2 << 20)), "- 1\n".repeat(1 << 20)] {
        let error = folder.wrong(&wide);
        assert!(error.ends_with(": more than 250000 values"), "{error}");
    }
    // Each alias is as deep as allowed, and the next one contains it.
    let (open, close) = ("[".repeat(40), "]".repeat(40));
    let chain = format!("udp: [{{}}]\na0: &a0 {open}{close}\na1: {open}*a0{close}\n");
    let expected = "lists and mappings nested more than 64 deep";
    assert!(folder.wrong(&chain).ends_with(expected));
    // The parser itself limits its look-ahead.
    let look_ahead = "invalid YAML: recursion limit exceeded";
    for (open, expected) in [
        ("[", look_ahead),
        ("{a: ", look_ahead),
        ("- ", expected),
        ("? ", "a key that is not a text"),
    ] {
        let error = folder.wrong(&open.repeat(100_000));
        assert!(error.ends_with(expected), "{error}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "(?s).{0,200}") {
        let _ = parse(&text, Path::new("config.yaml"));
    }

    #[test]
    fn no_yaml_panics(text in r#"([-\[\]{}:,?&*!|>'"%@`#~.0-9a-b \n\t]|udp|http|policies|---|- |: |<<){0,60}"#) {
        let _ = parse(&text, Path::new("config.yaml"));
    }

    /// Moves pieces of the default configuration elsewhere, with something new after them.
    #[test]
    fn no_edit_of_the_default_configuration_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0usize..40, any::<prop::sample::Index>(), "[-\\[\\]{}:&*#\"' \n0-9a-z]{0,4}"), 1..6),
    ) {
        let mut text: Vec<char> = DEFAULT.chars().collect();
        for (from, length, to, new) in edits {
            let from = from.index(text.len());
            let length = length.min(text.len() - from);
            let cut: Vec<char> = text.drain(from..from + length).collect();
            let to = to.index(text.len() + 1);
            text.splice(to..to, cut.into_iter().chain(new.chars()));
        }
        let text: String = text.into_iter().collect();
        if let Err(error) = parse(&text, Path::new("config.yaml")) {
            prop_assert!(!error.to_string().contains('\n'), "{error}");
        }
    }

    #[test]
    fn durations_are_read_as_shown(milliseconds in 0u64..3650 * 86_400_000) {
        let duration = Duration::from_millis(milliseconds);
        prop_assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
    }
}
