//! What the black-box tests share: a real daemon on free ports, in its own folder.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub mod announce;
pub mod bencode;
mod compiled;
pub mod crowd;
pub mod databases;
pub mod engines;
pub mod issuer;
pub mod nodes;
pub mod server;
pub mod service;
pub mod tls;
pub mod udp;

/// The policies of the cookbook, compiled exactly as printed.
#[cfg(doctest)]
#[doc = include_str!("../../docs/cookbook.md")]
pub struct Cookbook;

/// How long anything may take that should happen at once.
pub const SOON: Duration = Duration::from_secs(20);

/// Tells threads of a test to end when it is dropped, also if the test fails: their scope waits for them.
pub struct Done<'a>(pub &'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How long a daemon may take to get ready. It may have to compile an interpreter first.
const READY: Duration = Duration::from_secs(600);

/// The daemon's listeners in most tests: any free port, on IPv4 and IPv6.
pub const LISTENERS: &str = "\
http: [{ listen: '[::]:0' }]
udp: [{ listen: '[::]:0' }]
admin: { listen: '127.0.0.1:0' }
";

/// A running daemon. Dropping it kills the daemon and removes its folder.
pub struct Daemon {
    child: Child,
    /// The folder with its `config.yaml` and its state.
    pub folder: TempDir,
    pub http: SocketAddr,
    pub udp: SocketAddr,
    pub admin: SocketAddr,
    log: Arc<Mutex<String>>,
}

impl Daemon {
    /// Starts a daemon on [`LISTENERS`] with more YAML, which may name `PLUGINS/NAME.wasm`.
    pub fn start(yaml: &str) -> Self {
        Self::start_with(&format!("{LISTENERS}{yaml}"))
    }

    /// Starts a daemon with the complete YAML.
    pub fn start_with(yaml: &str) -> Self {
        Self::start_in(folder(yaml))
    }

    /// Starts a daemon that may open `files` files, with the complete YAML.
    pub fn start_with_files(files: u32, yaml: &str) -> Self {
        let folder = folder(yaml);
        let limit = format!("--nofile={files}");
        Self::start_by(through("prlimit", &[&limit], &karuta(&["run"], folder.path())), folder)
    }

    /// Starts a daemon that writes to the log file `karuta.log`, with more YAML, as `start` does. Its
    /// log is read from there.
    pub fn start_with_log_file(yaml: &str) -> Self {
        Self::start_with_log_file_in(folder(&format!("{LISTENERS}{yaml}")))
    }

    /// Starts such a daemon in a folder that has a `config.yaml`.
    pub fn start_with_log_file_in(folder: TempDir) -> Self {
        // Two writers of the same pipe; the other one ends with the daemon.
        const FOLLOW: &str = "tail --pid=$$ --sleep-interval=0.05 --lines=+1 --follow=name --retry \
                              karuta.log >&2 2>/dev/null & exec \"$@\"";
        let command = through("sh", &["-c", FOLLOW, "sh"], &karuta(&["run"], folder.path()));
        Self::start_by(command, folder)
    }

    /// Starts a daemon in a folder that has a `config.yaml`.
    pub fn start_in(folder: TempDir) -> Self {
        Self::start_by(karuta(&["run"], folder.path()), folder)
    }

    /// Starts a daemon by a command that becomes one, in a folder that has a `config.yaml`.
    pub fn start_by(mut command: Command, folder: TempDir) -> Self {
        compiled::lend(folder.path());
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the daemon starts");
        let log = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().expect("its log is piped"));
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn({
            let log = log.clone();
            move || {
                for line in lines.lines().map_while(Result::ok) {
                    let _ = tell.send(line.clone());
                    let mut log = log.lock().unwrap();
                    log.push_str(&line);
                    log.push('\n');
                }
            }
        });
        let [mut http, mut udp, mut admin] = [None; 3];
        let deadline = Instant::now() + READY;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = told.recv_timeout(left) else {
                let _ = child.kill();
                panic!("the daemon did not get ready:\n{}", log.lock().unwrap());
            };
            if says(&line, "ready").is_some() {
                break;
            }
            if let Some(field) = says(&line, "listening") {
                let address = field("address").parse().ok();
                match &*field("transport") {
                    "http" | "https" => http = http.or(address),
                    "udp" => udp = udp.or(address),
                    _ => admin = admin.or(address),
                }
            }
        }
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let local = |address: Option<SocketAddr>| {
            address.map_or(nowhere, |address| ([127, 0, 0, 1], address.port()).into())
        };
        Self { child, folder, http: local(http), udp: local(udp), admin: local(admin), log }
    }

    /// Returns its log so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until its log contains a text. The log is written by a separate thread.
    #[track_caller]
    pub fn logs(&self, text: &str) {
        eventually(text, || self.log().contains(text));
    }

    /// Stops reading its log while the guard is held.
    pub fn stop_reading(&self) -> MutexGuard<'_, String> {
        self.log.lock().unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal such as `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name} {pid}");
    }

    /// Limits the files that it may open from now on; `:` keeps the hard limit.
    pub fn limit_files(&self, soft: &str) {
        let pid = format!("--pid={}", self.pid());
        let set = Command::new("prlimit").args([&pid, &format!("--nofile={soft}:")]).status();
        assert!(set.is_ok_and(|status| status.success()), "prlimit {pid} --nofile={soft}:");
    }

    /// Stops it, and starts it again in the same folder.
    pub fn restart(self) -> Self {
        Self::start_in(self.stop())
    }

    /// Stops it, and returns its folder.
    pub fn stop(mut self) -> TempDir {
        self.signal("TERM");
        self.wait();
        let elsewhere = tempfile::tempdir().expect("a temporary folder");
        std::mem::replace(&mut self.folder, elsewhere)
    }

    /// Kills it, and returns its folder.
    pub fn kill(mut self) -> TempDir {
        self.signal("KILL");
        self.wait();
        let elsewhere = tempfile::tempdir().expect("a temporary folder");
        std::mem::replace(&mut self.folder, elsewhere)
    }

    /// Waits until it ends, and returns its folder.
    pub fn ended(mut self) -> TempDir {
        self.wait();
        let elsewhere = tempfile::tempdir().expect("a temporary folder");
        std::mem::replace(&mut self.folder, elsewhere)
    }

    /// Waits until it ends.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + 2 * SOON;
        loop {
            if let Some(status) = self.child.try_wait().expect("the daemon can be waited for") {
                return status;
            }
            assert!(Instant::now() < deadline, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns the body of an admin page.
    pub fn admin_page(&self, path: &str) -> String {
        get(self.admin, path, &[]).body_text()
    }

    /// Returns where the first listener of a transport is, as `gazelle`.
    pub fn listener(&self, transport: &str) -> SocketAddr {
        let status: serde_json::Value =
            serde_json::from_str(&self.admin_page("/api/status")).expect("JSON");
        let listeners = status["listeners"].as_array().expect("a list");
        let found = listeners.iter().find(|listener| listener["transport"] == transport);
        let address = found.and_then(|listener| listener["address"].as_str());
        address.expect("a listener").parse().expect("an address")
    }

    /// Runs `karuta accounts` with the words of a line, which must succeed. Returns what it prints.
    #[track_caller]
    pub fn accounts(&self, line: &str) -> String {
        let admin = self.admin.to_string();
        let words = line.split(' ');
        let all: Vec<_> =
            ["accounts"].into_iter().chain(words).chain(["--admin", &admin]).collect();
        let output = run(&all, self.folder.path());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Returns the value of a series of `/metrics`, written as there; 0 if it is not there (yet).
    pub fn metric(&self, series: &str) -> f64 {
        let page = self.admin_page("/metrics");
        let found = page.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
        found.unwrap_or(0.0)
    }
}

/// Returns the fields of a log line, text or JSON, if it has that message.
fn says(line: &str, message: &str) -> Option<impl Fn(&str) -> String> {
    let line = line.strip_prefix('<').and_then(|line| line.get(2..)).unwrap_or(line);
    let json: Option<serde_json::Value> = serde_json::from_str(line).ok();
    let matches = match &json {
        Some(json) => json["fields"]["message"] == message,
        None => line.split(' ').any(|word| word == message),
    };
    let text = line.to_owned();
    matches.then_some(move |name: &str| match &json {
        Some(json) => json["fields"][name].as_str().unwrap_or_default().to_owned(),
        None => {
            let field = text.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            field.unwrap_or_default().trim_matches('"').to_owned()
        }
    })
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        compiled::keep(self.folder.path());
        if std::thread::panicking() {
            eprintln!("--- the daemon's log\n{}", self.log());
        }
    }
}

/// Creates a folder with a `config.yaml`. `PLUGINS` in the YAML stands for the folder of the
/// components.
pub fn folder(yaml: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write_config(folder.path(), yaml);
    folder
}

/// Writes `config.yaml` into a folder. The daemon also keeps its state there and logs JSON, unless
/// the YAML says otherwise.
pub fn write_config(folder: &Path, yaml: &str) {
    let plugins = plugins();
    let mut yaml = yaml.replace("PLUGINS", plugins.to_str().expect("a path of text"));
    // Not what a comment shows.
    let has = |yaml: &str, key: &str| yaml.lines().any(|line| line.starts_with(key));
    if !has(&yaml, "state_dir:") {
        yaml.push_str("\nstate_dir: state\n");
    }
    if !has(&yaml, "log:") {
        yaml.push_str("\nlog: { format: json }\n");
    }
    std::fs::write(folder.join("config.yaml"), yaml).expect("the configuration is written");
}

/// Runs `karuta` with arguments in a folder, until it ends.
pub fn run(arguments: &[&str], folder: &Path) -> Output {
    karuta(arguments, folder).output().expect("karuta runs")
}

/// Returns the `karuta` program, ready to start in a folder.
pub fn karuta(arguments: &[&str], folder: &Path) -> Command {
    let program = target().join("karuta");
    assert!(program.exists(), "{} is missing: `make test` builds it", program.display());
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    // These tests may themselves run in a service.
    for name in [
        "STATE_DIRECTORY",
        "NOTIFY_SOCKET",
        "WATCHDOG_USEC",
        "LISTEN_PID",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
    ] {
        command.env_remove(name);
    }
    command
}

/// Returns a command that runs another through a program with arguments, in the same folder.
pub fn through(program: &str, arguments: &[&str], command: &Command) -> Command {
    let mut outer = Command::new(program);
    outer.args(arguments).arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    outer.current_dir(command.get_current_dir().unwrap_or(Path::new(".")));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer
}

/// Returns the folder of the built components.
pub fn plugins() -> PathBuf {
    target().parent().expect("a target folder").join("plugins")
}

/// Returns the YAML of an example in `deploy/examples`, with free ports and the built components.
pub fn example(name: &str) -> String {
    let path = root().join("deploy/examples").join(name);
    let yaml = std::fs::read_to_string(&path).expect("the example is there");
    yaml.replace("../../target/plugins", "PLUGINS")
        .replace("\"[::]:6969\"", "\"[::]:0\"")
        .replace("\"127.0.0.1:6880\"", "\"127.0.0.1:0\"")
}

/// Returns the root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a parent").to_owned()
}

/// Returns the folder that this test or program was built into, such as `target/debug`.
pub fn target() -> PathBuf {
    let program = std::env::current_exe().expect("the path of this program");
    let folder = program.parent().expect("target/PROFILE/PROGRAM");
    // Tests are in target/PROFILE/deps.
    let folder = if folder.ends_with("deps") { folder.parent() } else { Some(folder) };
    folder.expect("target/PROFILE").to_owned()
}

/// An HTTP answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    pub status: u16,
    /// The head as received, without the empty line.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn body_text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Requests a path on a new connection. `headers` are complete lines.
pub fn get(address: SocketAddr, path: &str, headers: &[&str]) -> Answer {
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    exchange(address, request.as_bytes())
}

/// Sends one request over a socket file, and reads the answer. The request asks for no more.
pub fn exchange_at(file: &Path, request: &str) -> Answer {
    let stream = UnixStream::connect(file).expect("the socket file accepts");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    let mut connection = Connection::over(stream);
    connection.send(request.as_bytes());
    connection.answer()
}

/// Sends raw bytes on a new connection, and reads the answer until the connection ends.
pub fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).expect("the listener accepts");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream.write_all(request).expect("the request is sent");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("the answer ends");
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(bytes.len());
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    Answer { status: status(&head), head, body: bytes.get(end + 4..).unwrap_or_default().to_vec() }
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// A connection for several requests.
pub struct Connection<S = TcpStream> {
    stream: BufReader<S>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the listener accepts");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        Self::over(stream)
    }
}

impl<S: Read + Write> Connection<S> {
    pub fn over(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("the request is sent");
    }

    /// Reads one answer, by its `content-length`.
    pub fn answer(&mut self) -> Answer {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = self.stream.read_line(&mut head).expect("a head in time");
            assert!(read > 0, "the connection ended: {head:?}");
        }
        head.truncate(head.len() - 4);
        let status = status(&head);
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("the whole body");
        Answer { status, head, body }
    }

    /// Reads until the other side ends the connection, by closing or resetting it.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        if let Err(error) = self.stream.read_to_end(&mut rest) {
            // TLS may end without saying so.
            let ended = [ErrorKind::ConnectionReset, ErrorKind::UnexpectedEof];
            assert!(ended.contains(&error.kind()), "the connection stays: {error}");
        }
        rest
    }
}

/// Returns the same listener's port on the IPv6 loopback address.
pub fn ipv6(address: SocketAddr) -> SocketAddr {
    (std::net::Ipv6Addr::LOCALHOST, address.port()).into()
}

/// Waits for a condition.
#[track_caller]
pub fn eventually(what: &str, holds: impl FnMut() -> bool) {
    within(SOON, what, holds);
}

/// Waits for a condition for so long.
#[track_caller]
pub fn within(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "it never happened: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
