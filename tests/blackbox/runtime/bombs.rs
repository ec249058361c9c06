//! Components that would exhaust the compiler, the memory or the address space of the tracker. They
//! are refused while announces are answered, and leave nothing behind.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::thread;

use karuta_tests::announce::Announce;
use karuta_tests::{Daemon, LISTENERS, eventually, folder, karuta, plugins, run};

use crate::components::{leb, with_module};

/// The limits of a compiler: seconds of CPU time, and KiB of memory.
const TIME: u64 = 10;
const MEMORY: u64 = 512 * 1024;
/// How many KiB more memory the daemon may have after a bomb is refused.
const GROWTH: u64 = 64 * 1024;

/// Returns a policy that does nothing.
fn policy() -> Vec<u8> {
    fs::read(plugins().join("test-nop.wasm")).expect("`make test-plugins` builds it")
}

/// Returns the same policy, with that many instances of another module.
fn with(module: &[u8], instances: usize) -> Vec<u8> {
    with_module(policy(), module, instances)
}

fn vector(items: &[Vec<u8>]) -> Vec<u8> {
    [leb(items.len()), items.concat()].concat()
}

fn section(id: u8, content: Vec<u8>) -> Vec<u8> {
    [vec![id], leb(content.len()), content].concat()
}

fn module(sections: &[Vec<u8>]) -> Vec<u8> {
    [b"\0asm\x01\0\0\0".to_vec(), sections.concat()].concat()
}

/// Returns a module of functions without parameters and results.
fn functions(bodies: &[Vec<u8>]) -> Vec<u8> {
    let sized = |body: &Vec<u8>| [leb(body.len()), body.clone()].concat();
    module(&[
        section(1, vector(&[vec![0x60, 0, 0]])),
        section(3, vector(&vec![vec![0]; bodies.len()])),
        section(10, vector(&bodies.iter().map(sized).collect::<Vec<_>>())),
    ])
}

/// Returns a function of nested loops, each with a local of its own.
fn nested_loops(depth: usize) -> Vec<u8> {
    let begin = |at: usize| {
        let local = leb(at);
        [&[0x03, 0x40, 0x20][..], &local, &[0x41, 1, 0x6a, 0x21], &local].concat()
    };
    let end = |at: usize| [&[0x20][..], &leb(at), &[0x0d, 0, 0x0b]].concat();
    let loops = (0..depth).map(begin).chain((0..depth).rev().map(end));
    [vec![1], leb(depth), vec![0x7f], loops.collect::<Vec<_>>().concat(), vec![0x0b]].concat()
}

/// Returns a function that pushes many ones, and then adds them all.
fn deep_expression(depth: usize) -> Vec<u8> {
    let sum = [[0x41, 1].repeat(depth), vec![0x6a; depth - 1], vec![0x1a, 0x0b]].concat();
    [vec![0], sum].concat()
}

/// Returns a function with many blocks and many locals.
fn locals(blocks: usize) -> Vec<u8> {
    let block = [0x03, 0x40, 0x20, 0, 0x0d, 0, 0x0b];
    [vec![1], leb(50_000), vec![0x7f], block.repeat(blocks), vec![0x0b]].concat()
}

/// Returns the bombs: a name, the component, and the expected error.
fn bombs() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let globals = module(&[section(6, vector(&vec![vec![0x7f, 1, 0x41, 0, 0x0b]; 100_000]))]);
    let memories = module(&[section(5, vector(&vec![vec![0, 0]; 99]))]);
    // Data at the first and the last byte of 64 MiB: the compiler would make one image of it all.
    let sparse = module(&[
        section(5, vector(&[[vec![0], leb(1024)].concat()])),
        section(
            11,
            vector(&[b"\0\x41\0\x0b\x01x".to_vec(), b"\0\x41\xff\xff\xff\x1f\x0b\x01y".to_vec()]),
        ),
    ]);
    let data = [b"\0\x41\0\x0b".to_vec(), leb(150 << 20), vec![7; 150 << 20]].concat();
    let data = module(&[
        section(5, vector(&[[vec![0], leb(4096)].concat()])),
        section(11, vector(&[data])),
    ]);
    let spin = [vec![0], vec![0x03, 0x40, 0x0c, 0, 0x0b, 0x0b]].concat();
    let start = module(&[
        section(1, vector(&[vec![0x60, 0, 0]])),
        section(3, vector(&[vec![0]])),
        section(8, vec![0]),
        section(10, vector(&[[leb(spin.len()), spin].concat()])),
    ]);
    let imports: Vec<Vec<u8>> = (0..300_000)
        .map(|at| {
            let name = format!("f{at}");
            [vec![0], leb(name.len()), name.into_bytes(), vec![1, 0]].concat()
        })
        .collect();
    let function = vec![0x40, 0, 1, 0];
    let component =
        |sections: &[Vec<u8>]| [b"\0asm\x0d\0\x01\0".to_vec(), sections.concat()].concat();
    // Each type is a pair of the one before.
    let pairs = |depth: usize| {
        let pair = |at: usize| [vec![0x6f, 2], leb(at), leb(at)].concat();
        let first = vec![0x6f, 2, 0x7d, 0x7d];
        component(&[section(7, vector(&[vec![first], (0..depth).map(pair).collect()].concat()))])
    };
    let doubled = (0..30)
        .fold(component(&[section(1, module(&[])), vec![2, 4, 1, 0, 0, 0]]), |inner, _| {
            component(&[section(4, inner), vec![5, 7, 2, 0, 0, 0, 0, 0, 0]])
        });
    let nested = (0..5000).fold(component(&[]), |inner, _| component(&[section(4, inner)]));
    vec![
        ("nested loops", with(&functions(&[nested_loops(10_000)]), 1), "to compile, too much"),
        (
            "more nested loops",
            with(&functions(&vec![nested_loops(1000); 120]), 1),
            "to compile, too much",
        ),
        (
            "empty functions",
            with(&functions(&vec![vec![0, 0x0b]; 900_000]), 1),
            "too many functions",
        ),
        (
            "a deep expression",
            with(&functions(&[deep_expression(400_000)]), 1),
            "to compile, too much",
        ),
        ("many locals", with(&functions(&[locals(80_000)]), 1), "to compile, too much"),
        ("globals", with(&globals, 600), "too many core instances"),
        ("fewer globals", with(&globals, 60), "KiB of globals and references to functions"),
        ("memories", with(&memories, 81), "too many memories"),
        ("sparse data", with(&sparse, 1), "KiB of linear memory"),
        ("huge data", with(&data, 1), "MiB of memory to compile"),
        ("a start that does not end", with(&start, 100), "deadline"),
        (
            "imports",
            component(&[section(7, vector(&[function])), section(10, vector(&imports))]),
            "MiB of memory to compile",
        ),
        ("deep types", pairs(40), "is damaged or invalid"),
        ("types", pairs(16), "exports no karuta:policy/lifecycle"),
        ("components that double", doubled, "too many levels of components"),
        ("components in components", nested, "too many levels of components"),
    ]
}

const YAML: &str = "
policies:
  - { name: strange, plugin: p.wasm, limits: { init: 300ms } }
";

/// Starts a daemon whose policy is a file in its folder, at first a good one.
fn daemon() -> Daemon {
    let folder = folder(&format!("{LISTENERS}{YAML}"));
    fs::write(folder.path().join("p.wasm"), policy()).unwrap();
    Daemon::start_in(folder)
}

/// Returns a figure of the kernel about a process, in KiB, or `None` if the process is gone.
fn kib(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok()
}

/// Returns the CPU time of a process, in seconds.
fn seconds(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After its name in parentheses. A clock tick is 10 ms.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100)
}

/// Returns the children of a process.
fn children(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let list = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).ok();
    let lists: Vec<String> = tasks.flatten().filter_map(list).collect();
    lists.iter().flat_map(|list| list.split_whitespace()).map(|pid| pid.parse().unwrap()).collect()
}

/// Returns the error of a `karuta reload`, which must fail.
fn refusal(daemon: &Daemon) -> String {
    let admin = daemon.admin.to_string();
    let output = run(&["reload", "--admin", &admin], daemon.folder.path());
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn bombs_are_refused_while_announces_are_answered() {
    let daemon = daemon();
    let before = kib(daemon.pid(), "VmRSS:").unwrap();
    for (what, bomb, expected) in bombs() {
        fs::write(daemon.folder.path().join("p.wasm"), &bomb).unwrap();
        let said = thread::scope(|scope| {
            let reload = scope.spawn(|| refusal(&daemon));
            while !reload.is_finished() {
                assert!(Announce::of('a').http(daemon.http).is_ok(), "{what}");
                for child in children(daemon.pid()) {
                    let memory = kib(child, "VmHWM:").unwrap_or(0);
                    assert!(memory <= MEMORY, "{what}: {memory} KiB");
                    let time = seconds(child).unwrap_or(0);
                    assert!(time <= TIME, "{what}: {time} s");
                }
            }
            reload.join().unwrap()
        });
        assert!(said.contains(expected), "{what}: {said}");
        assert!(said.len() < 2048, "{what}: {said}");
        assert_eq!(children(daemon.pid()), [0_u32; 0], "{what}");
        let after = kib(daemon.pid(), "VmRSS:").unwrap();
        assert!(after < before + GROWTH, "{what}: from {before} to {after} KiB");
        // An error that needs no compiler is the same in `karuta plugin check`.
        if expected.contains("too many") {
            let mut check = karuta(&["plugin", "check", "p.wasm"], daemon.folder.path());
            let output = check.env("STATE_DIRECTORY", daemon.folder.path()).output().unwrap();
            let author = String::from_utf8(output.stderr).unwrap();
            assert!(author.contains(expected), "{what}: {author}");
        }
    }
    assert_eq!(daemon.metric("karuta_generation"), 1.0);
}

/// Waits for a child that compiles, and stops it.
fn stopped_compiler(daemon: &Daemon) -> u32 {
    let mut child = 0;
    eventually("a child compiles", || {
        child = children(daemon.pid()).first().copied().unwrap_or(0);
        // It is confined from now on.
        limit(child, "Max address space").is_some_and(|limit| limit != "unlimited")
    });
    signal("STOP", child);
    child
}

/// Returns a soft limit of a process.
fn limit(pid: u32, name: &str) -> Option<String> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    let limit = limits.lines().find_map(|line| line.strip_prefix(name))?;
    limit.split_whitespace().next().map(str::to_owned)
}

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()));
}

#[test]
fn explain_answers_while_a_reload_compiles() {
    let daemon = daemon();
    let bomb = with(&functions(&vec![nested_loops(1000); 120]), 1);
    fs::write(daemon.folder.path().join("p.wasm"), bomb).unwrap();
    thread::scope(|scope| {
        let reload = scope.spawn(|| refusal(&daemon));
        let child = stopped_compiler(&daemon);
        let admin = daemon.admin.to_string();
        let query = Announce::of('a').query();
        let url = format!("http://{}/announce?{query}", daemon.http);
        let output = run(&["explain", &url, "--admin", &admin], daemon.folder.path());
        assert_eq!(output.status.code(), Some(0));
        assert!(!reload.is_finished());
        signal("KILL", child);
        let said = reload.join().unwrap();
        assert!(said.contains("crashes the compiler: signal: 9"), "{said}");
    });
}

/// The compiler shares nothing with the daemon except the program.
#[test]
fn the_compiler_yields_to_the_workers_and_ends_with_the_daemon() {
    let mut daemon = daemon();
    let bomb = with(&functions(&vec![nested_loops(1000); 120]), 1);
    fs::write(daemon.folder.path().join("p.wasm"), bomb).unwrap();
    daemon.signal("HUP");
    let child = stopped_compiler(&daemon);
    let read = |name: &str| fs::read_to_string(format!("/proc/{child}/{name}")).unwrap();
    assert_eq!(read("environ"), "");
    assert_eq!(read("oom_score_adj").trim(), "1000");
    let stat = read("stat");
    let nice = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(16);
    assert_eq!(nice, Some("10"), "behind the workers");
    for name in ["Max cpu time", "Max data size"] {
        assert_ne!(limit(child, name).unwrap(), "unlimited", "{name}");
    }
    let files = fs::read_dir(format!("/proc/{child}/fd")).unwrap();
    let files: Vec<_> = files.map(|file| fs::read_link(file.unwrap().path()).unwrap()).collect();
    let sockets = files.iter().filter(|file| file.to_string_lossy().starts_with("socket:"));
    assert_eq!(sockets.count(), 1, "its input: {files:?}");
    daemon.signal("KILL");
    daemon.wait();
    eventually("the compiler has ended", || kib(child, "VmRSS:").is_none());
}

/// A component that takes little memory is stopped by the time limit.
#[test]
fn the_compiler_ends_when_its_time_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let bomb = with(&functions(&vec![nested_loops(1000); 120]), 1);
    let file = folder.path().join("bomb.wasm");
    fs::write(&file, bomb).unwrap();
    let mut compiler = karuta(&["compile", "--memory=8000000000", "--seconds=1"], folder.path());
    let output = compiler.stdin(fs::File::open(file).unwrap()).output().unwrap();
    let sigxcpu = 24;
    assert_eq!(output.status.signal(), Some(sigxcpu), "{:?}", output.status);
    assert!(output.stdout.is_empty());
}

/// A limit on file sizes acts like a full disk: what does not fit is not kept.
#[test]
fn a_limit_on_file_sizes_stops_nothing() {
    let daemon = daemon();
    let kept = || fs::read_dir(daemon.folder.path().join("state/components")).unwrap().count();
    assert_eq!(kept(), 1);
    let pid = daemon.pid().to_string();
    let limited = Command::new("prlimit").args(["--pid", &pid, "--fsize=65536"]).status();
    assert!(limited.is_ok_and(|status| status.success()));
    fs::write(daemon.folder.path().join("p.wasm"), with(&functions(&[vec![0, 0x0b]]), 1)).unwrap();
    let admin = daemon.admin.to_string();
    let output = run(&["reload", "--admin", &admin], daemon.folder.path());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    eventually("it is said", || daemon.log().contains("cannot keep compiled component"));
    assert_eq!(kept(), 1);
    assert!(Announce::of('a').http(daemon.http).is_ok());
}

/// What the engine keeps for an instance counts as well.
#[test]
fn the_memory_metric_includes_all_that_an_instance_takes() {
    let memory = |daemon: &Daemon| daemon.metric("karuta_policy_memory_bytes{policy=\"strange\"}");
    let daemon = daemon();
    let before = memory(&daemon);
    let globals = module(&[section(6, vector(&vec![vec![0x7f, 1, 0x41, 0, 0x0b]; 10_000]))]);
    fs::write(daemon.folder.path().join("p.wasm"), with(&globals, 20)).unwrap();
    let admin = daemon.admin.to_string();
    let output = run(&["reload", "--admin", &admin], daemon.folder.path());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    // 200 000 globals of 16 bytes, for at least one worker.
    eventually("it is counted", || {
        Announce::of('a').http(daemon.http).is_ok() && memory(&daemon) >= before + 3_200_000.0
    });
}
