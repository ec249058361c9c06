//! `karuta plugin check` says what is wrong with a component, and how to fix it. `karuta check`
//! says the same.

use std::fs;
use std::path::Path;

use karuta_tests::{karuta, write_config};
use wit_component::{ComponentEncoder, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::{ManglingAndAbi, Resolve};

use crate::components::with_module;

const CONTRACT: &str = include_str!("../../../wit/policy.wit");

/// Returns a component of the world `wrong`, whose WIT follows the contract; `change` rewrites
/// both.
fn built(world: &str, change: impl Fn(String) -> String) -> Vec<u8> {
    let wit = change(format!("{CONTRACT}\n{world}"));
    let mut resolve = Resolve::default();
    let package = resolve.push_source("policy.wit", &wit).expect("WIT");
    let world = resolve.select_world(&[package], Some("wrong")).expect("a world");
    let abi = ManglingAndAbi::Legacy(wit_parser::LiftLowerAbi::Sync);
    let mut module = dummy_module(&resolve, world, abi);
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("embeds");
    let encoder = ComponentEncoder::default();
    encoder.module(&module).expect("a module").encode().expect("a component")
}

fn of(world: &str) -> Vec<u8> {
    built(world, |wit| wit)
}

/// Returns a component of the world of announce policies, in a contract that is changed.
fn tampered(from: &str, to: &str) -> Vec<u8> {
    assert!(CONTRACT.contains(from), "{from}");
    built("world wrong { include announce-policy; }", |wit| wit.replace(from, to))
}

fn wat(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("WAT")
}

/// Returns the error of `karuta plugin check` for these bytes.
#[track_caller]
fn said(folder: &Path, bytes: &[u8], arguments: &[&str]) -> String {
    fs::write(folder.join("p.wasm"), bytes).unwrap();
    let arguments = [&["plugin", "check", "p.wasm"], arguments].concat();
    let mut check = karuta(&arguments, folder);
    let output = check.env("STATE_DIRECTORY", folder.join("state")).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let said = text.trim_end().strip_prefix("karuta: p.wasm: ").expect(&text);
    assert!(!said.contains('\n'), "{said}");
    said.to_owned()
}

/// Returns the error of `karuta check` for the same component.
fn said_by_the_tracker(folder: &Path) -> String {
    let listen = "http: [{ listen: '127.0.0.1:0' }]\nadmin: { listen: '127.0.0.1:0' }\n";
    let yaml = format!("{listen}policies:\n  - name: broken\n    plugin: p.wasm\n");
    write_config(folder, &yaml);
    let output = karuta(&["check"], folder).output().unwrap();
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn every_error_says_how_to_fix_the_component() {
    let policy = of("world wrong { include announce-policy; }");
    let again = "build or copy it again";
    let build = "build it with `karuta plugin build`, or for wasm32-wasip2";
    let rebuild = "build it against the contract that `karuta plugin wit` prints";
    let world = "build it for a world of karuta:policy, such as announce-policy";
    let cases: Vec<(&str, Vec<u8>, String)> = vec![
        ("empty", vec![], format!("is not a WebAssembly component: it is empty; {again}")),
        ("text", b"(component)".to_vec(), format!("is text, not a WebAssembly component; {build}")),
        (
            "native",
            b"\x7fELF\x02\x01\x01\0\0\0".to_vec(),
            format!("is native code, not a WebAssembly component; {build}"),
        ),
        (
            "packed",
            b"\x1f\x8b\x08\0\0".to_vec(),
            "is compressed, not a WebAssembly component; decompress it".into(),
        ),
        ("noise", b"\x01\x02\x03\0\xff\xfe".to_vec(), format!("is not a WebAssembly component; {build}")),
        (
            "core module",
            wat("(module (import \"env\" \"log\" (func)))"),
            "is a core module, not a component; build it for wasm32-wasip2, or wrap it with \
             `wasm-tools component new` (one for wasip1 with `--adapt`)"
                .into(),
        ),
        (
            "older format",
            b"\0asm\x0a\0\x01\0".to_vec(),
            "is a component in an outdated format; build it with current tools".into(),
        ),
        (
            "newer format",
            b"\0asm\x0e\0\x01\0".to_vec(),
            "is WebAssembly of a version that this host does not support; build it with older tools, \
             or use a newer host"
                .into(),
        ),
        ("cut in the head", policy[..6].to_vec(), format!("is cut off; {again}")),
        ("cut", policy[..policy.len() / 2].to_vec(), format!("is cut off or damaged: …; {again}")),
        (
            "damaged",
            [&policy[..200], &[0xff; 8], &policy[208..]].concat(),
            format!("is damaged or invalid: …; {again}"),
        ),
        (
            "nothing in it",
            wat("(component)"),
            format!("exports no karuta:policy/lifecycle, nor anything else; {world}"),
        ),
        (
            "a program",
            of("world wrong { export wasi:cli/run@0.2.0; } package wasi:cli@0.2.0 { interface run { run: func() -> result; } }"),
            format!("exports no karuta:policy/lifecycle: it is a program with `main`; make it a library (Rust: a cdylib, C: `-mexec-model=reactor`), and {world}"),
        ),
        (
            "a web service",
            of("world wrong { export wasi:http/incoming-handler@0.2.0; } package wasi:http@0.2.0 { interface incoming-handler { handle: func(); } }"),
            format!("exports no karuta:policy/lifecycle but wasi:http/incoming-handler@0.2.0: it is a plugin for another host; {world}"),
        ),
        (
            "a function by itself",
            of("world wrong { export on-announce: func(port: u16) -> bool; }"),
            format!("exports no karuta:policy/lifecycle but on-announce; is it a plugin for another host?; {world}"),
        ),
        (
            "no lifecycle",
            of("world wrong { export announce-filter; }"),
            "exports no karuta:policy/lifecycle; export it with the hooks; every world of karuta:policy has it".into(),
        ),
        (
            "newer contract, imports",
            tampered("karuta:policy@0.1.0", "karuta:policy@0.2.0"),
            format!("imports types of karuta:policy 0.2.0; this host offers 0.1.0; use a host that offers 0.2.0, or {rebuild}"),
        ),
        (
            "newer contract, exports",
            built("world wrong { export lifecycle; export ticker; }", |wit| wit.replace("karuta:policy@0.1.0", "karuta:policy@1.0.0")),
            format!("exports lifecycle of karuta:policy 1.0.0; this host offers 0.1.0; use a host that offers 1.0.0, or {rebuild}"),
        ),
        (
            "an interface that is not offered",
            of("interface teleport { go: func(); } world wrong { include announce-policy; import teleport; }"),
            "imports karuta:policy/teleport, which this host does not offer; use a newer host, or remove the import; `karuta plugin wit` prints what this one offers".into(),
        ),
        (
            "a function that is not offered",
            built("world wrong { include announce-policy; }", |wit| {
                wit.replace("peer-id: func()", "tls-version: func() -> string;\n  peer-id: func()").replace("karuta:policy@0.1.0", "karuta:policy@0.1.5")
            }),
            format!("imports request.tls-version, which this host does not offer (it was built against 0.1.5, this host offers 0.1.0); {rebuild}"),
        ),
        (
            "an import of another type",
            tampered("set-interval: func(seconds: u32)", "set-interval: func(seconds: u64)"),
            format!("imports response.set-interval with the parameter `seconds` as u64, where the contract has u32; {rebuild}"),
        ),
        (
            "an import with other parameters",
            tampered("fail: func(reason: string)", "fail: func()"),
            format!("imports response.fail with 0 parameters, where the contract has 1; {rebuild}"),
        ),
        (
            "an export of another parameter",
            tampered("on-announce: func(announce: announce)", "on-announce: func(announce: string)"),
            format!("exports announce-filter.on-announce with the parameter `announce` as string, where the contract has `announce`; {rebuild}"),
        ),
        (
            "an export of another result",
            tampered("on-announce: func(announce: announce) -> verdict", "on-announce: func(announce: announce) -> bool"),
            format!("exports announce-filter.on-announce with a result as bool, where the contract has `verdict`; {rebuild}"),
        ),
        (
            "an export that lacks a function",
            tampered("on-announce: func(", "on-announcement: func("),
            format!("exports announce-filter without its function on-announce; {rebuild}"),
        ),
        (
            "a hook that is not called",
            of("interface oracle { ask: func(); } world wrong { include announce-policy; export oracle; }"),
            "exports karuta:policy/oracle, which this host does not call; export only hooks of this host's contract (`karuta plugin wit`), or use a newer host".into(),
        ),
        (
            "C# style imports: the runtime's HTTP",
            of("world wrong { include announce-policy; import wasi:http/outgoing-handler@0.2.4; } package wasi:http@0.2.4 { interface outgoing-handler { handle: func(); } }"),
            "imports wasi:http/outgoing-handler@0.2.4, which is not offered; use karuta:policy/http's `fetch`, on the control instance; if the language's runtime imports it by itself, disable that (componentize-js: `--disable http --disable fetch-event`)".into(),
        ),
        (
            "WASI 0.3",
            of("world wrong { include announce-policy; import wasi:clocks/system-clock@0.3.0; } package wasi:clocks@0.3.0 { interface system-clock { now: func() -> u64; } }"),
            "imports wasi:clocks/system-clock@0.3.0; this host offers WASI 0.2; build it with tools for WASI 0.2 (Rust: the target wasm32-wasip2)".into(),
        ),
        (
            "a draft of WASI 0.2",
            of("world wrong { include announce-policy; import wasi:clocks/wall-clock@0.2.0-rc-2023-11-10; } package wasi:clocks@0.2.0-rc-2023-11-10 { interface wall-clock { now: func() -> u64; } }"),
            "imports wasi:clocks/wall-clock@0.2.0-rc-2023-11-10, from a draft of WASI 0.2; build it with current tools".into(),
        ),
        (
            "another type of WASI's",
            of("world wrong { include announce-policy; import wasi:random/random@0.2.0; } package wasi:random@0.2.0 { interface random { get-random-u64: func() -> string; } }"),
            "imports something that this host does not offer: …; build it with tools for WASI 0.2".into(),
        ),
        (
            "a foreign interface",
            of("world wrong { include announce-policy; import acme:billing/ledger; } package acme:billing { interface ledger { pay: func(); } }"),
            "imports acme:billing/ledger, which this host does not offer; remove the import, or link its implementation into the component (`wac plug`)".into(),
        ),
        (
            "a function of its own",
            of("world wrong { include announce-policy; import host-log: func(text: string); }"),
            "imports the function host-log, which this host does not offer; import interfaces of karuta:policy and WASI 0.2 only".into(),
        ),
        (
            "a core module",
            wat("(component (import \"engine\" (core module)))"),
            "imports the core module engine, which this host does not offer; link the module into the component; the host only offers interfaces".into(),
        ),
        (
            "an async world",
            tampered("on-announce: func(", "on-announce: async func("),
            "uses async, which this host does not support: …; build it for a world without async functions, like those of the contract (componentize-qjs: `--sync`)".into(),
        ),
        (
            "memory of 64 bits",
            wat("(component (core module (memory i64 1)))"),
            "has a 64-bit memory; build it for wasm32".into(),
        ),
        (
            "threads",
            wat("(component (core module (memory 1 1 shared)))"),
            "shares memory between threads; build it without threads".into(),
        ),
        (
            "more memory than allowed",
            with_core("(memory 1000)"),
            "needs more than the 33554432 bytes that `limits.memory` allows: … globals and references to functions".into(),
        ),
        (
            "a trap at the start",
            with_core("(func $f unreachable) (start $f)"),
            "trap: …".into(),
        ),
        (
            "a missing grant",
            of("world wrong { include observing-policy; }"),
            "calls http.fetch, which the configuration must allow; list the URLs in `allow: { http: [\"https://…\"] }`, and pass `--allow http` here".into(),
        ),
    ];
    assert!(cases.len() >= 20);
    let folder = tempfile::tempdir().unwrap();
    let mut others = Vec::new();
    for (what, bytes, expected) in &cases {
        let said = said(folder.path(), bytes, &[]);
        // The text in place of `…` is from wasmtime and its tools.
        let fits = match expected.split_once(": …") {
            Some((start, end)) => said.starts_with(start) && said.ends_with(end),
            None => said == *expected,
        };
        if !fits {
            others.push(format!("{what}: {said}\n  expected {expected}"));
        }
        // The tracker does not require grants, and refuses the call instead. For a trap it shows
        // the whole backtrace.
        let tracker = said_by_the_tracker(folder.path());
        let alike = !["a missing grant", "a trap at the start"].contains(what);
        if alike && !tracker.contains(&said) {
            others.push(format!("{what}: the tracker says {tracker}"));
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
}

/// Returns a good policy with another core module, which is instantiated last.
fn with_core(content: &str) -> Vec<u8> {
    let policy = of("world wrong { include announce-policy; }");
    with_module(policy, &wat(&format!("(module {content})")), 1)
}

#[test]
fn a_component_above_256_mib_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = fs::File::create(folder.path().join("p.wasm")).unwrap();
    // A sparse file takes no space on the disk.
    file.set_len((256 << 20) + 1).unwrap();
    let output = karuta(&["plugin", "check", "p.wasm"], folder.path())
        .env("STATE_DIRECTORY", folder.path().join("state"))
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "karuta: p.wasm: is too big: more than 256 MiB; leave out its debug information \
         (`wasm-tools strip --all`)\n"
    );
}

#[test]
fn a_component_is_accepted_with_the_grants_that_it_needs() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("p.wasm"), of("world wrong { include observing-policy; }"))
        .unwrap();
    let output = karuta(&["plugin", "check", "p.wasm", "--allow", "http"], folder.path())
        .env("STATE_DIRECTORY", folder.path().join("state"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.starts_with("p.wasm: fine\n"), "{text}");
    assert!(text.contains("\n  needs      allow.http (it calls http.fetch)\n"), "{text}");
}
