//! A Debian that boots in a folder, with systemd and a network of its own, and forgets everything.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use karuta_tests::{eventually, root, target};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// What `tests/setup booted` installs.
const PROGRAMS: [&str; 4] = ["dh", "lintian", "dpkg-shlibdeps", "systemd-nspawn"];

/// Returns the folder of the Debian to boot. If something is missing, the test must be skipped.
fn debian() -> Option<PathBuf> {
    let folder = target().parent().expect("a target folder").join("booted/debian");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has =
        |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).exists());
    let why = if !nix::unistd::geteuid().is_root() {
        "only root can boot a machine".to_owned()
    } else if let Some(program) = PROGRAMS.into_iter().find(|program| !has(program)) {
        format!("{program} is missing; `make test` installs it on Debian")
    } else if !folder.exists() {
        format!("{} is missing; `make test` makes it on Debian", folder.display())
    } else {
        return Some(folder);
    };
    assert!(std::env::var_os("CI").is_none(), "{why}");
    eprintln!("skipped: {why}");
    None
}

/// Returns the package of the program that is tested, and of the policies. It is packed once.
fn package() -> &'static Path {
    static PACKAGE: OnceLock<PathBuf> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        let (profile, targets) = (target(), target());
        let profile = profile.file_name().expect("a profile").to_str().expect("a text");
        let targets = targets.parent().expect("a target folder");
        let mut build = Command::new(root().join("deploy/debian/build"));
        build.arg(profile).arg(targets.join("debian").join(profile));
        build.env("CARGO_TARGET_DIR", targets);
        // Packed in a hurry.
        build.envs([("DPKG_DEB_COMPRESSOR_TYPE", "gzip"), ("DPKG_DEB_COMPRESSOR_LEVEL", "1")]);
        PathBuf::from(output(&mut build).trim())
    })
}

/// Runs a command, and returns what it prints.
#[track_caller]
pub fn output(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("it can be run");
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    stdout.into_owned()
}

/// A machine that runs. Dropping it switches it off.
pub struct Machine {
    container: Child,
    /// The process id of its first process.
    init: i32,
    /// Its packages: `/packages`, and this folder.
    packages: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Machine {
    /// Boots it, with the package as `/packages/karuta.deb`. Without what that needs, the test must
    /// be skipped.
    pub fn boot() -> Option<Self> {
        let debian = debian()?;
        let turn = turn();
        let packages = tempfile::tempdir().expect("a temporary folder");
        fs::copy(package(), packages.path().join("karuta.deb")).expect("the package is copied");
        let container = container(&debian)
            .arg("--boot")
            .arg(format!("--bind-ro={}:/packages", packages.path().display()))
            .stdout(File::create(packages.path().join("console")).expect("a file"))
            .spawn()
            .expect("systemd-nspawn is there");
        let mut machine = Self { container, init: 0, packages, _turn: turn };
        eventually("the machine starts", || {
            let ended = machine.container.try_wait().expect("it can be waited for");
            assert!(ended.is_none(), "systemd-nspawn: {ended:?}");
            let init = machine.first_process();
            machine.init = init.unwrap_or_default();
            init.is_some()
        });
        eventually("the machine is up", || {
            let state = machine.run("systemctl is-system-running").stdout;
            ["running", "degraded"].contains(&String::from_utf8_lossy(&state).trim())
        });
        Some(machine)
    }

    fn first_process(&self) -> Option<i32> {
        let pid = self.container.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        // Before it, there is a child that prepares the folder.
        let is_systemd = |pid: &&str| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "systemd\n")
        };
        children.split_whitespace().find(is_systemd)?.parse().ok()
    }

    /// Runs a shell command on it.
    pub fn run(&self, command: &str) -> Output {
        Command::new("nsenter")
            .arg(format!("--target={}", self.init))
            .args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"])
            .args(["env", "--ignore-environment", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
            .args(["DEBIAN_FRONTEND=noninteractive", "sh", "-c", command])
            .output()
            .expect("nsenter is there")
    }

    /// Runs a shell command on it that must succeed, and returns what it prints.
    #[track_caller]
    pub fn does(&self, command: &str) -> String {
        let Output { status, stdout, stderr } = self.run(command);
        let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert!(status.success(), "{command}: {status}\n{stdout}{stderr}\n{}", self.journal());
        stdout.into_owned()
    }

    /// Waits until its service says that it is ready.
    #[track_caller]
    pub fn serves(&self) {
        eventually("the service is ready", || {
            self.run("karuta status --config /etc/karuta/config.yaml").status.success()
        });
    }

    /// Does something in its network.
    pub fn in_its_network<T: Send>(&self, what: impl FnOnce() -> T + Send) -> T {
        let network = File::open(format!("/proc/{}/ns/net", self.init)).expect("its network");
        let inside = || {
            // Only this thread moves.
            setns(network, CloneFlags::CLONE_NEWNET).expect("its network can be entered");
            what()
        };
        std::thread::scope(|scope| scope.spawn(inside).join()).expect("no panic")
    }

    /// Returns the id, outside of it, of a thread of one of its processes.
    pub fn thread(&self, process: &str, name: &str) -> i32 {
        let numbers = |folder: &str| {
            let entries = fs::read_dir(folder).expect("a folder of /proc").flatten();
            entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        };
        let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let its_own = namespace(self.init);
        let is_it = |pid: &i32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
            namespace(*pid) == its_own
                && ids.and_then(|ids| ids.split('\t').next_back()) == Some(process)
        };
        let tasks = format!("/proc/{}/task", numbers("/proc").find(is_it).expect("the process"));
        let is_called = |thread: &i32| {
            let called = fs::read_to_string(format!("{tasks}/{thread}/comm"));
            called.is_ok_and(|called| called.trim_end() == name)
        };
        numbers(&tasks).find(is_called).expect("the thread")
    }

    /// Makes `/packages/next.deb` of the package: the next version, after a change of its files by a
    /// shell command.
    pub fn next_version(&self, change: &str) {
        let folder = self.packages.path();
        let script = format!(
            "dpkg-deb --raw-extract karuta.deb next
             sed -i 's/^Version: .*/&.1/' next/DEBIAN/control
             (cd next && {change})
             dpkg-deb -Znone --build --root-owner-group next next.deb"
        );
        output(Command::new("sh").args(["-ec", &script]).current_dir(folder));
    }

    fn journal(&self) -> String {
        let output = self.run("journalctl --unit=karuta --no-pager --lines=50");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the service's journal\n{}", self.journal());
        }
        // Its first process may outlive systemd-nspawn; all others end with it.
        if self.init > 0 {
            let _ = kill(Pid::from_raw(self.init), Signal::SIGKILL);
        }
        let _ = self.container.kill();
        let _ = self.container.wait();
    }
}

/// Runs a shell command in the folder of a machine that is not booted, with the package as
/// `/package.deb`.
pub fn does_without_systemd(command: &str) -> Option<String> {
    let _turn = turn();
    let mut container = container(&debian()?);
    container.arg(format!("--bind-ro={}:/package.deb", package().display()));
    Some(output(container.args(["--pipe", "sh", "-ec", command])))
}

/// Judges the package as Debian does.
pub fn lint() -> Option<String> {
    debian()?;
    Some(output(Command::new("lintian").args(["--fail-on=error,warning"]).arg(package())))
}

/// Waits for other machines to end. All share a control group, so there is one at a time.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the start of a command that runs something in a folder, and forgets what it changes.
fn container(debian: &Path) -> Command {
    let mut command = Command::new("systemd-nspawn");
    command
        .args(["--quiet", "--volatile=overlay", "--private-network"])
        // This machine may have no systemd to ask for anything.
        .args(["--register=no", "--keep-unit"])
        .arg(format!("--directory={}", debian.display()))
        .stdin(Stdio::null());
    command
}
