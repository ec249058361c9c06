//! The compared servers, each in its own process.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::client::Load;
use crate::swarms;
use crate::target::Target;

/// How long a server may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server, on the cores that this process had when it started it.
pub struct Server {
    pub name: String,
    pub udp: Option<Target>,
    pub http: Option<Target>,
    /// The address of `/metrics`.
    pub admin: Option<SocketAddr>,
    process: Child,
    _folder: TempDir,
}

/// The settings of Karuta.
pub struct Setting<'a> {
    pub address: &'a str,
    pub workers: usize,
    /// A part of the configuration.
    pub policies: &'a str,
}

impl Default for Setting<'_> {
    fn default() -> Self {
        Self { address: "127.0.0.1", workers: 1, policies: "" }
    }
}

impl Server {
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Starts this program as a server that only answers, or that first judges a token with a key
    /// of this set.
    pub fn bare(name: &str, transport: &str, judge: Option<&Path>, load: &Load) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bare", transport]);
        for (option, value) in
            [("--peers", load.peers), ("--seeders", load.seeders), ("--num-want", load.num_want)]
        {
            command.arg(option).arg(value.to_string());
        }
        if let Some(keys) = judge {
            command.arg("--judge").arg(keys);
        }
        let folder = tempfile::tempdir()?;
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut url = String::new();
        let output = process.stdout.take().context("its output is piped")?;
        BufReader::new(output).read_line(&mut url)?;
        let target = Some(url.trim().parse()?);
        let (udp, http) = if transport == "udp" { (target, None) } else { (None, target) };
        Ok(Self { name: name.to_owned(), udp, http, admin: None, process, _folder: folder })
    }

    /// Starts Karuta.
    pub fn karuta(program: &Path, name: &str, setting: &Setting) -> Result<Self> {
        let program = absolute(program, "build the daemon first")?;
        let folder = tempfile::tempdir()?;
        let Setting { address, workers, policies } = setting;
        let yaml = format!(
            "tracker: {{ workers: {workers} }}\n\
             http: [{{ listen: '{address}:0' }}]\n\
             udp: [{{ listen: '{address}:0', connection_id_lifetime: 1h }}]\n\
             admin: {{ listen: '127.0.0.1:0' }}\n\
             log: {{ format: json }}\n\
             state_dir: state\n\
             {policies}"
        );
        std::fs::write(folder.path().join("config.yaml"), yaml)?;
        let mut process = Command::new(program)
            .arg("run")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let log = process.stderr.take().context("the daemon's log is piped")?;
        let server = Self {
            name: name.to_owned(),
            udp: None,
            http: None,
            admin: None,
            process,
            _folder: folder,
        };
        server.listening(BufReader::new(log))
    }

    /// Reads the log until the daemon is ready, and continues to read it in a thread.
    fn listening(mut self, mut log: impl BufRead + Send + 'static) -> Result<Self> {
        let mut text = String::new();
        loop {
            let begin = text.len();
            if log.read_line(&mut text)? == 0 {
                bail!("the daemon did not get ready:\n{text}");
            }
            let line: serde_json::Value = serde_json::from_str(&text[begin..]).unwrap_or_default();
            let fields = &line["fields"];
            match fields["message"].as_str() {
                Some("ready") => break,
                Some("listening") => {
                    let address = fields["address"].as_str().context("a listener's address")?;
                    match fields["transport"].as_str() {
                        Some("udp") => self.udp = Some(format!("udp://{address}").parse()?),
                        Some("http") => self.http = Some(format!("http://{address}").parse()?),
                        _ => self.admin = Some(address.parse()?),
                    }
                }
                _ => {}
            }
        }
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Ok(self)
    }

    /// Starts Debian's opentracker, which needs a list of the torrents.
    pub fn opentracker(program: &Path, load: &Load) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut list = String::new();
        for torrent in 0..load.torrents {
            list.push_str(&hex(&swarms::info_hash(torrent)));
            list.push('\n');
        }
        let path = folder.path().join("torrents");
        std::fs::write(&path, list)?;
        // It may change to another user before it reads the list.
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        // As root it changes its root to this folder.
        let root = nix::unistd::geteuid().is_root();
        let seen = if root { Path::new("/torrents") } else { &path };
        let address = free()?;
        let port = address.port().to_string();
        let mut command = Command::new(program);
        command.args(["-i", "127.0.0.1", "-p", &port, "-P", &port]).arg("-w").arg(seen);
        command.arg("-d").arg(folder.path()).current_dir(folder.path());
        Self::of("opentracker", command, folder, (Some(address), Some(address)))
    }

    /// Starts aquatic's UDP tracker.
    pub fn aquatic_udp(name: &str, program: &Path) -> Result<Self> {
        let address = free()?;
        let config = format!(
            "socket_workers = 1\n[network]\naddress = '{address}'\n\
             [protocol]\nmax_scrape_torrents = 74\nmax_response_peers = 50\n"
        );
        Self::aquatic(name, program, &config, (Some(address), None))
    }

    /// Starts aquatic's HTTP tracker, which has at least two workers: one for connections, and one
    /// for the swarms.
    pub fn aquatic_http(name: &str, program: &Path) -> Result<Self> {
        let address = free()?;
        let config = format!("[network]\naddress = '{address}'\n[protocol]\nmax_peers = 50\n");
        Self::aquatic(name, program, &config, (None, Some(address)))
    }

    fn aquatic(
        name: &str,
        program: &Path,
        config: &str,
        addresses: (Option<SocketAddr>, Option<SocketAddr>),
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("config.toml");
        std::fs::write(&file, config)?;
        let mut command = Command::new(absolute(program, "not installed")?);
        command.arg("-c").arg(file).current_dir(folder.path());
        Self::of(name, command, folder, addresses)
    }

    /// Starts bittorrent-tracker, which runs under Node.
    pub fn node(script: &Path) -> Result<Self> {
        let address = free()?;
        let mut command = Command::new("node");
        command.arg(absolute(script, "not installed")?);
        command.args(["--udp", "--http", "--udp-hostname", "127.0.0.1"]);
        command.args(["--http-hostname", "127.0.0.1", "--port", &address.port().to_string()]);
        let folder = tempfile::tempdir()?;
        Self::of("bittorrent-tracker", command, folder, (Some(address), Some(address)))
    }

    fn of(
        name: &str,
        mut command: Command,
        folder: TempDir,
        (udp, http): (Option<SocketAddr>, Option<SocketAddr>),
    ) -> Result<Self> {
        let output = || std::fs::File::create(folder.path().join("output"));
        command.stdin(Stdio::null()).stdout(output()?).stderr(Stdio::null());
        let target = |scheme: &str, address: SocketAddr| format!("{scheme}://{address}").parse();
        let mut server = Self {
            name: name.to_owned(),
            udp: udp.map(|address| target("udp", address)).transpose()?,
            http: http.map(|address| target("http", address)).transpose()?,
            admin: None,
            process: command.spawn().with_context(|| name.to_owned())?,
            _folder: folder,
        };
        let start = Instant::now();
        let accepts = |address| TcpStream::connect(address).is_ok();
        while !(udp.is_none_or(answers) && http.is_none_or(accepts)) {
            if let Some(status) = server.process.try_wait()? {
                bail!("{name} ended at once: {status}");
            }
            if start.elapsed() > PATIENCE {
                bail!("{name} does not answer");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }

    /// Pauses one of our servers until [`Self::resume`], so that its clock takes no time from others.
    /// aquatic is not paused: it ends when its wait for packets is interrupted.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        if !self.is_ours() {
            return Ok(());
        }
        let pid = Pid::from_raw(self.pid() as i32);
        kill(pid, signal).with_context(|| format!("{signal} for {}", self.name))
    }

    /// Returns the number of announces and scrapes that it has counted, if it counts them.
    fn requests(&self) -> Result<Option<u64>> {
        let Some(admin) = self.admin else { return Ok(None) };
        let mut stream = TcpStream::connect(admin)?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let counted = text.lines().filter(|line| {
            line.starts_with("karuta_requests_total{") && !line.contains("action=\"connect\"")
        });
        let mut sum = 0;
        for line in counted {
            let value = line.rsplit(' ').next().unwrap_or_default();
            sum += value.parse::<u64>().with_context(|| line.to_owned())?;
        }
        Ok(Some(sum))
    }

    /// Checks that it has counted as many requests as it was sent, if it counts them.
    pub fn check_count(&self, asked: u64) -> Result<()> {
        let (name, counted) = (&self.name, self.requests()?);
        ensure!(
            counted.is_none_or(|counted| counted == asked),
            "{name} was asked {asked} times, and counted {counted:?}"
        );
        Ok(())
    }

    /// Returns whether it is Karuta, whose answers must all be right.
    pub fn is_ours(&self) -> bool {
        self.name.starts_with("Karuta")
    }

    /// Returns whether it requires a token.
    pub fn wants_token(&self) -> bool {
        self.name.contains(", a token ")
    }

    /// Returns whether it is Karuta with settings other than the plainest.
    pub fn is_variant(&self) -> bool {
        self.name.starts_with("Karuta,")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has nothing to lose, and may already have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The settings of `client-approval`.
const CLIENTS: &str = "  config: { deny: ['-XL', '-SD', '-XF', '-QD', '-BN', '-DL', '-TS', '-XX', \
                       '-GT', '-FG', '-BB', '-SP'] }\n";

/// The settings of `subnet`.
pub const SUBNET: &str = "  config: { ipv4: [26, 22, 16], ipv6: [64, 56, 48] }\n";

/// The plugins of the performance targets. None of them refuses the generator's announces.
pub const TARGETS: [&str; 3] = ["client-approval", "torrent-approval", "subnet"];

/// Returns some of [`TARGETS`], each as a policy of its own.
pub fn targets(plugins: &Path, folder: &Path, wanted: &[&str]) -> Result<String> {
    let mut policies = String::from("policies:\n");
    for plugin in wanted {
        let more = match *plugin {
            "client-approval" => CLIENTS.to_owned(),
            "torrent-approval" => format!(
                "  config: {{ deny_from: denied }}\n  \
                 data: {{ denied: {{ file: {}, format: info-hashes, required: true }} }}\n",
                denied(folder)?.display(),
            ),
            _ => SUBNET.to_owned(),
        };
        let component = component(plugins, plugin)?;
        policies += &format!("- name: {plugin}\n  plugin: {component}\n{more}");
    }
    Ok(policies)
}

/// Writes a list of 100 000 torrents. The generator's own have lower numbers.
fn denied(folder: &Path) -> Result<PathBuf> {
    let mut denied = String::new();
    for torrent in 0..100_000 {
        denied.push_str(&hex(&swarms::info_hash(u32::MAX - torrent)));
        denied.push('\n');
    }
    let list = folder.join("denied");
    std::fs::write(&list, denied)?;
    Ok(list)
}

/// Returns one policy, of a component in the folder.
pub fn one(plugins: &Path, plugin: &str, more: &str) -> Result<String> {
    Ok(format!("policies:\n- name: one\n  plugin: {}\n{more}", component(plugins, plugin)?))
}

/// Returns three policies of one component, which differ only in their names.
pub fn thrice(plugins: &Path, plugin: &str, config: &str) -> Result<String> {
    let plugin = component(plugins, plugin)?;
    let one = |name| format!("- name: {name}\n  plugin: {plugin}\n  config: {config}\n");
    Ok(format!("policies:\n{}{}{}", one("a"), one("b"), one("c")))
}

fn component(plugins: &Path, name: &str) -> Result<String> {
    let file = absolute(&plugins.join(format!("{name}.wasm")), "not built")?;
    Ok(file.display().to_string())
}

pub fn absolute(file: &Path, otherwise: &str) -> Result<PathBuf> {
    file.canonicalize().with_context(|| format!("{}: {otherwise}", file.display()))
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Returns an address with a port that is free over UDP and TCP.
fn free() -> Result<SocketAddr> {
    loop {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        if UdpSocket::bind(address).is_ok() {
            return Ok(address);
        }
    }
}

/// Returns whether a UDP tracker answers a connect.
fn answers(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<bool> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(address)?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        socket.send(&[0, 0, 4, 0x17, 0x27, 0x10, 0x19, 0x80, 0, 0, 0, 0, 1, 2, 3, 4])?;
        Ok(socket.recv(&mut [0; 64])? == 16)
    };
    ask().unwrap_or(false)
}
