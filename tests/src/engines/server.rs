//! One server of an engine, as a process.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use super::resp::Client;
use super::{Engine, shelter};
use crate::{eventually, tls};

/// A server that keeps nothing on the disk. Dropping it kills it.
pub struct Server {
    program: PathBuf,
    folder: PathBuf,
    arguments: Vec<String>,
    pub address: SocketAddr,
    /// The port of the cluster's bus.
    pub bus: u16,
    tls: Option<tls::Client>,
    process: Option<Child>,
}

impl Server {
    /// Starts a server on free ports, in a folder of a [`shelter::Shelter`], with more arguments.
    pub(super) fn start(engine: &Engine, folder: &Path, more: &[&str]) -> Self {
        let [port, bus] = [free_port(), free_port()];
        let folder = folder.join(port.to_string());
        fs::create_dir(&folder).expect("a folder for the server");
        let port_text = port.to_string();
        let port_arguments: &[&str] = match more.contains(&"--tls-cert-file") {
            true => &["--tls-port", &port_text, "--port", "0", "--tls-auth-clients", "no"],
            false => &["--port", &port_text],
        };
        let fixed = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--loglevel"];
        let arguments = [port_arguments, &fixed, &["notice"], more].concat();
        let mut server = Self {
            program: engine.program.clone(),
            folder,
            arguments: arguments.iter().map(|one| (*one).to_owned()).collect(),
            address: (Ipv4Addr::LOCALHOST, port).into(),
            bus,
            tls: None,
            process: None,
        };
        if more.contains(&"--cluster-enabled") {
            server.arguments.extend(["--cluster-port".to_owned(), bus.to_string()]);
        }
        server.launch();
        server
    }

    /// Starts it again after it was killed, without its data.
    pub fn launch(&mut self) {
        let log = File::options().create(true).append(true).open(self.folder.join("log"));
        let log = log.expect("a log");
        let process = Command::new(&self.program)
            .args(&self.arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log is shared"))
            .stderr(log)
            .spawn()
            .expect("the server starts");
        shelter::note(&self.folder, process.id());
        self.process = Some(process);
    }

    /// Uses TLS for [`Self::connect`].
    pub(super) fn secured(mut self, tls: tls::Client) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Waits until it answers.
    pub fn answers(&self) {
        eventually("the server answers", || {
            self.try_connect().is_ok_and(|mut client| match client.ask(&["PING"]) {
                Ok(_) => true,
                Err(error) => error.starts_with("NOAUTH"),
            })
        });
    }

    pub fn is_alive(&self) -> bool {
        self.process.is_some()
    }

    #[track_caller]
    pub fn connect(&self) -> Client {
        self.try_connect().expect("the server accepts")
    }

    fn try_connect(&self) -> std::io::Result<Client> {
        match &self.tls {
            Some(tls) => Client::connect_secured(self.address, tls),
            None => Client::connect(self.address),
        }
    }

    /// Kills it at once.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            shelter::forget(&self.folder);
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Sends a signal such as `STOP` or `CONT`.
    pub fn signal(&self, name: &str) {
        let Some(process) = &self.process else { return };
        let pid = process.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name} {pid}");
    }

    /// Returns the CPU time of all its threads.
    pub fn cpu(&self) -> Duration {
        self.process.as_ref().map_or(Duration::ZERO, |process| cpu_of(process.id(), ""))
    }

    /// Returns its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let last = log.lines().rev().take(15).collect::<Vec<_>>();
            let last = last.into_iter().rev().collect::<Vec<_>>().join("\n");
            eprintln!("--- the end of the log of the engine at {}\n{last}", self.address);
        }
    }
}

/// Returns the CPU time of the threads of a process whose names begin so.
pub fn cpu_of(pid: u32, name: &str) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanoseconds = threads.filter_map(|thread| {
        let comm = fs::read_to_string(thread.path().join("comm")).ok()?;
        let schedstat = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let used = schedstat.split(' ').next()?.parse::<u64>().ok()?;
        comm.starts_with(name).then_some(used)
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// Returns a port that is free on 127.0.0.1, over TCP and UDP, and that no outgoing connection gets:
/// a server can be started on it again.
pub fn free_port() -> u16 {
    // Tests in other processes begin elsewhere.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = (std::process::id() % 200) as u16 * 100;
    loop {
        let port = 12_000 + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let address = (Ipv4Addr::LOCALHOST, port);
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return port;
        }
    }
}
