//! Real clients as processes, each in a folder of its own.

use std::fs::File;
use std::net::{IpAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use karuta_tests::{plugins, root};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::patiently;

/// A BitTorrent client that may be installed.
#[derive(Clone, Copy, Debug)]
pub enum Program {
    Aria2,
    Transmission,
    /// Runs in Python.
    Libtorrent,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Aria2 => "aria2c",
            Self::Transmission => "transmission-cli",
            Self::Libtorrent => "python3",
        }
    }

    fn command(self) -> Command {
        let mut command = Command::new(self.name());
        if let Self::Libtorrent = self {
            let target = plugins();
            let target = target.parent().expect("a target folder");
            command.env("PYTHONPATH", target.join("stories/python"));
        }
        command
    }

    /// Returns whether it is installed. If not, the test must be skipped.
    pub fn is_there(self) -> bool {
        let test: &[&str] = match self {
            Self::Libtorrent => &["-c", "import libtorrent"],
            Self::Aria2 | Self::Transmission => &["--version"],
        };
        // Some do not exit with 0 after printing their version.
        let found = self.command().args(test).output();
        let found =
            found.is_ok_and(|output| output.status.success() || !matches!(self, Self::Libtorrent));
        if !found {
            skip(&format!("{self:?} is missing; `make test` installs it on Debian"));
        }
        found
    }
}

/// Prints why a test is skipped. In CI, the test fails instead.
pub fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{why}");
    eprintln!("skipped: {why}");
}

/// A running client. Dropping it kills the client and removes its folder.
pub struct Client {
    process: Child,
    folder: TempDir,
}

impl Client {
    /// Starts a client at an address with a torrent. It seeds if it is given the file.
    pub fn start(
        program: Program,
        address: IpAddr,
        metainfo: &[u8],
        file: Option<(&str, &[u8])>,
        arguments: &[&str],
    ) -> Self {
        Self::start_trusting(None, program, address, metainfo, file, arguments)
    }

    /// Starts a client that trusts the authority in a PEM file.
    pub fn start_trusting(
        authority: Option<&Path>,
        program: Program,
        address: IpAddr,
        metainfo: &[u8],
        file: Option<(&str, &[u8])>,
        arguments: &[&str],
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path();
        std::fs::write(path.join("it.torrent"), metainfo).expect("the torrent is written");
        std::fs::create_dir(path.join("files")).expect("a folder for the file");
        if let Some((name, content)) = file {
            let file = path.join("files").join(name);
            let folder = file.parent().expect("a folder");
            std::fs::create_dir_all(folder).expect("a folder for the file");
            std::fs::write(file, content).expect("the file is written");
        }
        let mut command = program.command();
        match program {
            Program::Aria2 => aria2(&mut command, address),
            Program::Libtorrent => {
                command.arg(root().join("tests/clients/share.py")).arg(address.to_string());
            }
            Program::Transmission => {
                let settings = transmission(&mut command, address);
                std::fs::create_dir(path.join("settings")).expect("a folder for the settings");
                std::fs::write(path.join("settings/settings.json"), settings)
                    .expect("the settings are written");
            }
        }
        match (program, authority) {
            (Program::Aria2, Some(authority)) => {
                command.arg(format!("--ca-certificate={}", authority.display()));
            }
            (_, Some(authority)) => {
                command.env("CURL_CA_BUNDLE", authority);
            }
            (_, None) => {}
        }
        let log = File::create(path.join("log")).expect("a log");
        let process = command
            .args(arguments)
            .arg("it.torrent")
            .current_dir(path)
            .env("HOME", path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log is shared"))
            .stderr(log)
            .spawn()
            .expect("the client starts");
        Self { process, folder }
    }

    /// Interrupts it, as its user would in a terminal, and waits until it has ended.
    #[track_caller]
    pub fn stop(&mut self) {
        self.signal(Signal::SIGINT);
        patiently("the client ends", || self.process.try_wait().expect("its status").is_some());
    }

    /// Lets libtorrent announce at once.
    pub fn announce(&self) {
        self.signal(Signal::SIGHUP);
    }

    fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(self.process.id().cast_signed());
        kill(process, signal).expect("it is there");
    }

    /// Returns its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the path of a file that it shares.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder().join("files").join(name)
    }

    /// Returns what it has printed so far.
    pub fn output(&self) -> String {
        let bytes = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\r', "\n")
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("--- a client's output\n{}", self.output());
        }
    }
}

/// A torrent as libtorrent makes it, without a tracker.
pub struct Made {
    pub metainfo: Vec<u8>,
    /// In hexadecimal digits. A hybrid torrent has that of version 1, and then that of version 2.
    pub info_hashes: Vec<String>,
}

/// Makes a torrent of one file with libtorrent, of the version `v1`, `v2` or `hybrid`.
pub fn make_torrent(name: &str, content: &[u8], version: &str) -> Made {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (file, torrent) = (folder.path().join(name), folder.path().join("it.torrent"));
    std::fs::write(&file, content).expect("the file is written");
    let mut command = Program::Libtorrent.command();
    command.arg(root().join("tests/clients/make.py")).arg(file).arg(&torrent).arg(version);
    let output = command.output().expect("Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let hashes = String::from_utf8(output.stdout).expect("info-hashes");
    Made {
        metainfo: std::fs::read(torrent).expect("the torrent is there"),
        info_hashes: hashes.split_whitespace().map(str::to_owned).collect(),
    }
}

fn aria2(command: &mut Command, address: IpAddr) {
    let port = free_port(address);
    command.args([
        "--no-conf=true",
        "--dir=files",
        "--check-integrity=true",
        "--file-allocation=none",
        "--console-log-level=info",
        "--enable-color=false",
        "--summary-interval=0",
        "--disable-ipv6=true",
        "--bt-enable-lpd=false",
        "--enable-peer-exchange=false",
        // It uses UDP trackers only if DHT is on. A private torrent does not use DHT.
        "--enable-dht=true",
        "--dht-file-path=dht.dat",
        "--seed-ratio=0.0",
        &format!("--interface={address}"),
        &format!("--listen-port={port}"),
        &format!("--dht-listen-port={port}"),
    ]);
}

/// Returns its settings.
fn transmission(command: &mut Command, address: IpAddr) -> String {
    command.args(["--config-dir", "settings", "--download-dir", "files"]);
    serde_json::json!({
        "bind-address-ipv4": address,
        "peer-port": free_port(address),
        "port-forwarding-enabled": false,
        "dht-enabled": false,
        "lpd-enabled": false,
        "pex-enabled": false,
        "utp-enabled": false,
        "rpc-enabled": false,
    })
    .to_string()
}

/// Returns a port that is free at an address, over TCP and UDP.
fn free_port(address: IpAddr) -> u16 {
    loop {
        let tcp = TcpListener::bind((address, 0)).expect("a free port");
        let port = tcp.local_addr().expect("its address").port();
        if UdpSocket::bind((address, port)).is_ok() {
            return port;
        }
    }
}
