//! The commands of `karuta plugin`, except `test` and the errors of `check`.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use karuta_tests::announce::Announce;
use karuta_tests::{Daemon, karuta, plugins, root};
use tempfile::TempDir;

/// Runs `karuta plugin` in a folder, with a state folder there.
pub fn plugin(arguments: &[&str], folder: &Path) -> Output {
    let arguments = [&["plugin"], arguments].concat();
    let mut command = karuta(&arguments, folder);
    command.env("STATE_DIRECTORY", folder.join(".state")).output().expect("karuta runs")
}

/// Returns the output of a command, which must succeed.
#[track_caller]
pub fn fine(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}{errors}");
    text
}

/// Returns the exit code of a command and its error.
pub fn wrong(output: &Output) -> (i32, String) {
    let text = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    (output.status.code().unwrap_or(-1), text)
}

/// Creates a folder with a component and a file of cases.
pub fn with_cases(component: &str, cases: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("{component}.wasm");
    fs::copy(plugins().join(&file), folder.path().join(&file)).expect(component);
    fs::write(folder.path().join("cases.yaml"), cases).unwrap();
    folder
}

#[test]
fn wit_prints_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let contract = fs::read_to_string(root().join("wit/policy.wit")).unwrap();
    assert_eq!(fine(&plugin(&["wit"], folder.path())), contract);
    let said = fine(&plugin(&["wit", "--output", "deep/wit"], folder.path()));
    assert_eq!(said, "deep/wit/policy.wit: karuta:policy 0.1.0\n");
    assert_eq!(fs::read_to_string(folder.path().join("deep/wit/policy.wit")).unwrap(), contract);
}

#[test]
fn inspect_and_check_show_a_component() {
    let folder = with_cases("torrent-approval", "");
    let said = fine(&plugin(&["inspect", "torrent-approval.wasm"], folder.path()));
    for line in [
        "\n  made with  wit-component ",
        "\n  contract   0.1.0\n",
        "\n  world      access-policy\n",
        "\n  hooks      announce-filter, lifecycle, scrape-filter\n",
        "sets (open, has-info-hash, sources)\n",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    let checked = fine(&plugin(&["check", "torrent-approval.wasm"], folder.path()));
    let shown = said.replacen(".wasm\n", ".wasm: fine\n", 1);
    let takes = checked.strip_prefix(&shown).expect(&checked);
    let start = "  memory     3 core instances begin with 1088 KiB of linear memory, ";
    assert!(takes.starts_with(start), "{takes}");
}

#[test]
fn bench_measures_a_component() {
    let folder = with_cases(
        "client-approval",
        "config: { deny: [-XL] }\ncases:\n  - name: lets others in\n    announce: {}\n",
    );
    let bench = || fine(&plugin(&["bench", "client-approval.wasm", "cases.yaml"], folder.path()));
    let said = bench();
    for line in
        ["\n  size  ", "\n  load  ", " from the cache\n", "\n  instance ", "  lets others in  "]
    {
        assert!(said.contains(line), "{line}\n{said}");
    }
    let fuel = |said: &str| -> u64 {
        let line = said.lines().find(|line| line.contains("lets others in")).expect("the call");
        line.rsplit(' ').next().and_then(|fuel| fuel.parse().ok()).expect(line)
    };
    assert!(fuel(&said) > 0, "{said}");
    assert_eq!(fuel(&said), fuel(&bench()), "equal calls take equal fuel");
}

#[test]
fn missing_and_wrong_files_of_a_project_are_named() {
    let folder = tempfile::tempdir().unwrap();
    for command in ["build", "test", "bench"] {
        let (code, said) = wrong(&plugin(&[command], folder.path()));
        assert_eq!(code, 2, "{said}");
        assert!(said.contains("plugin.yaml here: `karuta plugin new` makes a project"), "{said}");
    }
    fs::write(folder.path().join("plugin.yaml"), "name: x\nlanguage: c\n").unwrap();
    let (code, said) = wrong(&plugin(&["test"], folder.path()));
    assert_eq!(
        (code, &*said),
        (2, "karuta: x.wasm does not exist: `karuta plugin build` makes it")
    );
    let (code, said) = wrong(&plugin(&["new", "--lang", "rust", "Wrong_Name"], folder.path()));
    assert_eq!(code, 2);
    assert!(said.starts_with("karuta: invalid name `Wrong_Name`"), "{said}");
    fs::create_dir(folder.path().join("taken")).unwrap();
    let (code, said) = wrong(&plugin(&["new", "--lang", "rust", "taken"], folder.path()));
    assert_eq!((code, &*said), (2, "karuta: taken already exists"));
    fs::write(folder.path().join("plugin.yaml"), "name: x\nlanguage: rust\nworld: nowhere\n")
        .unwrap();
    let (code, said) = wrong(&plugin(&["build"], folder.path()));
    assert_eq!(code, 2);
    assert!(
        said.starts_with("karuta: ./plugin.yaml:3:8: world: no world `nowhere`, expected one of "),
        "{said}"
    );
}

#[test]
fn a_missing_compiler_is_named_with_the_way_to_install_it() {
    for (language, expected) in [
        ("go", "karuta: go not found: install Go 1.25 or newer from https://go.dev/dl"),
        ("python", "karuta: componentize-py not found: `pip install componentize-py==0.25.1`"),
        (
            "javascript",
            "karuta: componentize-qjs not found: `npm install --global componentize-qjs@0.4.5`",
        ),
        (
            "c",
            "karuta: no C compiler supports WASI: install zig, with `pip install \
             ziglang` or from https://ziglang.org/download",
        ),
        (
            "rust",
            "karuta: cargo not found: install Rust from https://rustup.rs, or your system's packages",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let yaml = format!("name: x\nlanguage: {language}\n");
        fs::write(folder.path().join("plugin.yaml"), yaml).unwrap();
        let mut command = karuta(&["plugin", "build"], folder.path());
        let output = command.env("PATH", folder.path()).output().unwrap();
        assert_eq!(wrong(&output), (1, expected.to_owned()));
    }
}

/// Creates a project in Rust, because its compiler is always there. It is built with the
/// dependencies of this workspace, without the network, into a folder that is kept. All projects
/// share that folder, so each needs another name.
fn new_project(folder: &Path, name: &str) -> PathBuf {
    let said = fine(&plugin(&["new", "--lang", "rust", name], folder));
    assert!(said.contains(&format!("  cd {name}\n  karuta plugin build")), "{said}");
    let project = folder.join(name);
    fs::copy(root().join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    project
}

/// Returns `karuta plugin`, ready to run in such a project.
fn with_cargo(arguments: &[&str], project: &Path) -> Command {
    let mut command = karuta(&[&["plugin"], arguments].concat(), project);
    let target = plugins().parent().unwrap().join("plugin-tools");
    command.env("CARGO_TARGET_DIR", target).env("CARGO_NET_OFFLINE", "true");
    command.env("STATE_DIRECTORY", project.join(".state"));
    command
}

fn tracker(project: &Path) -> Daemon {
    let name = project.file_name().unwrap().to_str().unwrap();
    let file = project.join(format!("{name}.wasm"));
    Daemon::start(&format!(
        "policies:\n  - name: {name}\n    plugin: {}\n    config: {{ lowest_port: 1024 }}\n",
        file.display()
    ))
}

#[test]
fn a_new_project_is_built_tested_and_decides_announces() {
    let folder = tempfile::tempdir().unwrap();
    let project = new_project(folder.path(), "door-man");
    for file in
        ["plugin.yaml", ".gitignore", "Cargo.toml", "wit/policy.wit", "karuta/rust/src/lib.rs"]
    {
        assert!(project.join(file).is_file(), "{file}");
    }
    let build = || with_cargo(&["build"], &project).output().expect("karuta runs");
    let said = fine(&build());
    assert!(said.starts_with("./door-man.wasm: "), "{said}");
    let written = fs::metadata(project.join("door-man.wasm")).unwrap().modified().unwrap();
    fine(&build());
    let again = fs::metadata(project.join("door-man.wasm")).unwrap().modified().unwrap();
    assert_eq!(written, again, "left alone where nothing has changed");
    let said = fine(&plugin(&["test"], &project));
    assert!(said.ends_with("cases passed\n"), "{said}");
    let said = fine(&plugin(&["check", "door-man.wasm"], &project));
    assert!(said.contains("\n  world      announce-policy\n"), "{said}");
    let tracker = tracker(&project);
    assert_eq!(Announce::of('a').port(80).http(tracker.http), Err("port not allowed".to_owned()));
    Announce::of('a').http(tracker.http).unwrap();
}

#[test]
fn dev_builds_tests_and_reloads_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let project = new_project(folder.path(), "gate-keeper");
    fine(&with_cargo(&["build"], &project).output().unwrap());
    let tracker = tracker(&project);
    let mut dev = Dev::start(&project, &tracker.admin.to_string());
    dev.wait_for("generation 1: ");
    let source = project.join("src/lib.rs");
    let text = fs::read_to_string(&source).unwrap();
    fs::write(&source, text.replace("response::reject(", "response::rejekt(")).unwrap();
    dev.wait_for("karuta: cargo failed; see its output above");
    fs::write(&source, text.replace("port not allowed", "not through this door")).unwrap();
    dev.wait_for("karuta: gate-keeper: 1 of 3 cases failed");
    let port_80 = || Announce::of('a').port(80).http(tracker.http);
    assert_eq!(port_80(), Err("port not allowed".to_owned()));
    let cases = project.join("cases.yaml");
    let text = fs::read_to_string(&cases).unwrap();
    fs::write(&cases, text.replace("port not allowed", "not through this door")).unwrap();
    dev.wait_for("generation 2: replaced gate-keeper");
    assert_eq!(port_80(), Err("not through this door".to_owned()));
}

/// A running `karuta plugin dev`, and its output.
struct Dev {
    child: Child,
    lines: Receiver<String>,
    /// The lines so far.
    said: Vec<String>,
}

impl Dev {
    fn start(project: &Path, admin: &str) -> Self {
        let mut command = with_cargo(&["dev", "--admin", admin], project);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("karuta runs");
        let (tell, lines) = channel();
        let (out, error) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        for stream in [Box::new(out) as Box<dyn Read + Send>, Box::new(error)] {
            let tell = tell.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = tell.send(line);
                }
            });
        }
        Self { child, lines, said: Vec::new() }
    }

    /// Waits for a line that starts like this, 5 min for each line, because compilers are slow.
    #[track_caller]
    fn wait_for(&mut self, start: &str) {
        loop {
            match self.lines.recv_timeout(Duration::from_mins(5)) {
                Ok(line) if line.starts_with(start) => return,
                Ok(line) => self.said.push(line),
                Err(_) => panic!("it never said `{start}`:\n{}", self.said.join("\n")),
            }
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
