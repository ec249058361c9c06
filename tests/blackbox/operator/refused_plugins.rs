//! Plugins that cannot be used: `karuta run` and `karuta check` say why, and the daemon does not
//! start. Everything that can be wrong with a component is in `author/plugin_check.rs`.

use std::path::Path;

use karuta_tests::{folder, plugins, run};

/// Returns the error of `run` and `check` for a configuration. Both exit with 78.
#[track_caller]
fn refusal(folder: &Path, yaml: &str) -> String {
    let yaml =
        format!("http: [{{ listen: '127.0.0.1:0' }}]\nadmin: {{ listen: '127.0.0.1:0' }}\n{yaml}");
    karuta_tests::write_config(folder, &yaml);
    let check = run(&["check"], folder);
    assert!(!folder.join("state").exists(), "it has written its state");
    let run = run(&["run"], folder);
    for output in [&run, &check] {
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        assert_eq!(output.stdout, b"");
    }
    // Before it there is what the plugin itself has logged. `check` does not show that.
    let run = String::from_utf8(run.stderr).unwrap();
    let said = run.lines().next_back().unwrap_or_default().to_owned();
    assert_eq!(String::from_utf8(check.stderr).unwrap(), format!("{said}\n"));
    said
}

/// Returns the error for a component of these bytes, without the place and the policy.
#[track_caller]
fn of_bytes(bytes: &[u8]) -> String {
    let folder = folder("");
    std::fs::write(folder.path().join("p.wasm"), bytes).unwrap();
    let said = refusal(folder.path(), "policies:\n  - name: broken\n    plugin: p.wasm\n");
    let said = said.strip_prefix("config.yaml:5:13: policies[0].plugin: ").expect(&said);
    let said = said.strip_suffix(" (policy `broken`, plugin p.wasm)").expect(said);
    said.to_owned()
}

/// Returns the error for the test policy with these rules, from the line on. The config is on line
/// 6.
#[track_caller]
fn of_config(rules: &str) -> String {
    let folder = folder("");
    let said = refusal(
        folder.path(),
        &format!(
            "policies:\n  - name: moody\n    plugin: PLUGINS/test-hostile.wasm\n    \
             config: {{ rules: [{rules}] }}\n    limits: {{ init: 100ms }}\n"
        ),
    );
    let file = plugins().join("test-hostile.wasm");
    let who = format!(" (policy `moody`, plugin {})", file.display());
    let said = said.strip_suffix(&who).expect(&said);
    said.strip_prefix("config.yaml:").expect(said).to_owned()
}

/// An empty component.
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

#[test]
fn a_file_that_is_no_component_is_refused() {
    let empty = "compile: is not a WebAssembly component: it is empty; build or copy it again";
    assert_eq!(of_bytes(b""), empty);
    let core = "compile: is a core module, not a component; build it for wasm32-wasip2, or wrap it \
                with `wasm-tools component new` (one for wasip1 with `--adapt`)";
    assert_eq!(of_bytes(b"\0asm\x01\0\0\0"), core);
    let damaged = of_bytes(&[EMPTY, &[11, 200, 1]].concat());
    assert!(damaged.starts_with("compile: "), "{damaged}");
}

#[test]
fn a_component_that_is_no_policy_is_refused() {
    assert_eq!(
        of_bytes(EMPTY),
        "link: exports no karuta:policy/lifecycle, nor anything else; build it for a world of \
         karuta:policy, such as announce-policy"
    );
}

#[test]
fn a_file_other_than_the_pinned_one_is_refused() {
    let folder = folder("");
    std::fs::write(folder.path().join("p.wasm"), "").unwrap();
    let pin = "0".repeat(64);
    let said = refusal(
        folder.path(),
        &format!("policies:\n  - name: pinned\n    plugin: p.wasm\n    sha256: {pin}\n"),
    );
    // The digest of an empty file.
    let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(
        said,
        format!(
            "config.yaml:6:13: policies[0].sha256: the file's SHA-256 is {digest}, not the one pinned \
             (policy `pinned`, plugin p.wasm)"
        )
    );
}

#[test]
fn a_refused_config_is_shown_at_its_place() {
    let said = of_config("{ on: init, do: refuse, text: 'I do not like it' }");
    assert_eq!(said, "6:13: policies[0].config: I do not like it");
    let said = of_config("{ on: init, do: refuse, text: 'rules[0].do: something else, please' }");
    assert_eq!(said, "6:39: policies[0].config.rules[0].do: something else, please");
    let said = of_config("{ on: init, do: refuse, text: \"two\\nlines \\e[31m\" }");
    assert_eq!(said, "6:13: policies[0].config: two\\nlines \\u{1b}[31m");
}

#[test]
fn a_failed_init_is_shown_with_its_cause() {
    for (act, cause) in [
        ("trap", "trap"),
        ("loop", "deadline"),
        ("eat-memory", "memory"),
        ("recurse", "stack"),
        ("exit", "host"),
        ("sleep", "deadline"),
    ] {
        let said = of_config(&format!("{{ on: init, do: {act} }}"));
        assert!(said.starts_with(&format!("6:13: policies[0].config: {cause}: ")), "{act}: {said}");
    }
}

/// The shipped policies name the key that is wrong.
#[test]
fn a_wrong_key_is_shown_at_its_place() {
    for (plugin, config, expected) in [
        (
            "client-approval",
            "{ denied: [-XL] }",
            "23: policies[0].config.denied: unknown key, expected one of allow, deny, allow_from, \
             deny_from",
        ),
        (
            "client-approval",
            "{ deny: [-XL, 5] }",
            "27: policies[0].config.deny[1]: found the number `5`, expected a text",
        ),
        (
            "torrent-approval",
            "{ deny: [xyz] }",
            "22: policies[0].config.deny[0]: must be 40 hexadecimal digits, or 64, has 'x'",
        ),
        (
            "interval-variation",
            "{ probability: 2, max_increase: 60s }",
            "28: policies[0].config.probability: must be above 0 and at most 1, is 2",
        ),
        (
            "interval-variation",
            "{ probability: 1 }",
            "13: policies[0].config: missing key `max_increase`",
        ),
    ] {
        let folder = folder("");
        let said = refusal(
            folder.path(),
            &format!(
                "policies:\n  - name: shipped\n    plugin: PLUGINS/{plugin}.wasm\n    \
                 config: {config}\n"
            ),
        );
        let file = plugins().join(format!("{plugin}.wasm"));
        let who = format!("(policy `shipped`, plugin {})", file.display());
        assert_eq!(said, format!("config.yaml:6:{expected} {who}"));
    }
}
