//! The command `replay`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::differences;
use super::{Failure, WRONG_CONFIGURATION, compiler, done_there};
use crate::config;
use crate::daemon::{self, Error, Replayed};
use crate::recording::Contents;
use crate::replay::{Allowance, Change, Recorded, Unrepeatable};
use crate::text::Escaped;

#[derive(Args)]
pub struct Replay {
    /// The recording.
    file: PathBuf,
    /// The configuration that is asked.
    #[arg(long, short, default_value = "config.yaml", value_name = "FILE")]
    config: PathBuf,
    /// What it is compared with: `recorded`, or another configuration, which is asked too.
    #[arg(long, default_value = "recorded", value_name = "recorded|FILE")]
    against: String,
    /// Show who is concerned by each difference, and an example.
    #[arg(long)]
    diff: bool,
    /// Differences that are expected, up to a share of all requests, such as ok→rejected:0.1% or
    /// interval:5%; may be given several times.
    #[arg(long, value_name = "DIFFERENCE:SHARE")]
    allow: Vec<Allowance>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The exit code for differences.
const DIFFERENT: u8 = 3;

/// Exits with 0 if nothing is different but what is allowed, and with 3 otherwise. If nothing is, but the
/// recording is damaged, exits with 1.
pub fn replay(wanted: Replay) -> ExitCode {
    match run(wanted) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(DIFFERENT),
        Err(failure) => done_there(Err(failure)),
    }
}

fn run(wanted: Replay) -> Result<bool, Failure> {
    let Replay { file, config, against, diff, allow, json } = wanted;
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let opened = File::open(&file).map_err(|error| failed(&error))?;
    let (recorded, contents) = Recorded::read(opened).map_err(|error| failed(&error))?;
    let load = |path: &Path| config::load_without_secrets(path).map_err(wrong);
    let against = (against != "recorded").then(|| load(Path::new(&against))).transpose()?;
    let replayed = daemon::replay(load(&config)?, against, compiler(), &recorded, contents.hidden);
    let replayed = replayed.map_err(|error| match error {
        Error::Config(error) => wrong(error),
        other => other.to_string().into(),
    })?;
    let is_fine = replayed.report.is_same() || Allowance::cover(&allow, &replayed.report);
    let shown = shown(&replayed, &contents, is_fine);
    match json {
        true => println!("{shown:#}"),
        false => {
            let Replayed { report, unrepeatable } = &replayed;
            print(&shown, &report.changes(), unrepeatable, diff, !allow.is_empty());
        }
    }
    if is_fine && !contents.found.is_whole() {
        return Err(failed(&format_args!("damaged: {}", contents.found)).into());
    }
    Ok(is_fine)
}

fn wrong(error: config::Error) -> Failure {
    Failure { text: error.to_string(), code: WRONG_CONFIGURATION }
}

fn shown(replayed: &Replayed, contents: &Contents, is_fine: bool) -> Value {
    let Replayed { report, unrepeatable } = replayed;
    let outcomes = report.outcomes().into_iter();
    let outcomes = outcomes.map(
        |([before, after], count)| json!({ "before": before, "after": after, "count": count }),
    );
    let by_policy = report.by_policy().into_iter();
    let by_policy = by_policy
        .map(|(before, after, count)| json!({ "before": before, "after": after, "count": count }));
    json!({
        "requests": report.requests,
        "same": report.same,
        "unreadable": report.unreadable,
        "missing": contents.missing,
        "redacted": contents.hidden.names().collect::<Vec<_>>(),
        "damage": (!contents.found.is_whole()).then(|| contents.found.to_string()),
        "allowed": is_fine,
        "outcomes": outcomes.collect::<Vec<_>>(),
        "by_policy": by_policy.collect::<Vec<_>>(),
        "changes": report.changes(),
        "unrepeatable": unrepeatable,
    })
}

fn print(
    shown: &Value,
    changes: &[Change],
    unrepeatable: &[Unrepeatable],
    diff: bool,
    has_allowances: bool,
) {
    let part = |value: &Value, key: &str| super::text(&value[key]);
    let outcomes = shown["outcomes"].as_array().cloned().unwrap_or_default();
    println!("{} requests, {} become the same", part(shown, "requests"), part(shown, "same"));
    for (key, what) in
        [("missing", "are missing in the recording"), ("unreadable", "cannot be read any more")]
    {
        if shown[key] != 0 {
            println!("{} {what}", part(shown, key));
        }
    }
    if let Some(damage) = shown["damage"].as_str() {
        println!("the recording is damaged: {}", Escaped(damage));
    }
    differences::print_unrepeatable(unrepeatable);
    println!("\n{:>10}  {:<9} AFTER", "REQUESTS", "BEFORE");
    for one in outcomes {
        println!(
            "{:>10}  {:<9} {}",
            part(&one, "count"),
            part(&one, "before"),
            part(&one, "after")
        );
    }
    if changes.is_empty() {
        return;
    }
    println!();
    differences::print_table(changes);
    for change in changes.iter().filter(|_| diff) {
        println!();
        differences::print(change);
    }
    if has_allowances {
        let word = if shown["allowed"] == true { "allowed" } else { "more than is allowed" };
        println!("\nthat is {word}");
    }
}
