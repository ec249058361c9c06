//! The samples in every language with live announces, new projects, and the code in the
//! documentation.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use karuta_tests::announce::{Announce, escape, torrent};
use karuta_tests::server::Server;
use karuta_tests::udp::Client;
use karuta_tests::{Daemon, eventually, get, karuta, plugins, root, run};
use serde_json::Value;

/// Returns whether a sample was built. It is not if the toolchain of its language is missing; then
/// its tests are skipped, except in CI.
pub fn is_built(name: &str) -> bool {
    let component = plugins().join(format!("{name}.wasm"));
    let is_built = component.exists();
    if !is_built {
        assert!(std::env::var_os("CI").is_none(), "{} is missing", component.display());
        eprintln!("skipped: {name} is not built, as its toolchain is missing");
    }
    is_built
}

/// Returns the time of day in UTC, that many minutes from now.
pub fn clock(minutes: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs() / 60;
    let minute = (now + minutes) % (24 * 60);
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

/// Runs the cases of a sample.
fn passes(name: &str, cases: &str) {
    let component = plugins().join(format!("{name}.wasm"));
    let cases = root().join("plugins/samples").join(cases);
    let paths = [&component, &cases].map(|path| path.to_str().expect("a path of text"));
    let tested = run(&["plugin", "test", paths[0], paths[1]], &root());
    let said = [tested.stdout, tested.stderr].concat();
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&said));
}

fn quiet_hours(language: &str, limits: &str) {
    let name = format!("quiet-hours-{language}");
    if !is_built(&name) {
        return;
    }
    passes(&name, "cases.yaml");
    let hex = |letter| torrent(letter).map(|byte| format!("{byte:02x}")).concat();
    let (from, to) = (clock(23 * 60), clock(60));
    // An interpreter may have to be compiled first.
    let begun = Instant::now();
    let folder = karuta_tests::folder(&format!(
        "
{}
tracker: {{ workers: 1 }}
policies:
  - name: quiet
    plugin: PLUGINS/{name}.wasm
    limits: {limits}
    config: {{ from: '{from}', to: '{to}', torrents: ['{}'], torrents_from: listed }}
    data: {{ listed: {{ file: listed.txt, format: info-hashes }} }}
",
        karuta_tests::LISTENERS,
        hex('a')
    ));
    std::fs::write(folder.path().join("listed.txt"), hex('b')).expect("the list is written");
    let daemon = Daemon::start_in(folder);
    let udp = Client::connect(daemon.udp);
    let refused = format!("quiet hours until {to} UTC");
    let remembered = "karuta_policy_calls_total{policy=\"quiet\",hook=\"announce\",verdict=\"reject\",remembered=\"true\"}";
    for letter in ['a', 'b'] {
        let started = Announce::of(letter).event("started");
        let asked = || {
            let answer = started.dictionary(daemon.http);
            assert_eq!(answer.text("failure reason"), Some(refused.clone()), "{answer:?}");
            let minutes = answer.integer("retry in");
            let passed = i64::try_from(begun.elapsed().as_secs() / 60).unwrap();
            assert!((59 - passed..=61).contains(&minutes), "{minutes}");
        };
        asked();
        // In the last seconds of a minute the answer is about to change, and is not remembered.
        let before = daemon.metric(remembered);
        eventually("the verdict is remembered", || {
            asked();
            daemon.metric(remembered) > before
        });
        assert_eq!(started.udp(&udp), Err(refused.clone()));
        for event in ["", "completed", "stopped"] {
            Announce::of(letter).event(event).http(daemon.http).expect("only starts are refused");
        }
    }
    let other = Announce::of('c').event("started");
    assert_eq!(other.http(daemon.http).map(|reply| reply.leechers), Ok(1));
    assert_eq!(other.port(6882).udp(&udp).map(|reply| reply.leechers), Ok(2));
    let errors = daemon.admin_page("/metrics");
    let errors = errors.lines().filter(|line| line.starts_with("karuta_policy_errors_total"));
    assert_eq!(errors.filter(|line| !line.ends_with(" 0")).count(), 0);
    // The sample does not decide about scrapes.
    let path = format!("/scrape?info_hash={}", escape(&torrent('c')));
    assert_eq!(get(daemon.http, &path, &[]).status, 200);
}

const SCRIPT: &str = "{ memory: 64MiB }";

#[test]
fn quiet_hours_refuse_starts_in_rust() {
    quiet_hours("rust", "{}");
}

#[test]
fn quiet_hours_refuse_starts_in_go() {
    quiet_hours("go", "{}");
}

#[test]
fn quiet_hours_refuse_starts_in_c() {
    quiet_hours("c", "{}");
}

#[test]
fn quiet_hours_refuse_starts_in_python() {
    quiet_hours("python", SCRIPT);
}

#[test]
fn quiet_hours_refuse_starts_in_javascript() {
    quiet_hours("javascript", "{}");
}

#[test]
fn a_digest_in_python_is_posted_to_a_webhook() {
    if !is_built("digest-python") {
        return;
    }
    passes("digest-python", "digest-python/cases.yaml");
    let server = Server::with("ok");
    let url = server.url("/hook");
    let daemon = Daemon::start(&format!(
        "
tracker: {{ workers: 1 }}
policies:
  - name: clients
    plugin: PLUGINS/client-approval.wasm
    config: {{ deny: ['-XX'] }}
  - name: digest
    plugin: PLUGINS/digest-python.wasm
    limits: {SCRIPT}
    tick: 100ms
    allow: {{ http: ['{url}'] }}
    config: {{ url: '{url}', top: 1 }}
"
    ));
    let a = Announce::of('a');
    a.http(daemon.http).expect("it is let in");
    a.clone().port(6882).http(daemon.http).expect("it is let in");
    a.client("-XX1000-").http(daemon.http).expect_err("it is refused");
    Announce::of('b').http(daemon.http).expect("it is let in");
    let digests = || {
        let bodies = server.bodies();
        bodies
            .iter()
            .map(|body| serde_json::from_slice::<Value>(body).expect("JSON"))
            .collect::<Vec<_>>()
    };
    let sum = |pointer: &str| -> u64 {
        digests().iter().filter_map(|digest| digest.pointer(pointer)?.as_u64()).sum()
    };
    eventually("all announces are in a digest", || sum("/announces") == 4);
    assert_eq!((sum("/verdicts/next"), sum("/verdicts/reject")), (3, 1));
    assert_eq!(sum("/decided_by/clients"), 1);
    let first = &digests()[0];
    assert_eq!(
        first.pointer("/torrents/0/info_hash").and_then(Value::as_str),
        Some(&*"61".repeat(20))
    );
    assert!(first["text"].as_str().is_some_and(|text| text.starts_with("digest: ")), "{first}");
    let head = &server.requests()[0];
    assert!(head.starts_with("post /hook"), "{head}");
}

/// Creates a project outside of this repository with `plugin new`, builds it and runs its cases.
fn new_project(language: &str) {
    if !is_built(&format!("quiet-hours-{language}")) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let toolchains = plugins().with_file_name("toolchains");
    let mut path: Vec<PathBuf> =
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    path.splice(
        0..0,
        ["python/bin", "javascript/node_modules/.bin"].map(|bin| toolchains.join(bin)),
    );
    let path = std::env::join_paths(path).expect("a path");
    let plugin = |arguments: &[&str], folder: &Path| {
        let mut command = karuta(&[&["plugin"], arguments].concat(), folder);
        command.env("PATH", &path).env("STATE_DIRECTORY", folder.join(".state"));
        command.env("ZIG_GLOBAL_CACHE_DIR", toolchains.join("zig"));
        command.env("GOCACHE", toolchains.join("go/build"));
        let output = command.output().expect("karuta runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        said
    };
    plugin(&["new", "--lang", language, "door-man"], folder.path());
    let project = folder.path().join("door-man");
    plugin(&["build"], &project);
    let said = plugin(&["test"], &project);
    assert!(said.ends_with("door-man: all 3 cases passed\n"), "{said}");
    plugin(&["check", "door-man.wasm"], &project);
}

#[test]
fn a_new_project_in_go_passes_its_cases() {
    new_project("go");
}

#[test]
fn a_new_project_in_c_passes_its_cases() {
    new_project("c");
}

#[test]
fn a_new_project_in_python_passes_its_cases() {
    new_project("python");
}

#[test]
fn a_new_project_in_javascript_passes_its_cases() {
    new_project("javascript");
}

/// Returns the sources and cases of a language's new project and of its sample.
fn sources(language: &str) -> Vec<String> {
    let folders = [
        root().join("plugin-sdk").join(language).join("template"),
        root().join("plugins/samples").join(format!("quiet-hours-{language}")),
    ];
    let list =
        folders.iter().flat_map(|folder| [folder.clone(), folder.join("src"), folder.join("test")]);
    let files = list.filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    let files = files.map(|file| file.expect("an entry").path()).filter(|path| path.is_file());
    files.map(|path| std::fs::read_to_string(path).expect("a text")).collect()
}

/// Each block of code is part of a new project or a sample.
#[test]
fn the_tutorial_quotes_policies_that_are_built() {
    let tutorial =
        std::fs::read_to_string(root().join("docs/writing-plugins.md")).expect("it is there");
    let mut fences = tutorial.split("\n```");
    fences.next();
    let mut quoted = BTreeMap::<&str, u32>::new();
    while let (Some(block), Some(_)) = (fences.next(), fences.next()) {
        let (language, code) = block.split_once('\n').expect("a block");
        let language = language.split(',').next().unwrap_or_default();
        if !["rust", "go", "python", "javascript", "c"].contains(&language) {
            continue;
        }
        *quoted.entry(language).or_default() += 1;
        assert!(
            sources(language).iter().any(|source| source.contains(code)),
            "{language}:\n{code}"
        );
    }
    assert_eq!(quoted.len(), 5, "{quoted:?}");
    let cases = std::fs::read_to_string(root().join("plugin-sdk/c/template/cases.yaml"))
        .expect("it is there");
    let shown = cases.split("  - name: the lowest").next().unwrap_or_default();
    assert!(tutorial.contains(&format!("```yaml\n{shown}```")), "{shown}");
}

/// Its policies in these languages are not compiled.
#[test]
fn the_cookbook_is_well_formed_in_python_and_javascript() {
    let cookbook = std::fs::read_to_string(root().join("docs/cookbook.md")).expect("the cookbook");
    let programs = [
        ("python", "python3", &["-c", "import ast, sys; ast.parse(sys.stdin.read())"][..]),
        ("javascript", "node", &["--check", "--input-type=module", "-"][..]),
    ];
    for (language, program, arguments) in programs {
        let opening = format!("```{language}\n");
        let snippets: Vec<&str> = cookbook
            .split(&opening)
            .skip(1)
            .map(|rest| rest.split("```").next().unwrap_or_default())
            .collect();
        assert!(!snippets.is_empty(), "no {language}");
        for snippet in snippets {
            let child = Command::new(program).args(arguments).stdin(Stdio::piped()).spawn();
            let Ok(mut child) = child else {
                assert!(std::env::var_os("CI").is_none(), "{program} is missing");
                eprintln!("skipped: {program} is missing");
                continue;
            };
            let input = child.stdin.take().expect("it is piped");
            { input }.write_all(snippet.as_bytes()).expect("the snippet is read");
            assert!(child.wait().expect("it ends").success(), "{snippet}");
        }
    }
}
