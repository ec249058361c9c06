//! Shared swarms in the status.

use serde_json::Value;

use super::text;
use crate::text::Escaped;

/// Says how the sharing of swarms goes; `None` if they are not shared.
pub fn lines(share: &Value) -> Option<String> {
    let parts = share["parts"].as_u64()?;
    let mut line = format!("shared   {}", engine(share));
    if let Some(reason) = share["refused"].as_str() {
        line.push_str(&format!(": refused: {}; serving what is known here", Escaped(reason)));
        return Some(line);
    }
    let waiting = bytes(share["waiting_bytes"].as_u64().unwrap_or_default());
    if let Some(off) = share["cut_off"].as_object() {
        let numbers = off["parts"].as_array().into_iter().flatten().map(Value::to_string);
        let (seconds, reason) = (&off["seconds"], text(&off["reason"]));
        line.push_str(&format!(
            ": part {} cut off for {seconds} s ({reason}), {waiting} waiting; serving what is known \
             here",
            listed(numbers.collect())
        ));
        return Some(line);
    }
    let (state, behind) = (text(&share["state"]), &share["behind_ms"]);
    line.push_str(&format!(", {parts} parts: {state}, {behind} ms behind"));
    let nodes = share["nodes"].as_array().into_iter().flatten();
    let nodes = nodes.map(|node| {
        let (name, version) = (text(&node["name"]), text(&node["version"]));
        format!("{name} ({version}, {} ms)", node["behind_ms"])
    });
    let nodes: Vec<_> = nodes.collect();
    let nodes = match nodes.is_empty() {
        true => "with no other node".to_owned(),
        false => format!("with {}", nodes.join(", ")),
    };
    let (sent, applied, dropped) = (&share["sent"], &share["applied"], &share["dropped"]);
    line.push_str(&format!(
        "\n         {nodes}; sent {sent}, applied {applied}, waiting {waiting}, dropped {dropped}"
    ));
    if let Some(entries @ 1..) = share["refused_entries"].as_u64() {
        line.push_str(&format!("\n         {entries} entries of the log could not be read"));
    }
    Some(line)
}

/// Names the engine and its log.
fn engine(share: &Value) -> String {
    let kind = share["engine"].as_str().map_or("engine".to_owned(), |_| text(&share["engine"]));
    let topology = if share["topology"] == "cluster" { " cluster" } else { "" };
    let servers = share["servers"].as_u64().filter(|_| share["cut_off"].is_null());
    let servers = servers.map(|servers| format!(", {servers} nodes")).unwrap_or_default();
    format!("{kind}{topology}{servers}, name {}", text(&share["name"]))
}

/// Writes `1`, `1 and 2`, or `1, 2 and 3`.
fn listed(mut names: Vec<String>) -> String {
    let last = names.pop().unwrap_or_default();
    match names.is_empty() {
        true => last,
        false => format!("{} and {last}", names.join(", ")),
    }
}

fn bytes(number: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(size, _)| number >= *size) {
        None => format!("{number} B"),
        Some((size, unit)) => format!("{:.1} {unit}", number as f64 / size as f64),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status() -> Value {
        json!({
            "state": "up to date", "name": "karuta", "topology": "cluster", "engine": "valkey",
            "servers": 6, "parts": 4, "behind_ms": 12, "cut_off": null, "refused": null,
            "nodes": [{ "name": "tracker-2", "version": "0.3.0", "behind_ms": 14 }],
            "sent": 5, "again": 0, "dropped": 0, "applied": 10, "waiting_bytes": 1_258_291,
            "refused_entries": 0,
        })
    }

    #[test]
    fn the_lines_say_who_shares_and_how_far() {
        assert_eq!(lines(&Value::Null), None);
        let expected = "shared   valkey cluster, 6 nodes, name karuta, 4 parts: up to date, 12 ms \
                        behind\n         with tracker-2 (0.3.0, 14 ms); sent 5, applied 10, waiting \
                        1.2 MiB, dropped 0";
        assert_eq!(lines(&status()).as_deref(), Some(expected));
        let mut status = status();
        status["refused_entries"] = 516.into();
        let said = lines(&status).unwrap();
        assert!(said.ends_with("\n         516 entries of the log could not be read"), "{said}");
    }

    #[test]
    fn what_is_cut_off_is_said_first() {
        let mut status = status();
        status["cut_off"] = json!({ "parts": [1, 2], "seconds": 4, "reason": "a:1: refused\n" });
        let expected = "shared   valkey cluster, name karuta: part 1 and 2 cut off for 4 s (a:1: \
                        refused\\n), 1.2 MiB waiting; serving what is known here";
        assert_eq!(lines(&status).as_deref(), Some(expected));
        status["refused"] = "the log has 8 parts".into();
        let said = lines(&status).unwrap();
        assert!(said.contains(": refused: the log has 8 parts;"), "{said}");
    }
}
