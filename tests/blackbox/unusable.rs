//! Plugins that cannot be used: the daemon says why, and does not start.

use std::path::Path;

use karuta_tests::{folder, plugins, run};

/// What `run` and `check` say of a policy, without its file's name. Exit code 78 is a given.
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
    // What the plugin itself had to say goes before it into the log, which `check` does not keep.
    let run = String::from_utf8(run.stderr).unwrap();
    let said = run.lines().next_back().unwrap_or_default().to_owned();
    assert_eq!(String::from_utf8(check.stderr).unwrap(), format!("{said}\n"));
    said
}

/// What is said of a component of these bytes, behind the place and before the policy.
#[track_caller]
fn of_bytes(bytes: &[u8]) -> String {
    let folder = folder("");
    std::fs::write(folder.path().join("p.wasm"), bytes).unwrap();
    let said = refusal(folder.path(), "policies:\n  - name: broken\n    plugin: p.wasm\n");
    let said = said.strip_prefix("config.yaml:5:13: policies[0].plugin: ").expect(&said);
    let said = said.strip_suffix(" (policy `broken`, plugin p.wasm)").expect(said);
    said.to_owned()
}

/// What is said of the test policy with this `config`, which stands on line 6.
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

const MAGIC: &[u8] = b"\0asm";

/// A component with one import or export of an empty instance.
fn component(import: Option<&str>, export: Option<&str>) -> Vec<u8> {
    let section = |number: u8, content: &[u8]| [&[number, content.len() as u8], content].concat();
    let name = |name: &str| [&[0, name.len() as u8], name.as_bytes()].concat();
    let mut bytes = [MAGIC, &[13, 0, 1, 0]].concat();
    if let Some(import) = import {
        // The type of an instance that exports nothing; an import of it.
        bytes.extend(section(7, &[1, 0x42, 0]));
        bytes.extend(section(10, &[&[1][..], &name(import), &[5, 0]].concat()));
    }
    if let Some(export) = export {
        // An instance that exports nothing; an export of it.
        bytes.extend(section(5, &[1, 1, 0]));
        bytes.extend(section(11, &[&[1][..], &name(export), &[5, 0, 0]].concat()));
    }
    bytes
}

#[test]
fn what_is_no_component() {
    assert_eq!(of_bytes(b""), "compile: is not a WebAssembly component");
    assert_eq!(of_bytes(b"#!/bin/sh\n"), "compile: is not a WebAssembly component");
    let core = "compile: is a core module, not a component; build it for wasm32-wasip2, or wrap it \
                with `wasm-tools component new`";
    assert_eq!(of_bytes(&[MAGIC, &[1, 0, 0, 0]].concat()), core);
    let future = "compile: is WebAssembly of a version that this host does not know";
    assert_eq!(of_bytes(&[MAGIC, &[14, 0, 1, 0]].concat()), future);
    let damaged = of_bytes(&[&component(None, None)[..], &[11, 200, 1]].concat());
    assert!(damaged.starts_with("compile: "), "{damaged}");
}

#[test]
fn what_is_no_policy() {
    assert_eq!(
        of_bytes(&component(None, None)),
        "link: exports no karuta:policy/lifecycle; is it a plugin for another host?"
    );
}

#[test]
fn imports_that_the_host_lacks() {
    for (import, reason) in [
        ("karuta:policy/teleport@0.1.0", "imports karuta:policy/teleport, which this host lacks"),
        (
            "karuta:policy/request@0.2.0",
            "imports request of karuta:policy 0.2.0; this host offers 0.1.0",
        ),
        (
            "wasi:http/outgoing-handler@0.2.0",
            "imports wasi:http/outgoing-handler@0.2.0, which is not offered; outbound HTTP is \
             karuta:policy/http's `fetch`",
        ),
        (
            "wasi:clocks/wall-clock@0.3.0",
            "imports wasi:clocks/wall-clock@0.3.0; this host offers WASI 0.2",
        ),
        ("acme:billing/ledger", "imports acme:billing/ledger, which this host lacks"),
    ] {
        assert_eq!(of_bytes(&component(Some(import), None)), format!("link: {reason}"));
    }
}

#[test]
fn hooks_that_the_host_does_not_call() {
    assert_eq!(
        of_bytes(&component(None, Some("karuta:policy/oracle@0.1.0"))),
        "link: exports karuta:policy/oracle, which this host does not call"
    );
}

#[test]
fn another_version_of_the_contract() {
    assert_eq!(
        of_bytes(&component(None, Some("karuta:policy/lifecycle@0.2.0"))),
        "link: exports lifecycle of karuta:policy 0.2.0; this host offers 0.1.0"
    );
}

#[test]
fn another_file_than_the_one_pinned() {
    let folder = folder("");
    std::fs::write(folder.path().join("p.wasm"), "").unwrap();
    let pin = "0".repeat(64);
    let said = refusal(
        folder.path(),
        &format!("policies:\n  - name: pinned\n    plugin: p.wasm\n    sha256: {pin}\n"),
    );
    // The digest of nothing.
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
fn a_policy_that_refuses_its_config() {
    let said = of_config("{ on: init, do: refuse, text: 'I do not like it' }");
    assert_eq!(said, "6:13: policies[0].config: I do not like it");
    let said = of_config("{ on: init, do: refuse, text: 'rules[0].do: something else, please' }");
    assert_eq!(said, "6:39: policies[0].config.rules[0].do: something else, please");
    let said = of_config("{ on: init, do: refuse, text: \"two\\nlines \\e[31m\" }");
    assert_eq!(said, "6:13: policies[0].config: two\\nlines \\u{1b}[31m");
}

#[test]
fn a_policy_that_fails_at_its_start() {
    for (act, cause) in [
        ("trap", "trap"),
        ("loop", "deadline"),
        ("eat-memory", "memory"),
        ("recurse", "stack"),
        ("exit", "host"),
        ("sleep", "host"),
    ] {
        let said = of_config(&format!("{{ on: init, do: {act} }}"));
        assert!(said.starts_with(&format!("6:13: policies[0].config: {cause}: ")), "{act}: {said}");
    }
}

/// The shipped policies name the key that they do not like.
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
            "22: policies[0].config.deny[0]: must be 40 hexadecimal digits, has 'x'",
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
