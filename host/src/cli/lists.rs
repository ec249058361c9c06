//! `karuta list`: reads and edits lists of the running daemon.

use std::io;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{Failure, connect, text};
use crate::admin::{Client, Remote};
use crate::entry;
use crate::text::{self as texts, Escaped};
use crate::time;

#[derive(Subcommand)]
pub enum Command {
    /// Add entries. They are obeyed when this ends.
    Add(Edit),
    /// Remove entries, also those that the file of the list has.
    Remove(Edit),
    /// Print all entries of a list, or what lists there are.
    Show {
        #[arg(requires = "data")]
        policy: Option<String>,
        /// The name of the list in the policy's `data`.
        data: Option<String>,
        #[command(flatten)]
        remote: Remote,
        /// Print JSON. Not for the entries of a list.
        #[arg(long, conflicts_with = "policy")]
        json: bool,
    },
    /// Say whether entries are listed, and who says so. Exits with 1 unless all are, and with 3 if
    /// the tracker does not answer.
    Contains {
        #[command(flatten)]
        list: List,
        /// An address is looked for in ranges, too. Write `--` before an entry that begins with `-`.
        #[arg(required = true)]
        entries: Vec<String>,
        #[command(flatten)]
        remote: Remote,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the edits that are not in the file of the list.
    Edits(One),
    /// Write the edits into the file of the list. Those with a term stay edits.
    Fold(One),
    /// End all edits, so that the list is what its file says.
    Withdraw(One),
    /// Print the SHA-256 over the sorted entries, to compare with another list.
    Digest(One),
}

#[derive(Args)]
pub struct List {
    policy: String,
    /// The name of the list in the policy's `data`.
    data: String,
}

#[derive(Args)]
pub struct One {
    #[command(flatten)]
    list: List,
    #[command(flatten)]
    remote: Remote,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub struct Edit {
    #[command(flatten)]
    list: List,
    /// The entries; `-` reads them from standard input, as in the file of a list. Write `--` before
    /// one that begins with `-`.
    #[arg(required = true)]
    entries: Vec<String>,
    /// How long it holds, such as 30d. Without it, until the file says the same.
    #[arg(long, value_name = "DURATION")]
    ttl: Option<String>,
    /// Why; shown with the edit.
    #[arg(long)]
    note: Option<String>,
    /// Change nothing if the list has another version than this.
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,
    #[command(flatten)]
    remote: Remote,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The most entries and bytes of entries that are sent at a time.
const ENTRIES: usize = 50_000;
const BYTES: usize = 4 << 20;

/// The exit code of `contains` if there is no answer: 1 says that an entry is not listed.
const UNANSWERED: u8 = 3;

/// Runs a command, and returns its exit code.
pub fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Add(wish) => edit(wish, "add")?,
        Command::Remove(wish) => edit(wish, "remove")?,
        Command::Show { policy: Some(policy), data: Some(data), remote, .. } => {
            let path = List { policy, data }.path();
            connect(remote)?.download(&path, &mut io::stdout().lock())?;
        }
        Command::Show { remote, json, .. } => all(&connect(remote)?, json)?,
        Command::Contains { list, entries, remote, json } => {
            let client = connect(remote)?;
            return contains(&client, &list, &entries, json)
                .map_err(|failure| Failure { code: UNANSWERED, ..failure });
        }
        Command::Edits(One { list, remote, json }) => {
            let client = connect(remote)?;
            let path = list.path() + "/edits";
            match json {
                true => client.download(&path, &mut io::stdout().lock())?,
                false => edits(&client.get(&path)?),
            }
        }
        Command::Fold(One { list, remote, json }) => {
            let did = connect(remote)?.change("POST", &(list.path() + "/fold"), &json!({}))?;
            print(&did, json, || {
                println!("wrote {} edits into the file", did["edits"]);
                if did["left"] != 0 {
                    println!("{} edits have a term, and stay edits", did["left"]);
                }
            });
        }
        Command::Withdraw(One { list, remote, json }) => {
            let did = connect(remote)?.change("DELETE", &(list.path() + "/edits"), &json!({}))?;
            print(&did, json, || println!("{}", shown(&did)));
        }
        Command::Digest(One { list, remote, json }) => {
            let digest = connect(remote)?.get(&(list.path() + "/digest"))?;
            print(&digest, json, || {
                println!("{}  {} entries", text(&digest["sha256"]), digest["entries"]);
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl List {
    fn path(&self) -> String {
        let [policy, data] = [&self.policy, &self.data].map(|name| utf8_percent_encode(name, NAME));
        format!("/api/lists/{policy}/{data}")
    }
}

/// What is escaped in a name of a policy or a list.
const NAME: &percent_encoding::AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

fn print(answer: &Value, json: bool, else_print: impl FnOnce()) {
    match json {
        true => println!("{answer:#}"),
        false => else_print(),
    }
}

fn shown(did: &Value) -> String {
    let count = |key: &str| did[key].as_u64().unwrap_or_default();
    let [added, removed, unchanged] = ["added", "removed", "unchanged"].map(count);
    let (version, entries) = (count("version"), count("entries"));
    format!(
        "{added} added, {removed} removed, {unchanged} unchanged: version {version}, {entries} entries"
    )
}

fn edit(wish: Edit, key: &str) -> Result<(), Failure> {
    let Edit { list, entries, ttl, note, mut if_version, remote, json } = wish;
    let entries = all_entries(entries)?;
    let client = connect(remote)?;
    let (mut rest, mut sent, mut sum) = (&*entries, 0, Value::Null);
    while !rest.is_empty() || sum.is_null() {
        let (part, later) = rest.split_at(part(rest));
        rest = later;
        let mut body = json!({ key: part });
        let wishes =
            [("ttl", json!(ttl)), ("note", json!(note)), ("if_version", json!(if_version))];
        for (key, value) in wishes.into_iter().filter(|(_, value)| !value.is_null()) {
            body[key] = value;
        }
        let mut did = client
            .change("POST", &list.path(), &body)
            .map_err(|error| after(error, key, sent, &sum))?;
        sent += part.len();
        for key in ["added", "removed", "unchanged"] {
            did[key] = json!(
                did[key].as_u64().unwrap_or_default() + sum[key].as_u64().unwrap_or_default()
            );
        }
        // Nobody may come between the parts either.
        if_version = if_version.and_then(|_| did["version"].as_u64());
        sum = did;
    }
    print(&sum, json, || println!("{}", shown(&sum)));
    Ok(())
}

/// Returns an error as one of all entries, of which the first have been `sent` and done.
fn after(error: String, key: &str, sent: usize, done: &Value) -> String {
    if sent == 0 {
        return error;
    }
    // The tracker counts within a part.
    let start = format!("{key}[");
    let counted = error.split_once(&start).and_then(|(before, rest)| {
        let (index, rest) = rest.split_once(']')?;
        Some(format!("{before}{start}{}]{rest}", index.parse::<usize>().ok()? + sent))
    });
    format!("{}\nthe first {sent} entries are done: {}", counted.unwrap_or(error), shown(done))
}

/// Returns how many entries are sent at a time.
fn part(entries: &[String]) -> usize {
    let mut bytes = 0;
    let fits = |entry: &&String| {
        bytes += entry.len();
        bytes < BYTES
    };
    entries.iter().take(ENTRIES).take_while(fits).count().clamp(1.min(entries.len()), ENTRIES)
}

/// Returns the entries of the command line, or of standard input.
fn all_entries(entries: Vec<String>) -> Result<Vec<String>, Failure> {
    if entries != ["-"] {
        return Ok(entries);
    }
    let input = io::read_to_string(io::stdin()).map_err(|error| format!("input: {error}"))?;
    let entries = texts::lines(&input).map(entry::bare).filter(|entry| !entry.is_empty());
    Ok(entries.map(str::to_owned).collect())
}

fn contains(
    client: &Client,
    list: &List,
    entries: &[String],
    json: bool,
) -> Result<ExitCode, Failure> {
    let (mut all, mut answers) = (true, Vec::new());
    for entry in entries {
        let asked = utf8_percent_encode(entry, NON_ALPHANUMERIC);
        let mut found = client.get(&format!("{}?contains={asked}", list.path()))?;
        all &= found["listed"] == true;
        if json {
            found["asked"] = json!(entry);
            answers.push(found);
            continue;
        }
        let listed = if found["listed"] == true { "listed" } else { "not listed" };
        let range = found["entry"].as_str().map(|range| format!(" as {}", Escaped(range)));
        let range = range.unwrap_or_default();
        let by = match found["by"].as_str() {
            Some("file") => " by the file".to_owned(),
            Some("edit") => format!(" by an edit: {}", about(&found)),
            Some("expired") => format!(" any more: {}", about(&found)),
            _ => String::new(),
        };
        println!("{}: {listed}{range}{by}", Escaped(entry));
    }
    if json {
        println!("{:#}", Value::Array(answers));
    }
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Describes who made an edit, when, until when, and why.
fn about(edit: &Value) -> String {
    let since_1970 = time::since_1970();
    let now = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
    let since = now.saturating_sub(edit["since"].as_u64().unwrap_or(now)) / 1000;
    let until = edit["until"].as_u64().map(|until| match until.checked_sub(now) {
        Some(left) => format!(", for {} s more", left / 1000),
        None => ", which is over".to_owned(),
    });
    let note = edit["note"].as_str().map(|note| format!(": {}", Escaped(note)));
    let (until, note) = (until.unwrap_or_default(), note.unwrap_or_default());
    format!("{since} s ago by {}{until}{note}", text(&edit["who"]))
}

fn edits(edits: &Value) {
    for edit in edits.as_array().into_iter().flatten() {
        let sign = if edit["change"] == "add" { '+' } else { '-' };
        println!("{sign} {}  {}", text(&edit["entry"]), about(edit));
    }
}

fn all(client: &Client, json: bool) -> Result<(), Failure> {
    let lists = client.get("/api/lists")?;
    if json {
        println!("{lists:#}");
        return Ok(());
    }
    println!(
        "{:<40} {:<12} {:>9} {:>10} {:>7}  AGE",
        "LIST", "FORMAT", "VERSION", "ENTRIES", "EDITS"
    );
    for list in lists.as_array().into_iter().flatten() {
        let name = format!("{} {}", text(&list["policy"]), text(&list["data"]));
        let edits = list["edits"].as_u64().map_or("off".to_owned(), |count| count.to_string());
        let age = list["age_seconds"].as_u64().map(|age| format!("{age} s"));
        println!(
            "{name:<40} {:<12} {:>9} {:>10} {edits:>7}  {}",
            text(&list["format"]),
            list["version"].to_string(),
            list["entries"].to_string(),
            age.as_deref().unwrap_or("nothing yet"),
        );
        if let Some(error) = list["error"].as_str() {
            println!("  {}", Escaped(error));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_a_later_part_counts_all_entries_and_says_what_is_done() {
        let error = || "422: add[7]: `add[1]`, expected 40 digits".to_owned();
        assert_eq!(after(error(), "add", 0, &Value::Null), error());
        let done = json!({ "added": 3, "unchanged": 49_997, "version": 9, "entries": 60_000 });
        assert_eq!(
            after(error(), "add", 50_000, &done),
            "422: add[50007]: `add[1]`, expected 40 digits\n\
             the first 50000 entries are done: \
             3 added, 0 removed, 49997 unchanged: version 9, 60000 entries"
        );
        assert!(after("507: full".into(), "add", 5, &done).starts_with("507: full\nthe first 5 "));
    }
}
