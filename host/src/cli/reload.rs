//! `karuta reload`, `confirm` and `rollback`: what serves is changed, looked at first, or tried.

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use super::{Failure, connect, differences, text, write_back};
use crate::admin::{
    ChangedPlugin, Client, PluginFacts, Preview, Remote, Report, WantedReload, WantedRollback,
};
use crate::config;
use crate::replay::{Counted, Verdicts};
use crate::text::Escaped;

#[derive(clap::Args)]
pub struct Reload {
    #[command(flatten)]
    remote: Remote,
    /// Do all that a reload does, but serve: print what would change. Exits with 0 if nothing would,
    /// with 3 if something would.
    #[arg(long, conflicts_with_all = ["try_for", "anyway"])]
    dry_run: bool,
    /// Serve the configuration on trial, and wait: unless `karuta confirm` comes in time, the one before
    /// comes back. Exits with 0 if it was confirmed, with 3 if it was taken back.
    #[arg(long = "try", value_name = "TIME")]
    try_for: Option<String>,
    /// Take a trial back if the share of refused requests moves by more percentage points.
    #[arg(long, value_name = "PERCENT", requires = "try_for", value_parser = percent)]
    max_change: Option<f64>,
    /// Even if the file and its plugins were turned down by a rollback or a trial.
    #[arg(long)]
    anyway: bool,
    /// Refuse the file unless it has this SHA-256.
    #[arg(long, value_name = "SHA256")]
    expect: Option<String>,
    /// Refuse the file and its plugins unless they are what a dry run has shown under this digest.
    #[arg(long, value_name = "DIGEST")]
    previewed: Option<String>,
    /// Print JSON.
    #[arg(long, conflicts_with = "try_for")]
    json: bool,
}

#[derive(clap::Args)]
pub struct Rollback {
    #[command(flatten)]
    remote: Remote,
    /// The generation [default: the one before].
    generation: Option<u64>,
    /// Replace the configuration file with that generation's, and keep the old one with `.rejected` after
    /// its name.
    #[arg(long)]
    write: bool,
}

/// The exit code if something would change, or was taken back.
pub const DIFFERENT: u8 = 3;
/// How often a trial, or the file, is looked at.
const EVERY: Duration = Duration::from_millis(250);
/// How often the tracker is asked at most whether a file is its own.
const LOOKS: u32 = 10;

pub fn reload(wanted: Reload) -> Result<ExitCode, Failure> {
    let Reload { remote, dry_run, try_for, max_change, anyway, expect, previewed, json } = wanted;
    let client = connect(remote)?;
    let wanted = WantedReload { dry_run, expect, previewed, anyway, try_for, max_change };
    if dry_run {
        let preview: Preview = client.change_served("/api/reload", &wanted)?;
        match json {
            true => print_json(&preview)?,
            false => print_preview(&preview),
        }
        let code = if preview.is_different() { DIFFERENT } else { 0 };
        return Ok(ExitCode::from(code));
    }
    let report: Report = client.change_served("/api/reload", &wanted)?;
    match json {
        true => print_json(&report)?,
        false => print_report(&report),
    }
    match report.trial_seconds {
        None => Ok(ExitCode::SUCCESS),
        Some(seconds) => {
            println!(
                "on trial for {seconds} s: keep it with `karuta confirm`, take it back with `karuta rollback`"
            );
            wait(&client, report.generation)
        }
    }
}

pub fn confirm(remote: Remote) -> Result<(), Failure> {
    let report: Report = connect(remote)?.change_served("/api/confirm", &serde_json::json!({}))?;
    print_report(&report);
    Ok(())
}

pub fn roll_back(wanted: Rollback) -> Result<(), Failure> {
    let Rollback { remote, generation: to, write } = wanted;
    let file = remote.file().to_owned();
    let client = connect(remote)?;
    let mut report: Report =
        client.change_served("/api/rollback", &WantedRollback { to, text: write })?;
    let text = report.text.take();
    print_report(&report);
    let written = match (write, text) {
        (false, _) => Ok(()),
        (true, Some(text)) => put(&client, &file, &text),
        (true, None) => Err("a restart would load another plugin".to_owned()),
    };
    let pinned = client.get("/api/status")?["configuration"]["pinned"].take();
    if pinned.is_object() {
        println!("pinned: the configuration file is not in use until it changes and is reloaded");
    }
    written.map_err(|reason| format!("{} was not replaced: {reason}", file.display()))?;
    match pinned["fault"].as_str() {
        Some(_) => Err("it serves, but not after a restart".to_owned().into()),
        None => Ok(()),
    }
}

/// Replaces the configuration file of the daemon, which must not write there itself, with the text of what
/// serves.
fn put(client: &Client, file: &Path, text: &str) -> Result<(), String> {
    let here = hex::encode(config::digest(file).map_err(|error| error.to_string())?);
    let is_there = || {
        let status = client.get("/api/status")?;
        Ok::<_, String>(status["configuration"]["sha256_on_disk"] == *here)
    };
    // It looks at its file once a second.
    let mut looks = 0;
    while !is_there()? {
        looks += 1;
        if looks == LOOKS {
            return Err("it is not the file of this tracker; name it with `--config`".to_owned());
        }
        thread::sleep(EVERY);
    }
    let rejected = write_back::replace(file, text).map_err(|error| error.to_string())?;
    match rejected {
        Some(rejected) => {
            println!(
                "wrote {}; what was there is {}",
                Escaped(file.display()),
                Escaped(rejected.display())
            );
        }
        None => println!("{} is that already", Escaped(file.display())),
    }
    let wanted = WantedReload::default();
    client.change_served::<Report>("/api/reload", &wanted).map(drop)
}

/// Waits for the end of a trial.
fn wait(client: &Client, generation: u64) -> Result<ExitCode, Failure> {
    while client.get("/api/status")?["trial"]["generation"] == generation {
        thread::sleep(EVERY);
    }
    let attempts = client.get("/api/reloads")?;
    let mut attempts = attempts.as_array().into_iter().flatten();
    let end = attempts.find(|one| one["outcome"] == "confirmed" || one["outcome"] == "taken back");
    let Some(end) = end else { return Err("the end of the trial is not known".to_owned().into()) };
    let by = text(&end["by"]);
    if end["outcome"] == "confirmed" {
        println!("generation {generation}: confirmed by {by}");
        return Ok(ExitCode::SUCCESS);
    }
    let policy = end["policy"].as_str().map(|policy| format!("policy `{}`: ", Escaped(policy)));
    let why = match end["reason"].as_str() {
        Some(reason) => format!("{}{}", policy.unwrap_or_default(), Escaped(reason)),
        None => format!("by {by}"),
    };
    println!("generation {generation}: taken back: {why}");
    Ok(ExitCode::from(DIFFERENT))
}

fn print_report(report: &Report) {
    println!("generation {}: {}", report.generation, Escaped(report));
    if !report.needs_restart.is_empty() {
        println!("waiting for a restart: {}", Escaped(report.needs_restart.join(", ")));
    }
    for remark in &report.remarks {
        eprintln!("karuta: {}", Escaped(remark));
    }
}

fn print_preview(preview: &Preview) {
    let Preview { report, content, diff, plugins, promoted, verdicts, obstacle, .. } = preview;
    match preview.is_different() {
        true => println!("would be generation {}: {}", report.generation, Escaped(report)),
        false => println!("nothing would change"),
    }
    if !report.needs_restart.is_empty() {
        println!("would wait for a restart: {}", Escaped(report.needs_restart.join(", ")));
    }
    if let Some(obstacle) = obstacle {
        println!("would be refused: {}", Escaped(obstacle));
    }
    for ChangedPlugin { policy, before, after } in plugins {
        println!("plugin of {}:", Escaped(policy));
        print_plugin("before", before.as_ref(), after.as_ref());
        print_plugin("after", after.as_ref(), before.as_ref());
    }
    print_diff(diff);
    if preview.is_different() {
        promoted.iter().for_each(|promoted| println!("{}", Escaped(promoted)));
        print_verdicts(verdicts);
        println!("to apply just this: karuta reload --previewed {}", Escaped(content));
    }
}

/// Prints what the last requests would become.
fn print_verdicts(verdicts: &Verdicts) {
    println!("{}", Escaped(verdicts));
    if verdicts.drifted > 0 {
        println!("what serves would answer {} of them otherwise by now", verdicts.drifted);
    }
    differences::print_unrepeatable(&verdicts.unrepeatable);
    for change in &verdicts.changes {
        let most = |counted: &[Counted]| match counted.first() {
            Some(Counted { name, count }) => format!("{name} {count}"),
            None => "none".to_owned(),
        };
        let [network, agent, torrent] =
            [&change.networks, &change.agents, &change.torrents].map(|counted| most(counted));
        println!(
            "  {}: most from {}, of peer id {}, of torrent {}",
            Escaped(change),
            Escaped(network),
            Escaped(agent),
            Escaped(torrent)
        );
    }
}

/// Prints what is known of a plugin, and which interfaces it calls that the `other` does not.
fn print_plugin(when: &str, plugin: Option<&PluginFacts>, other: Option<&PluginFacts>) {
    let Some(PluginFacts { sha256, bytes, contract, imports }) = plugin else {
        return println!("  {when:<7} none");
    };
    let digest: String = sha256.chars().take(12).collect();
    let Some(bytes) = bytes else {
        return println!("  {when:<7} {}, whose file is gone", Escaped(digest));
    };
    let contract = contract.join(", ");
    println!("  {when:<7} {}  {bytes} bytes  contract {}", Escaped(digest), Escaped(contract));
    let known = other.map(|other| &*other.imports).unwrap_or_default();
    let alone: Vec<_> =
        imports.iter().filter(|one| !known.contains(one)).map(|one| &**one).collect();
    if !alone.is_empty() {
        println!(
            "          {}calls {}",
            if known.is_empty() { "" } else { "also " },
            Escaped(alone.join(", "))
        );
    }
}

/// Prints a diff line by line: what it shows may come from anywhere.
pub fn print_diff(diff: &str) {
    diff.lines().for_each(|line| println!("{}", Escaped(line)));
}

pub fn print_json(value: &impl serde::Serialize) -> Result<(), String> {
    let text = serde_json::to_string_pretty(value).map_err(|error| error.to_string())?;
    println!("{text}");
    Ok(())
}

/// Parses a number of percentage points: `5` or `5%`.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    let number = number.parse().ok().filter(|number| (0.0..=100.0).contains(number));
    number.ok_or_else(|| "expected 0 to 100, such as 5%".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentage_points_have_a_sign_or_none() {
        assert_eq!(percent("5%"), Ok(5.0));
        assert_eq!(percent("0.5"), Ok(0.5));
        for wrong in ["", "%", "101", "-1", "NaN", "five"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
    }
}
