//! Commands about the flight recorder: `record` and `recording`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::BufWriter;
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use super::{Failure, connect, done_there};
use crate::admin::{Outcomes, RecordQuestion, Remote};
use crate::config::parse_duration;
use crate::decisions::time;
use crate::metrics::TRANSPORTS;
use crate::recording::{self, Contents, Hidden, ScenePolicy};
use crate::text::{Escaped, count};
use crate::time;

#[derive(Args)]
pub struct Record {
    /// For how long, such as 10m; at most 1d.
    #[arg(long = "for", value_name = "TIME", value_parser = whole_seconds)]
    time: Duration,
    /// Stop after so many requests.
    #[arg(short, long, value_parser = clap::value_parser!(u64).range(1..))]
    n: Option<u64>,
    /// Only one client in so many, such as 1/10, with all of its requests.
    #[arg(long, value_name = "SHARE", value_parser = one_in)]
    sample: Option<NonZeroU32>,
    /// Only clients of this address or range, such as 198.51.100.0/24.
    #[arg(long, value_name = "RANGE")]
    from: Option<String>,
    /// Only this torrent, in 40 hexadecimal digits.
    #[arg(long, value_name = "HASH")]
    info_hash: Option<String>,
    /// Only requests that ended so; several are divided by commas.
    #[arg(long, value_delimiter = ',', value_parser = ["ok", "rejected", "dropped"])]
    outcome: Vec<String>,
    /// Hide credentials, addresses, or both: `credentials,addresses`.
    #[arg(long, value_name = "WHAT", value_parser = hidden)]
    redact: Option<Hidden>,
    /// The new file. Only its owner can read it.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub struct Recording {
    /// The files.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Remove those that are kept for longer than `record.retain` allowed when they were made.
    #[arg(long)]
    remove_expired: bool,
    /// Copy the file, and hide credentials, addresses, or both: `credentials,addresses`.
    #[arg(long, value_name = "WHAT", value_parser = hidden, requires = "out")]
    redact: Option<Hidden>,
    /// The new file, for `--redact`. Only its owner can read it.
    #[arg(long, value_name = "FILE", requires = "redact")]
    out: Option<PathBuf>,
    /// Print JSON, an object for each file.
    #[arg(long)]
    json: bool,
}

/// Creates a recording. It holds addresses, passkeys and tokens.
fn create(file: &Path) -> Result<File, String> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    opened.map_err(|error| format!("{}: {error}", file.display()))
}

fn hidden(text: &str) -> Result<Hidden, &'static str> {
    text.parse()
}

fn whole_seconds(text: &str) -> Result<Duration, &'static str> {
    let whole = parse_duration(text).filter(|time| time.subsec_nanos() == 0 && !time.is_zero());
    whole.ok_or("expected whole seconds, such as 30s or 10m")
}

fn one_in(text: &str) -> Result<NonZeroU32, &'static str> {
    let many = text.strip_prefix("1/").and_then(|many| many.parse().ok());
    many.ok_or("expected one in a number, such as 1/10")
}

pub fn record(wanted: Record) -> Result<(), Failure> {
    let Record { time, n, sample, from, info_hash, outcome, redact, out, remote } = wanted;
    let outcome = (!outcome.is_empty()).then_some(Outcomes::Any(outcome));
    let redact = redact.map(|hidden| hidden.names().collect::<Vec<_>>().join(","));
    let seconds = time.as_secs();
    let question = RecordQuestion { seconds, n, sample, from, info_hash, outcome, redact };
    let client = connect(remote)?;
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", out.display());
    let mut file = create(&out)?;
    let recorded = client
        .record(&question, &mut file)
        .and_then(|()| file.sync_all().map_err(|error| failed(&error)));
    if let Err(reason) = recorded {
        // What has come is a recording that is cut off; what has not come is nothing.
        let is_empty = fs::metadata(&out).is_ok_and(|found| found.len() == 0);
        if is_empty {
            let _ = fs::remove_file(&out);
        }
        return Err(reason.into());
    }
    let contents = look(&out)?;
    println!("{}, {} are missing", count(contents.records, "request"), contents.missing);
    match contents.found.is_whole() {
        true => Ok(()),
        false => Err(failed(&contents.found).into()),
    }
}

/// Goes on after a file that is damaged or cannot be used, and exits with 1 then.
pub fn recording(wanted: Recording) -> ExitCode {
    let Recording { files, remove_expired, redact, out, json } = wanted;
    if let (Some(hidden), Some(out)) = (redact, out) {
        return done_there(copy(&files, hidden, &out).map_err(Failure::from));
    }
    let now = time::since_1970().as_millis();
    let mut code = ExitCode::SUCCESS;
    for file in &files {
        let done = match remove_expired {
            true => remove_expired_one(file, now),
            false => show(file, now, json),
        };
        if let Err(reason) = done {
            code = done_there(Err(reason.into()));
        }
    }
    code
}

fn copy(files: &[PathBuf], hidden: Hidden, out: &Path) -> Result<(), String> {
    let [file] = files else { return Err("--redact copies one file".to_owned()) };
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let from = open(file)?;
    let to = BufWriter::new(create(out)?);
    let contents = recording::rewrite(from, to, hidden).map_err(|error| {
        let _ = fs::remove_file(out);
        failed(&error)
    })?;
    println!("{}", count(contents.records, "request"));
    match contents.found.is_whole() {
        true => Ok(()),
        false => Err(failed(&format_args!("damaged, and so is the copy: {}", contents.found))),
    }
}

fn remove_expired_one(file: &Path, now: u128) -> Result<(), String> {
    if now > u128::from(look(file)?.keep_until()) {
        fs::remove_file(file).map_err(|error| format!("{}: {error}", file.display()))?;
        println!("{}: removed", Escaped(file.display()));
    }
    Ok(())
}

fn show(file: &Path, now: u128, json: bool) -> Result<(), String> {
    let shown = shown(file)?;
    match json {
        true => println!("{shown:#}"),
        false => print(&shown, now),
    }
    match shown["damage"].as_str() {
        None => Ok(()),
        Some(damage) => Err(format!("{}: damaged: {damage}", file.display())),
    }
}

fn open(file: &Path) -> Result<File, String> {
    File::open(file).map_err(|error| format!("{}: {error}", file.display()))
}

fn look(file: &Path) -> Result<Contents, String> {
    recording::look(open(file)?).map_err(|error| format!("{}: {error}", file.display()))
}

/// Returns what a recording holds.
fn shown(file: &Path) -> Result<Value, String> {
    let mut counts = [(); 4].map(|()| BTreeMap::<String, u64>::new());
    let mut times: Option<(u64, u64)> = None;
    let read = recording::read(open(file)?, |record, _| {
        let transport = TRANSPORTS.iter().find(|(known, _)| *known == record.transport);
        let action = if record.is_scrape { "scrape" } else { "announce" };
        let mut add = |of: usize, name: &str| *counts[of].entry(name.to_owned()).or_default() += 1;
        add(0, transport.map_or("", |(_, name)| name));
        add(1, action);
        add(2, record.outcome.name());
        if !record.decided_by.is_empty() {
            add(3, record.decided_by);
        }
        let (first, last) = times.unwrap_or((record.time, record.time));
        times = Some((first.min(record.time), last.max(record.time)));
    });
    let contents = read.map_err(|error| format!("{}: {error}", file.display()))?;
    let [transports, actions, outcomes, decided_by] = counts;
    let writer = String::from_utf8_lossy(&contents.header.writer);
    Ok(json!({
        "file": file.display().to_string(),
        "writer": writer.trim_end_matches('\0'),
        "created": time(contents.header.created),
        "keep_until": time(contents.keep_until()),
        "keep_until_unix_ms": contents.keep_until(),
        "first": times.map(|(first, _)| time(first / 1000)),
        "last": times.map(|(_, last)| time(last / 1000)),
        "requests": contents.records,
        "missing": contents.missing,
        "redacted": contents.hidden.names().collect::<Vec<_>>(),
        "transports": transports,
        "actions": actions,
        "outcomes": outcomes,
        "decided_by": decided_by,
        "scenes": contents.scenes,
        "whole": contents.found.is_whole(),
        "damage": (!contents.found.is_whole()).then(|| contents.found.to_string()),
    }))
}

fn print(shown: &Value, now: u128) {
    let part = |key: &str| super::text(&shown[key]);
    let counts = |key: &str| {
        let counts = shown[key].as_object().into_iter().flatten();
        let counts: Vec<_> = counts.map(|(name, count)| format!("{count} {name}")).collect();
        Escaped(counts.join(", ")).to_string()
    };
    println!("{}", part("file"));
    println!("written by  {}, {}", part("writer"), part("created"));
    let is_expired = shown["keep_until_unix_ms"].as_u64().is_some_and(|until| now > until.into());
    println!(
        "keep until  {}{}",
        part("keep_until"),
        if is_expired { ": that is over" } else { "" }
    );
    if !shown["first"].is_null() {
        println!("requests    {} from {} to {}", part("requests"), part("first"), part("last"));
        for key in ["transports", "actions", "outcomes"] {
            println!("            {}", counts(key));
        }
        let decided_by = counts("decided_by");
        if !decided_by.is_empty() {
            println!("decided by  {decided_by}");
        }
    } else {
        println!("requests    0");
    }
    println!("missing     {}", part("missing"));
    for hidden in shown["redacted"].as_array().into_iter().flatten() {
        println!("hidden      {}", super::text(hidden));
    }
    for scene in shown["scenes"].as_array().into_iter().flatten() {
        let config: String = super::text(&scene["config"]).chars().take(12).collect();
        println!("generation  {} of the configuration {config}", super::text(&scene["generation"]));
        let policies: Vec<ScenePolicy> =
            serde_json::from_value(scene["policies"].clone()).unwrap_or_default();
        for ScenePolicy { name, digest, mode, .. } in policies {
            let digest: String = digest.chars().take(12).collect();
            println!("  policy    {}", Escaped(format!("{name} {digest} {mode}")));
        }
    }
    if shown["whole"] == false {
        println!("damaged     {}", part("damage"));
    }
}
