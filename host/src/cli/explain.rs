//! The command `explain`.

use std::fmt::Display;
use std::net::IpAddr;

use clap::Args;
use serde_json::Value;

use super::{Failure, connect, text};
use crate::admin::{Question, Remote, SwarmsLimits, TrackerLimits};
use crate::text::Escaped;

#[derive(Args)]
pub struct Explain {
    /// The URL that a client would request. For UDP, with the parameters of HTTP.
    url: String,
    /// The client's address; by default this machine.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<IpAddr>,
    /// A header of the request, `NAME: VALUE`; may be given several times.
    #[arg(long, value_name = "HEADER")]
    header: Vec<String>,
    #[command(flatten)]
    remote: Remote,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub fn explain(Explain { url, from, header, remote, json }: Explain) -> Result<(), Failure> {
    let question = question(url, from, &header)?;
    let explained = connect(remote)?.explain(&question)?;
    if json {
        println!("{explained:#}");
        return Ok(());
    }
    let [action, transport, client] =
        ["action", "transport", "client"].map(|key| text(&explained[key]));
    let tracker_limits: Option<TrackerLimits> =
        serde_json::from_value(explained["tracker_limits"].clone()).ok();
    for answer in explained["answers"].as_array().into_iter().flatten() {
        println!("{action} of {} over {transport} from {client}", text(&answer["info_hash"]));
        // Where one of them is known, there are accounts, which do not know the other.
        let kinds = ["member", "torrent"];
        let has_accounts = kinds.iter().any(|kind| answer[kind].is_u64());
        for kind in kinds.into_iter().filter(|_| has_accounts) {
            match answer[kind].as_u64() {
                Some(id) if kind == "member" && answer["banned"] == true => {
                    println!("  {kind} {id} (banned)");
                }
                Some(id) => println!("  {kind} {id}"),
                None => println!("  {kind} unknown"),
            }
        }
        if let Some(limits) = &tracker_limits {
            limit("tracker.limits", limits.refusal.as_deref(), limits);
        }
        answer["policies"].as_array().into_iter().flatten().for_each(step);
        let swarms_limits: Option<SwarmsLimits> =
            serde_json::from_value(answer["swarms_limits"].clone()).ok();
        if let Some(limits) = &swarms_limits {
            limit("swarms.limits", limits.refusal.as_deref(), limits);
        }
        let by = answer["decided_by"].as_str().map(|name| format!(" by {}", Escaped(name)));
        println!("  = {}{}", text(&answer["outcome"]), by.unwrap_or_default());
        for (key, value) in answer["answer"].as_object().into_iter().flatten() {
            if !value.is_null() {
                println!("    {}: {}", Escaped(key), text(value));
            }
        }
    }
    Ok(())
}

fn question(url: String, from: Option<IpAddr>, headers: &[String]) -> Result<Question, Failure> {
    let split = |header: &String| {
        let (name, value) = header.split_once(':')?;
        Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
    };
    let headers = headers.iter().map(|header| {
        split(header).ok_or_else(|| Failure {
            text: format!("karuta: `{header}` is not a header, expected NAME: VALUE"),
            code: 2,
        })
    });
    Ok(Question { url, from, headers: headers.collect::<Result<_, _>>()? })
}

/// Shows what a limit says, and how far it is used up.
fn limit(name: &str, refusal: Option<&str>, used: &impl Display) {
    let said = if refusal.is_some() { "reject" } else { "next" };
    println!("  {name:<24} {said}  {}", Escaped(used));
    if let Some(refusal) = refusal {
        println!("    failure_reason: {}", Escaped(refusal));
    }
}

/// Shows what a policy says.
fn step(step: &Value) {
    let said = match (&step["skipped"], &step["error"]) {
        (Value::String(reason), _) => format!("not asked: {reason}"),
        (_, Value::String(error)) => {
            format!("failed: {}", Escaped(error.lines().next().unwrap_or_default()))
        }
        _ => text(&step["verdict"]),
    };
    let shadow = if step["mode"] == "shadow" { " (shadow)" } else { "" };
    let time = step["microseconds"].as_f64();
    let time = time.map(|time| format!("  {time:.1} µs")).unwrap_or_default();
    println!("  {:<24} {said}{shadow}{time}", text(&step["policy"]));
    for (key, value) in step["changes"].as_object().into_iter().flatten() {
        println!("    {}: {}", Escaped(key), text(value));
    }
    if let Some(seconds) = step["remember"]["seconds"].as_u64() {
        let scope = step["remember"]["scope"].as_array().into_iter().flatten();
        let scope: Vec<_> = scope.map(text).collect();
        println!("    remembered for {seconds} s by {}", scope.join(", "));
    }
}
