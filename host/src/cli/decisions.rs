//! Commands about decisions: `refused`, `shadow` and `tap`.

use std::io;

use clap::Args;
use serde_json::Value;
use url::form_urlencoded;

use super::{Failure, connect, text};
use crate::admin::{Outcomes, Remote, TapQuestion};
use crate::text::Escaped;

#[derive(Args)]
pub struct Refused {
    /// Only clients of this address or range, such as 198.51.100.0/24.
    #[arg(long, value_name = "RANGE")]
    from: Option<String>,
    /// Only this torrent, in 40 hexadecimal digits.
    #[arg(long, value_name = "HASH")]
    info_hash: Option<String>,
    /// Only what this policy has decided, or `tracker.limits` or `swarms.limits`.
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Only if the client was told this, in any case.
    #[arg(long)]
    text: Option<String>,
    /// How many refusals to show, 1 to 1000. The groups are of all.
    #[arg(short, long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    n: u16,
    #[command(flatten)]
    remote: Remote,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct Shadow {
    /// The name of a policy with `mode: shadow`.
    policy: String,
    #[command(flatten)]
    remote: Remote,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct Tap {
    /// Only clients of this address or range, such as 198.51.100.0/24.
    #[arg(long, value_name = "RANGE")]
    from: Option<String>,
    /// Only requests that ended so; several are divided by commas.
    #[arg(long, value_delimiter = ',', value_parser = ["ok", "rejected", "dropped"])]
    outcome: Vec<String>,
    /// Only this torrent, in 40 hexadecimal digits.
    #[arg(long, value_name = "HASH")]
    info_hash: Option<String>,
    /// Only what this policy has decided, or would have; or `tracker.limits` or `swarms.limits`.
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Stop after so many [default: 100000, or 10 minutes].
    #[arg(short, long, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    n: Option<u64>,
    #[command(flatten)]
    remote: Remote,
}

pub fn refused(wanted: Refused) -> Result<(), Failure> {
    let Refused { from, info_hash, policy, text: contained, n, remote, json } = wanted;
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("n", &n.to_string());
    let given =
        [("address", from), ("info_hash", info_hash), ("policy", policy), ("text", contained)];
    for (key, value) in given {
        if let Some(value) = value {
            query.append_pair(key, &value);
        }
    }
    let answer = connect(remote)?.get(&format!("/api/refused?{}", query.finish()))?;
    if json {
        println!("{answer:#}");
        return Ok(());
    }
    if answer["matching"] == 0 {
        println!("nothing was refused");
        return Ok(());
    }
    println!("since {}", text(&answer["since"]));
    println!("{:>7}  {:<24} TEXT", "COUNT", "DECIDED BY");
    for group in items(&answer["groups"]) {
        println!(
            "{:>7}  {:<24} {}",
            text(&group["count"]),
            text(&group["decided_by"]),
            said(&group["outcome"], &group["reason"])
        );
    }
    println!();
    for refusal in items(&answer["refusals"]) {
        println!("{}", line(refusal));
    }
    if let Some(lost) = answer["lost"].as_u64().filter(|lost| *lost > 0) {
        println!("\n{lost} more came too fast to be noted");
    }
    Ok(())
}

pub fn shadow(Shadow { policy, remote, json }: Shadow) -> Result<(), Failure> {
    let name: String = form_urlencoded::byte_serialize(policy.as_bytes()).collect();
    let answer = connect(remote)?.get(&format!("/api/shadow/{name}"))?;
    if json {
        println!("{answer:#}");
        return Ok(());
    }
    let counts = &answer["counts"];
    let asked: u64 = ["pass", "reject", "drop", "change", "error"]
        .iter()
        .filter_map(|would| counts[would].as_u64())
        .sum();
    println!("{} was asked {asked} times and would have:", text(&answer["policy"]));
    for (would, what) in [
        ("pass", "let pass"),
        ("reject", "rejected"),
        ("drop", "dropped"),
        ("change", "changed the answer"),
        ("error", "failed"),
    ] {
        let count = counts[would].as_u64().unwrap_or(0);
        let share = 100.0 * count as f64 / asked.max(1) as f64;
        println!("{count:>10}  {share:>5.1} %  {what}");
    }
    if answer["differences"] == 0 {
        println!("\nno client would have been answered otherwise");
        return Ok(());
    }
    println!(
        "\nof the last {} that would have been answered otherwise, since {}:",
        answer["differences"],
        text(&answer["since"])
    );
    println!("{:>7}  {:<8} REASON", "COUNT", "WOULD");
    for group in items(&answer["by_reason"]) {
        let [count, would, reason] = ["count", "would", "reason"].map(|key| text(&group[key]));
        println!("{count:>7}  {would:<8} {reason}");
    }
    for (list, key, heading) in
        [("by_client", "prefix", "CLIENTS"), ("by_torrent", "info_hash", "TORRENT")]
    {
        println!("\n{:>7}  {heading}", "COUNT");
        for group in items(&answer[list]) {
            println!("{:>7}  {}", text(&group["count"]), text(&group[key]));
        }
    }
    println!("\nexamples:");
    for example in items(&answer["examples"]) {
        println!("{}", line(example));
    }
    Ok(())
}

pub fn tap(wanted: Tap) -> Result<(), Failure> {
    let Tap { from, outcome, info_hash, policy, n, remote } = wanted;
    let outcome = (!outcome.is_empty()).then_some(Outcomes::Any(outcome));
    let question = TapQuestion { from, outcome, info_hash, policy, n };
    Ok(connect(remote)?.tap(&question, &mut io::stdout().lock())?)
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// Returns what a client was told.
fn said(outcome: &Value, reason: &Value) -> String {
    match outcome.as_str() {
        Some("dropped") => "(no answer)".to_owned(),
        _ => text(reason),
    }
}

/// Formats a decision on one line.
fn line(decision: &Value) -> String {
    let part = |key: &str| match &decision[key] {
        Value::Null => "-".to_owned(),
        value => text(value),
    };
    let [time, client, agent, info_hash] = ["time", "client", "agent", "info_hash"].map(part);
    let said = match decision["outcome"].as_str() {
        Some("ok") => "ok".to_owned(),
        _ => format!("{}: {}", part("decided_by"), said(&decision["outcome"], &decision["reason"])),
    };
    let shadows = items(&decision["shadow"]).map(|shadow| {
        let reason = shadow["reason"].as_str().map(|reason| format!(" ({})", Escaped(reason)));
        let [policy, would] = ["policy", "would"].map(|key| text(&shadow[key]));
        format!("; {policy} would {would}{}", reason.unwrap_or_default())
    });
    let shadows: String = shadows.collect();
    format!("{time}  {client:<18} {agent:<9} {info_hash}  {said}{shadows}")
}
