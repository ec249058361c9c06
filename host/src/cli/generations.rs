//! `karuta history` and `karuta diff`: what has served, and how it differs.

use std::process::ExitCode;
use std::time::Duration;

use x509_cert::der::DateTime;

use super::reload::{DIFFERENT, print_diff, print_json};
use super::{Failure, connect};
use crate::admin::{Remote, ShownDifference, ShownHistory};
use crate::text::Escaped;

#[derive(clap::Args)]
pub struct History {
    #[command(flatten)]
    remote: Remote,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
pub struct Diff {
    #[command(flatten)]
    remote: Remote,
    /// The generation to begin with.
    from: u64,
    /// The generation to compare it with [default: what serves].
    to: Option<u64>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn history(wanted: History) -> Result<(), Failure> {
    let History { remote, json } = wanted;
    let answer = connect(remote)?.get("/api/history")?;
    let history: ShownHistory =
        serde_json::from_value(answer).map_err(|error| error.to_string())?;
    if json {
        return Ok(print_json(&history)?);
    }
    for one in &history.generations {
        let mark = if one.generation == history.serving { '*' } else { ' ' };
        let number = one.generation;
        let Some(served) = &one.served else {
            let error = one.error.as_deref().unwrap_or_default();
            println!("{mark}{number:>4}  cannot be used: {}", Escaped(error));
            continue;
        };
        let digest: String = served.content.sha256.chars().take(12).collect();
        let changes = match (&*served.changes, served.again) {
            ("", Some(again)) => format!("serving generation {again} again"),
            (changes, _) => changes.to_owned(),
        };
        println!(
            "{mark}{number:>4}  {}  {digest}  {:<10}  {}  {}",
            time(served.time),
            served.action.name(),
            Escaped(&served.by),
            Escaped(changes)
        );
    }
    if let Some(fault) = &history.fault {
        eprintln!("karuta: {}", Escaped(fault));
    }
    Ok(())
}

pub fn diff(wanted: Diff) -> Result<ExitCode, Failure> {
    let Diff { remote, from, to, json } = wanted;
    let to = to.map(|to| format!("&to={to}")).unwrap_or_default();
    let answer = connect(remote)?.get(&format!("/api/diff?from={from}{to}"))?;
    let found: ShownDifference =
        serde_json::from_value(answer).map_err(|error| error.to_string())?;
    if json {
        print_json(&found)?;
    } else {
        for plugin in &found.plugins {
            let short = |digest: &Option<String>| match digest {
                Some(digest) => digest.chars().take(12).collect(),
                None => "none".to_owned(),
            };
            let [before, after] = [&plugin.before, &plugin.after].map(short);
            println!("plugin of {}: {before} -> {after}", Escaped(&plugin.policy));
        }
        print_diff(&found.diff);
    }
    let is_same = found.diff.is_empty() && found.plugins.is_empty();
    Ok(if is_same { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) })
}

/// Writes a time in seconds since 1970 as in RFC 3339.
fn time(seconds: u64) -> String {
    let time = DateTime::from_unix_duration(Duration::from_secs(seconds));
    time.map_or_else(|_| format!("{seconds} s"), |time| time.to_string())
}
