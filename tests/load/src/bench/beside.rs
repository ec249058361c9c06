//! Measures announces while the same daemon does something else: people watch it, export
//! its swarms, or have them written to the disk.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};

use super::server::{self, Server, Setting, TARGETS};
use super::table::{self, Turns};
use super::{Bench, THREE};
use crate::client::{self, Load};
use crate::process;
use crate::tally::Report;

/// A page open in so many browsers, and `karuta stats --watch`.
pub const WATCHERS: &str = "UDP announce, watched by three pages and `stats --watch`";
/// Exports of all torrents, one after the other.
pub const EXPORTS: &str = "UDP announce beside exports";
/// Snapshots, one after the other.
pub const SNAPSHOTS: &str = "UDP announce beside snapshots";

const BROWSERS: u32 = 3;
/// How often the script of a page asks for its panels.
const PANELS: Duration = Duration::from_secs(4);
/// How long a read may take until somebody looks whether it should end.
const LOOK: Duration = Duration::from_millis(100);
/// How long others are at work before the measurement begins.
const SETTLE: Duration = Duration::from_millis(500);

/// Others that are at work, until this is dropped.
#[derive(Default)]
struct Company {
    others: Vec<(Sender<()>, JoinHandle<Result<u64>>)>,
    watch: Option<Child>,
}

/// Measures the CPU time of announces under full load, with and without those who watch.
pub fn watched(bench: &Bench, folder: &Path, core: usize) -> Result<String> {
    let policies = server::targets(&bench.plugins, folder, &TARGETS)?;
    let server = start(bench, THREE, &policies)?;
    let company = |admin| Company::of_watchers(&bench.karuta, admin);
    let cost = |report: &Report| {
        let server = report.server.as_ref().context("its process is gone")?;
        Ok(server.cpu_us_per_request)
    };
    let turns = in_turns(bench, &server, &bench.load, core, &company, &cost)?;
    let head = [WATCHERS, "CPU µs without", "with", "with / without"];
    Ok(table::turns(head, &mut [turns]))
}

/// Measures the latency of announces, with and without exports.
pub fn exported(bench: &Bench, core: usize) -> Result<String> {
    walked(bench, core, EXPORTS, &|admin| Company::of(move |stop| export(admin, &stop)))
}

/// Measures the latency of announces, with and without snapshots.
pub fn saved(bench: &Bench, core: usize) -> Result<String> {
    walked(bench, core, SNAPSHOTS, &|admin| Company::of(move |stop| save(admin, &stop)))
}

/// Measures the latency of announces, with and without somebody who has all swarms walked. They come
/// at half of the most that there can be, unless a rate was given.
fn walked(
    bench: &Bench,
    core: usize,
    title: &str,
    company: &dyn Fn(SocketAddr) -> Result<Company>,
) -> Result<String> {
    let server = start(bench, "Karuta", "")?;
    let target = server.udp.as_ref().context("it has no UDP")?;
    let mut load = bench.load.clone();
    if load.rate.is_none() {
        server.resume()?;
        let most = client::measure(target, &load, bench.time(), None)?;
        server.pause()?;
        load.rate = Some(0.5 * most.per_second);
    }
    let turns =
        in_turns(bench, &server, &load, core, company, &|report| Ok(report.latency_us.p99))?;
    let head = [title, "p99 µs without", "with", "with / without"];
    Ok(table::turns(head, &mut [turns]))
}

/// Starts a daemon, fills its swarms, and pauses it.
fn start(bench: &Bench, name: &str, policies: &str) -> Result<Server> {
    process::pin(&[bench.server_core])?;
    let setting = Setting { policies, ..Setting::default() };
    let server = Server::karuta(&bench.karuta, name, &setting)?;
    process::pin(&[bench.load_core])?;
    eprintln!("filling the swarms of {name}, which does something else beside");
    client::fill(server.udp.as_ref().context("it has no UDP")?, &bench.load)?;
    server.pause()?;
    Ok(server)
}

/// Measures without and with company, one after the other, which is on another `core` if there is one.
fn in_turns(
    bench: &Bench,
    server: &Server,
    load: &Load,
    core: usize,
    company: &dyn Fn(SocketAddr) -> Result<Company>,
    value: &dyn Fn(&Report) -> Result<f64>,
) -> Result<Turns> {
    let target = server.udp.as_ref().context("it has no UDP")?;
    let admin = server.admin.context("it has no admin API")?;
    let turn = |is_alone: bool| -> Result<f64> {
        server.resume()?;
        process::pin(&[core])?;
        let others = if is_alone { Company::default() } else { company(admin)? };
        process::pin(&[bench.load_core])?;
        thread::sleep(SETTLE);
        let report = client::measure(target, load, bench.time(), Some(server.pid()))?;
        others.end()?;
        server.pause()?;
        ensure!(report.wrong.is_empty() && report.requests > 0, "not every answer was right");
        value(&report)
    };
    let mut turns = Turns::new(server.name.clone());
    for round in 0..bench.rounds {
        // The first one may find the caches as others left them.
        let is_alone = round % 2 == 0;
        let [first, second] = [turn(is_alone)?, turn(!is_alone)?];
        let (alone, beside) = if is_alone { (first, second) } else { (second, first) };
        turns.one.push(alone);
        turns.other.push(beside);
    }
    Ok(turns)
}

impl Company {
    fn of_watchers(karuta: &Path, admin: SocketAddr) -> Result<Self> {
        let mut all = Self::default();
        for browser in 0..BROWSERS {
            all.add(move |stop| follow(admin, &stop));
            // They were not opened at the same time.
            all.add(move |stop| browse(admin, PANELS * browser / BROWSERS, &stop));
        }
        let mut watch = Command::new(karuta);
        watch.args(["stats", "--watch", "--admin", &admin.to_string()]);
        all.watch = Some(watch.stdout(Stdio::null()).spawn().context("karuta stats --watch")?);
        Ok(all)
    }

    fn of(work: impl FnOnce(Receiver<()>) -> Result<u64> + Send + 'static) -> Result<Self> {
        let mut all = Self::default();
        all.add(work);
        Ok(all)
    }

    fn add(&mut self, work: impl FnOnce(Receiver<()>) -> Result<u64> + Send + 'static) {
        let (sender, stop) = channel();
        self.others.push((sender, thread::spawn(move || work(stop))));
    }

    /// Ends their work.
    ///
    /// # Errors
    ///
    /// One of them was not served.
    fn end(mut self) -> Result<()> {
        if let Some(watch) = &mut self.watch {
            ensure!(watch.try_wait()?.is_none(), "karuta stats --watch has ended");
        }
        for (stop, work) in self.others.drain(..) {
            drop(stop);
            let served = work.join().map_err(|_| anyhow!("one who watched is gone"))??;
            ensure!(served > 0, "one who watched was shown nothing");
        }
        Ok(())
    }
}

impl Drop for Company {
    fn drop(&mut self) {
        if let Some(watch) = &mut self.watch {
            let _ = watch.kill();
            let _ = watch.wait();
        }
    }
}

/// Reads the event stream. Returns how many bytes came.
fn follow(admin: SocketAddr, stop: &Receiver<()>) -> Result<u64> {
    let mut stream = ask(admin, "/api/events")?;
    let mut bytes = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Err(anyhow!("the event stream has ended")),
            Ok(read) => bytes += read as u64,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        if is_over(stop, Duration::ZERO) {
            return Ok(bytes);
        }
    }
}

/// Opens the page, and asks for its panels as its script does. Returns how often.
fn browse(admin: SocketAddr, first: Duration, stop: &Receiver<()>) -> Result<u64> {
    fetch(admin, "/", stop)?;
    let (mut pause, mut times) = (first, 1);
    while !is_over(stop, pause) {
        fetch(admin, "/?brief=", stop)?;
        times += 1;
        pause = PANELS;
    }
    Ok(times)
}

/// Exports all torrents, one export after the other. Returns how many were begun.
fn export(admin: SocketAddr, stop: &Receiver<()>) -> Result<u64> {
    let mut times = 0;
    while !is_over(stop, Duration::ZERO) {
        times += 1;
        if !fetch(admin, "/api/export?format=bin", stop)? {
            break;
        }
    }
    Ok(times)
}

/// Has snapshots written, one after the other. Returns how many were begun.
fn save(admin: SocketAddr, stop: &Receiver<()>) -> Result<u64> {
    let mut times = 0;
    while !is_over(stop, Duration::ZERO) {
        times += 1;
        if !finish(post(admin, "/api/snapshot")?, "/api/snapshot", stop)? {
            break;
        }
    }
    Ok(times)
}

/// Asks for a path, and reads the answer like `finish`.
fn fetch(admin: SocketAddr, path: &str, stop: &Receiver<()>) -> Result<bool> {
    finish(ask(admin, path)?, path, stop)
}

/// Reads an answer to its end. Returns `false` if it was told to stop before.
fn finish(mut stream: TcpStream, path: &str, stop: &Receiver<()>) -> Result<bool> {
    let (mut begin, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => {
                let is_well =
                    begin.starts_with(b"HTTP/1.0 200") || begin.starts_with(b"HTTP/1.1 200");
                ensure!(is_well, "{path}: {}", begin.escape_ascii());
                return Ok(true);
            }
            Ok(read) if begin.is_empty() => begin.extend(&buffer[..read.min(200)]),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        if is_over(stop, Duration::ZERO) {
            return Ok(false);
        }
    }
}

/// Asks for a path; reads of the answer return now and then.
fn ask(admin: SocketAddr, path: &str) -> Result<TcpStream> {
    send(admin, &format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n"))
}

/// Has something done; reads of the answer return now and then.
fn post(admin: SocketAddr, path: &str) -> Result<TcpStream> {
    let body = "Content-Type: application/json\r\nContent-Length: 0\r\n\r\n";
    send(admin, &format!("POST {path} HTTP/1.0\r\nHost: localhost\r\n{body}"))
}

fn send(admin: SocketAddr, request: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(LOOK))?;
    stream.write_all(request.as_bytes())?;
    Ok(stream)
}

/// Waits, and returns whether it is over.
fn is_over(stop: &Receiver<()>, pause: Duration) -> bool {
    stop.recv_timeout(pause) != Err(RecvTimeoutError::Timeout)
}
