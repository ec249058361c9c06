//! Differences between what became of requests and what would become of them, in columns.

use crate::replay::{Change, Counted, Unrepeatable};
use crate::text::{self, Escaped};

/// Prints each difference and how often it is there.
pub fn print_table(changes: &[Change]) {
    println!("{:>10}  {:<10} {:<24} AFTER", "REQUESTS", "DIFFERENT", "BEFORE");
    for Change { what, count, before, after, .. } in changes {
        let before = Escaped(before).to_string();
        println!("{count:>10}  {:<10} {before:<24} {}", Escaped(what), Escaped(after));
    }
}

/// Prints whom a difference concerns, and an example.
pub fn print(change: &Change) {
    let Change { what, count, before, after, clients, networks, agents, torrents, example } =
        change;
    let (what, before, after) = (Escaped(what), Escaped(before), Escaped(after));
    let requests = text::count(*count, "request");
    println!("{what} of {requests}: {before} before, {after} after");
    for (counted, heading) in [
        (clients, "CLIENT"),
        (networks, "NETWORK"),
        (agents, "CLIENT'S PEER ID"),
        (torrents, "TORRENT"),
    ] {
        println!("{:>10}  {heading}", "REQUESTS");
        for Counted { name, count } in counted {
            println!("{count:>10}  {}", Escaped(name));
        }
    }
    let Some(example) = example else { return };
    println!(
        "an example: {} of {} over {} from {} {}, {}",
        Escaped(&example.action),
        Escaped(&example.info_hash),
        Escaped(&example.transport),
        Escaped(&example.client),
        Escaped(&example.agent),
        Escaped(&example.time)
    );
    let sides = ["before", "after"].into_iter().zip(&example.reasons).zip(&example.intervals);
    for ((side, reason), [interval, least]) in sides {
        match reason.is_empty() {
            false => println!("  {side:<7} {}", Escaped(reason)),
            true if *interval != 0 => {
                println!("  {side:<7} interval {interval} s, min interval {least} s");
            }
            true => {}
        }
    }
    for said in &example.policies {
        let remembered = if said.remembered { ", as remembered" } else { "" };
        let verb = if said.shadow { "would" } else { "says" };
        println!("  {} {verb} {}{remembered}", Escaped(&said.policy), Escaped(&said.verdict));
    }
}

/// Names the policies that may say something else each time.
pub fn print_unrepeatable(policies: &[Unrepeatable]) {
    for Unrepeatable { policy, reason } in policies {
        println!("{} may answer otherwise: {}", Escaped(policy), Escaped(reason));
    }
}
