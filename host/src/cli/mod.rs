//! The command line.

mod accounts;
mod decisions;
mod differences;
mod explain;
mod generations;
mod lists;
mod record;
mod reload;
mod replay;
mod share;
mod swarms;
mod write_back;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{CommandFactory, Parser, Subcommand};

use crate::admin::{Client, Remote, SnapshotReport, Unknown};
use crate::author;
use crate::config::{self, Config};
use crate::daemon::{self, Error, Start};
use crate::doctor::Doctor;
use crate::jwt;
use crate::log;
use crate::manual;
use crate::policy::{CompileJob, Compiler};
use crate::probe::Probe;
use crate::process;
use crate::service::{self, Inheritance};
use crate::snapshot::{Contents, look};
use crate::text::Escaped;
use crate::time;

/// A BitTorrent tracker whose policies are WebAssembly components.
#[derive(Parser)]
#[command(name = "karuta", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT.
    Run(ConfigArg),
    /// Check that `run` would accept the configuration. Loads every plugin, but does not listen.
    Check(ConfigArg),
    /// Compile the policies into the state folder, so that the next start need not. Needs no secrets.
    Warm(ConfigArg),
    /// Look for what is wrong around the tracker: the machine, its files, the service.
    Doctor(Doctor),
    /// Tell the running daemon to reload its configuration and plugins; or only to look, or to try them.
    Reload(reload::Reload),
    /// Keep the generation that is on trial.
    Confirm(Remote),
    /// Serve an earlier generation again, with the plugins that it had, until the configuration changes.
    Rollback(reload::Rollback),
    /// Show the generations that have served.
    History(generations::History),
    /// Show how two generations differ.
    Diff(generations::Diff),
    /// Show how each policy and limit of the running daemon would answer an announce or scrape. Has no
    /// effect on swarms.
    Explain(explain::Explain),
    /// Create and verify tokens for the policy `jwt`.
    Jwt {
        #[command(subcommand)]
        command: jwt::Command,
    },
    /// Create, build, test and measure policies.
    #[command(subcommand)]
    Plugin(author::Command),
    /// Compile one component for another process of this program.
    #[command(hide = true, name = CompileJob::COMMAND)]
    Compile(CompileJob),
    /// Write the manual pages and the completions of shells, for a package.
    #[command(hide = true)]
    Manual {
        /// A folder laid out like `/usr/share`.
        folder: PathBuf,
    },
    /// Ask trackers as a client would, and say how they answered. Leaves no peer behind.
    Probe(Probe),
    /// Keep swarms over a restart, and look at what was kept.
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Show how many swarms, peers and requests the running daemon has.
    Stats(swarms::Stats),
    /// Show the torrents with the most peers.
    Top(swarms::Top),
    /// Show a swarm.
    Swarm(swarms::Swarm),
    /// Write all torrents with their counts, in a format that others read.
    Export(swarms::Export),
    /// Read and edit lists of the running daemon's policies.
    #[command(subcommand)]
    List(lists::Command),
    /// Read and change the members and torrents of a private tracker.
    #[command(subcommand)]
    Accounts(accounts::Command),
    /// Enter torrents that another tracker, or this one, exported.
    ///
    /// Counts of downloads are raised to those of the file, never added up, so importing a file again
    /// changes nothing. Peers are entered with their ages.
    Import(swarms::Import),
    /// Show the last requests that were refused, by whom and why.
    Refused(decisions::Refused),
    /// Show whom a policy in shadow mode would shut out, and why.
    Shadow(decisions::Shadow),
    /// Show decisions as they are made, a JSON object on each line.
    Tap(decisions::Tap),
    /// Record requests as they come, with what becomes of them, into a file.
    Record(record::Record),
    /// Show what is in recordings.
    Recording(record::Recording),
    /// Ask a configuration about the requests of a recording, and show what would be different.
    Replay(replay::Replay),
    /// Show whether all is well, and the running daemon's listeners and policies.
    Status {
        #[command(flatten)]
        remote: Remote,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum Snapshot {
    /// Make the running daemon write a snapshot now.
    Save(Remote),
    /// Show what is in the file of a snapshot.
    Info { file: PathBuf },
    /// Check that the file of a snapshot is whole.
    Verify { file: PathBuf },
}

#[derive(clap::Args)]
struct ConfigArg {
    /// The configuration file.
    #[arg(long, short, default_value = "config.yaml", value_name = "FILE")]
    config: PathBuf,
}

/// The exit code for an invalid configuration (`EX_CONFIG` of sysexits.h).
const WRONG_CONFIGURATION: u8 = 78;
/// How long the reader of the log may take over its last lines.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs the command line. Exit codes: 0 success, 1 failure, 2 wrong usage, 78 invalid
/// configuration.
pub fn main() -> ExitCode {
    let command = Arguments::parse().command;
    process::outlive_large_files();
    if !matches!(command, Command::Run(_)) {
        // The reader of our output may close it early.
        sigpipe::reset();
    }
    let done = match command {
        Command::Run(source) => run(source),
        Command::Check(source) => {
            load(&source).and_then(|config| daemon::check(config, compiler())).map(|warnings| {
                for warning in warnings {
                    eprintln!("{}", Escaped(warning));
                }
                if let Some(pinned) = daemon::Pinned::find(&source.config) {
                    eprintln!("warning: {}", Escaped(pinned));
                }
                println!("{}: fine", source.config.display());
            })
        }
        Command::Warm(source) => warm(&source),
        Command::Reload(wanted) => return ended_there(reload::reload(wanted)),
        Command::Confirm(remote) => return done_there(reload::confirm(remote)),
        Command::Rollback(wanted) => return done_there(reload::roll_back(wanted)),
        Command::History(wanted) => return done_there(generations::history(wanted)),
        Command::Diff(wanted) => return ended_there(generations::diff(wanted)),
        Command::Explain(wanted) => return done_there(explain::explain(wanted)),
        Command::Jwt { command } => return done_there(jwt::run(command).map_err(Failure::from)),
        Command::Plugin(command) => return author::main(command, &compiler()),
        Command::Compile(job) => return job.carry_out(),
        Command::Manual { folder } => {
            let written = manual::write(Arguments::command(), &folder);
            return done_there(written.map_err(|error| {
                Failure::from(format!("cannot write into {}: {error}", folder.display()))
            }));
        }
        Command::Doctor(doctor) => return doctor.run(compiler()),
        Command::Probe(probe) => return probe.run(),
        Command::Snapshot(command) => return done_there(snapshot(command)),
        Command::Stats(wanted) => return done_there(swarms::stats(wanted)),
        Command::Top(wanted) => return done_there(swarms::top(wanted)),
        Command::Swarm(wanted) => return done_there(swarms::swarm(wanted)),
        Command::Export(wanted) => return done_there(swarms::export(wanted)),
        Command::List(command) => {
            return lists::run(command).unwrap_or_else(|failure| done_there(Err(failure)));
        }
        Command::Accounts(command) => return done_there(accounts::run(command)),
        Command::Import(wanted) => return done_there(swarms::import(wanted)),
        Command::Refused(wanted) => return done_there(decisions::refused(wanted)),
        Command::Shadow(wanted) => return done_there(decisions::shadow(wanted)),
        Command::Tap(wanted) => return done_there(decisions::tap(wanted)),
        Command::Record(wanted) => return done_there(record::record(wanted)),
        Command::Replay(wanted) => return replay::replay(wanted),
        Command::Recording(wanted) => return record::recording(wanted),
        Command::Status { remote, json } => {
            return done_there(connect(remote).and_then(|client| status(&client, json)));
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Config(error)) => {
            eprintln!("{}", Escaped(error));
            ExitCode::from(WRONG_CONFIGURATION)
        }
        // There may be no reader.
        Err(Error::Hurried) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("karuta: {}", Escaped(error));
            ExitCode::FAILURE
        }
    }
}

fn run(source: ConfigArg) -> Result<(), Error> {
    let start = Start::read(&source.config);
    let start = start.map_err(|error| match (error, service::hint(&source.config)) {
        (Error::Config(error), Some(hint)) => Error::Config(error.with_hint(hint)),
        (error, _) => error,
    })?;
    let (inheritance, unfit) = Inheritance::of_environment();
    process::outlive_log_rotation();
    log::start(&start.config.log);
    for reason in unfit {
        tracing::warn!(reason, "closing a file that the service manager passed");
    }
    let done = daemon::run(start, source.config, compiler(), inheritance);
    log::flush(PATIENCE);
    done
}

fn warm(source: &ConfigArg) -> Result<(), Error> {
    let config = config::load_without_secrets(&source.config).map_err(Error::Config)?;
    daemon::warm(&config, compiler(), |policy, compiled| {
        println!("{policy}: {}", if compiled { "compiled" } else { "compiled already" });
    })
}

/// Returns this program, even if its file has been replaced.
fn compiler() -> Compiler {
    Compiler::Child("/proc/self/exe".into())
}

fn load(source: &ConfigArg) -> Result<Config, Error> {
    config::load(&source.config).map_err(Error::Config)
}

fn done_there(done: Result<(), Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { text, code }) => {
            eprintln!("{}", Escaped(text));
            ExitCode::from(code)
        }
    }
}

/// As [`done_there`], of a command whose exit code says something.
fn ended_there(ended: Result<ExitCode, Failure>) -> ExitCode {
    ended.unwrap_or_else(|failure| done_there(Err(failure)))
}

/// Why a command failed, and its exit code.
struct Failure {
    text: String,
    code: u8,
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self { text: format!("karuta: {text}"), code: 1 }
    }
}

impl From<Unknown> for Failure {
    fn from(unknown: Unknown) -> Self {
        match unknown {
            Unknown::Config(error) => Self { text: error.to_string(), code: WRONG_CONFIGURATION },
            Unknown::Credential(text) => text.into(),
        }
    }
}

fn connect(remote: Remote) -> Result<Client, Failure> {
    Ok(remote.client()?)
}

fn snapshot(command: Snapshot) -> Result<(), Failure> {
    let look = |file: &Path| {
        let contents = File::open(file).map_err(|error| error.to_string());
        let contents = contents.and_then(|file| look(file).map_err(|error| error.to_string()));
        contents.map_err(|reason| format!("{}: {reason}", file.display()))
    };
    match command {
        Snapshot::Save(remote) => {
            let SnapshotReport { swarms, peers, bytes, milliseconds } =
                connect(remote)?.snapshot()?;
            println!("{swarms} swarms, {peers} peers: {bytes} bytes in {milliseconds} ms");
        }
        Snapshot::Info { file } => show(&look(&file)?),
        Snapshot::Verify { file } => {
            let contents = look(&file)?;
            if !contents.found.is_whole() {
                return Err(format!("{}: {}", file.display(), contents.found).into());
            }
            println!("{}: whole, {} blocks", Escaped(file.display()), contents.found.blocks);
        }
    }
    Ok(())
}

fn show(contents: &Contents) {
    let Contents { header, swarms, peers: [ipv4, ipv6], deserted, policies, .. } = contents;
    let writer = String::from_utf8_lossy(&header.writer);
    let created = UNIX_EPOCH.checked_add(Duration::from_millis(header.created));
    let age = created.and_then(|created| SystemTime::now().duration_since(created).ok());
    let age = age.map_or("in the future".into(), |age| format!("{} s old", age.as_secs()));
    println!("written by  {}", Escaped(writer.trim_end_matches('\0')));
    println!("created     {} ms since 1970, {age}", header.created);
    println!("swarms      {swarms}");
    println!("peers       {ipv4} IPv4, {ipv6} IPv6, for up to {} s", header.parameter);
    println!("downloads   of {deserted} more torrents without peers");
    for (name, [entries, rows]) in policies {
        println!("policy      {}: {entries} key-values, {rows} peers' reports", Escaped(name));
    }
    if !contents.found.is_whole() {
        println!("damaged     {}", contents.found);
    }
}

/// Formats a value of an answer, which policies and clients can influence.
fn text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => Escaped(text).to_string(),
        other => Escaped(other).to_string(),
    }
}

/// Says how long ago a time in seconds since 1970 is; `None` if it is not over.
fn ago(time: u64) -> Option<String> {
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(time))?;
    let passed = SystemTime::now().duration_since(time).ok()?;
    Some(format!("{} s ago ", passed.as_secs()))
}

/// Returns the time in seconds since 1970.
fn now() -> u64 {
    time::since_1970().as_secs()
}

fn status(client: &Client, json: bool) -> Result<(), Failure> {
    let status = client.get("/api/status")?;
    if json {
        println!("{status:#}");
        return Ok(());
    }
    println!("{}", text(&status["health"]["word"]));
    for reason in status["health"]["reasons"].as_array().into_iter().flatten() {
        println!("  {}: {}", text(&reason["panel"]), text(&reason["text"]));
    }
    println!("generation {}, up {} s", status["generation"], status["uptime_seconds"]);
    let configuration = &status["configuration"];
    let digest: String = text(&configuration["sha256_serving"]).chars().take(12).collect();
    println!("configuration {} {digest}", text(&configuration["path"]));
    if let Some(outcome) = status["last_reload"]["outcome"].as_str() {
        let ago = status["last_reload"]["time"].as_u64().and_then(ago).unwrap_or_default();
        let by = text(&status["last_reload"]["by"]);
        println!("last reload {ago}by {by}: {}", Escaped(outcome));
    }
    let pinned = &configuration["pinned"];
    if pinned.is_object() {
        let ago = pinned["since"].as_u64().and_then(ago).unwrap_or_default();
        let (generation, by) = (&pinned["generation"], text(&pinned["by"]));
        println!("pinned {ago}by {by}: serving generation {generation} again");
    }
    let trial = &status["trial"];
    if trial.is_object() {
        let left =
            trial["until"].as_u64().map(|until| until.saturating_sub(now())).unwrap_or_default();
        let (generation, previous) = (&trial["generation"], &trial["previous"]);
        println!("on trial: generation {generation} for {left} s more, else {previous} comes back");
    }
    println!("landlock {}", text(&status["landlock"]));
    if let Some(age) = status["snapshot"]["age_seconds"].as_u64() {
        println!("snapshot {age} s old");
    }
    if let Some(error) = status["snapshot"]["error"].as_str() {
        println!("snapshot failed: {}", Escaped(error));
    }
    for export in status["exports"].as_array().into_iter().flatten() {
        let path = text(&export["path"]);
        match (export["error"].as_str(), export["age_seconds"].as_u64()) {
            (Some(error), _) => println!("export {path} failed: {}", Escaped(error)),
            (None, Some(age)) => println!("export {path} {age} s old"),
            (None, None) => println!("export {path} is not written yet"),
        }
    }
    let record = &status["record"];
    if record["recording"] == true {
        println!("recording requests into a file");
    }
    if let Some(span) = record["span_seconds"].as_f64() {
        println!("the last {span:.0} s of requests are recorded");
    }
    if let Some(shared) = share::lines(&status["share"]) {
        println!("{shared}");
    }
    let accounts = &status["accounts"];
    if accounts.is_object() {
        let counts = ["members", "torrents", "sessions"]
            .map(|what| format!("{} {what}", text(&accounts[what])));
        println!("accounts {}", counts.join(", "));
    }
    if let Some(error) = accounts["error"].as_str() {
        println!("accounts cannot be written: {}", Escaped(error));
    }
    let database = &accounts["database"];
    if database.is_object() {
        let [pending, batches, rejected] =
            ["pending_rows", "applied_batches", "rejected_rows"].map(|what| text(&database[what]));
        let state = if database["up"] == true { "up" } else { "down" };
        println!(
            "database {state}, {pending} rows wait, {batches} batches written, {rejected} rows refused"
        );
    }
    if let Some(error) = database["error"].as_str() {
        println!("the accounts' database cannot be used: {}", Escaped(error));
    }
    for listener in status["listeners"].as_array().into_iter().flatten() {
        print!("{:<6} {}", text(&listener["transport"]), text(&listener["address"]));
        let buffer = &listener["receive_buffer"];
        match (buffer["granted"].as_u64(), buffer["requested"].as_u64()) {
            (Some(granted), Some(requested)) if granted < requested => {
                let kib = [granted, requested].map(|bytes| bytes / 1024);
                println!("  receive buffer {} KiB of {} KiB (net.core.rmem_max)", kib[0], kib[1]);
            }
            _ => println!(),
        }
    }
    let policies = status["policies"].as_array().cloned().unwrap_or_default();
    if policies.is_empty() {
        return Ok(());
    }
    println!(
        "\n{:<24} {:<8} {:>9} {:>8} {:>10}  DIGEST",
        "POLICY", "STATE", "INSTANCES", "RESTARTS", "MEMORY"
    );
    for policy in policies {
        let kib = policy["memory_bytes"].as_u64().unwrap_or(0) / 1024;
        let digest: String = text(&policy["digest"]).chars().take(12).collect();
        // That it decides nothing is what is to be known of one that is well.
        let state = match (policy["mode"].as_str(), policy["state"].as_str()) {
            (Some("shadow"), Some("ready")) => "shadow".to_owned(),
            _ => text(&policy["state"]),
        };
        println!(
            "{:<24} {:<8} {:>9} {:>8} {:>6} KiB  {digest}",
            text(&policy["name"]),
            state,
            text(&policy["instances"]),
            text(&policy["restarts"]),
            kib,
        );
        for data in policy["data"].as_array().into_iter().flatten() {
            let (name, version) = (text(&data["name"]), &data["version"]);
            let edits = data["edits"].as_u64().filter(|edits| *edits > 0);
            let edits = edits.map(|edits| format!(", {edits} edits not in the file"));
            let edits = edits.unwrap_or_default();
            match data["age_seconds"].as_u64() {
                Some(age) => println!(
                    "  {name}: version {version}, {} entries, read {age} s ago{edits}",
                    data["entries"]
                ),
                None => println!("  {name}: nothing yet{edits}"),
            }
        }
    }
    Ok(())
}
