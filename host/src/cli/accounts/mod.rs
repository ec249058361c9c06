//! `karuta accounts`: members, groups and torrents of a private tracker.

mod settings;

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use karuta_accounts::Schema;
use rand::Rng;
use serde_json::{Value, json};

use self::settings::{GroupSettings, MemberSettings, TorrentSettings};
use super::{Failure, ago, connect, text};
use crate::admin::{ChangedAccounts, Client, Remote};
use crate::text::Escaped;

#[derive(Subcommand)]
pub enum Command {
    /// Add a member, and print its passkey.
    Add {
        id: u64,
        /// A passkey of 16 to 64 letters, digits, - and _; by default a new one.
        #[arg(long)]
        passkey: Option<String>,
        #[command(flatten)]
        settings: MemberSettings,
        #[command(flatten)]
        remote: Remote,
    },
    /// Change what a member may.
    Set {
        id: u64,
        #[command(flatten)]
        settings: MemberSettings,
        #[command(flatten)]
        remote: Remote,
    },
    /// Disable a member: policies refuse it from the next announce on.
    Ban(One),
    /// Enable a member that was banned.
    Unban(One),
    /// Give a member a new passkey, and print it. The old one is unknown from now on.
    Passkey(One),
    /// Show a member, with its clients and what it has moved.
    Show(Look),
    /// Print all members.
    List {
        #[command(flatten)]
        remote: Remote,
        /// Print JSON, a member on each line.
        #[arg(long)]
        json: bool,
    },
    /// Print all torrents.
    Torrents {
        #[command(flatten)]
        remote: Remote,
        /// Print JSON, a torrent on each line.
        #[arg(long)]
        json: bool,
    },
    /// Show what all members of a group may beside what each of them may, or change it.
    Group {
        id: u32,
        #[command(flatten)]
        settings: GroupSettings,
        #[command(flatten)]
        remote: Remote,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a torrent, or add or change it.
    Torrent {
        id: u64,
        #[command(flatten)]
        settings: TorrentSettings,
        #[command(flatten)]
        remote: Remote,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Give a member a token, which makes its downloads of a torrent free.
    Token {
        member: u64,
        torrent: u64,
        /// Take it back.
        #[arg(long)]
        remove: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Print the rows that the site's database has refused, the newest first.
    Rejected {
        #[command(flatten)]
        remote: Remote,
        /// Play all of them again, for example after a member was restored.
        #[arg(long)]
        again: bool,
        /// Print JSON.
        #[arg(long, conflicts_with = "again")]
        json: bool,
    },
    /// Print the SQL that makes the tables in a site's database.
    Schema {
        /// Whose tables the database has.
        #[arg(default_value = "karuta", value_parser = schemas())]
        of: Schema,
        /// For MySQL or MariaDB, and not for PostgreSQL.
        #[arg(long)]
        mysql: bool,
        /// Print what the tracker's user needs there instead.
        #[arg(long)]
        grants: bool,
    },
    /// Add and change many: a JSON object on each line.
    Import {
        /// The file to read; `-` is standard input.
        #[arg(value_name = "FILE")]
        from: PathBuf,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Args)]
pub struct One {
    id: u64,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Args)]
pub struct Look {
    id: u64,
    #[command(flatten)]
    remote: Remote,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The most bytes of lines that are sent at once. Each part is made as a whole.
const PART: usize = 256 << 10;
/// The members or torrents that are asked for at once.
const PAGE: usize = 1000;

pub fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Add { id, passkey, settings, remote } => {
            let passkey = passkey.unwrap_or_else(new_passkey);
            let client = connect(remote)?;
            if client.get("/api/accounts")?.is_object() && exists(&client, "member", id)? {
                return Err(format!("there is a member {id} already").into());
            }
            change(&client, settings.of(id, json!(passkey)))?;
            println!("{passkey}");
        }
        Command::Set { id, settings, remote } => {
            let wish = settings.of(id, Value::Null);
            // It has the id in any case.
            if wish.as_object().is_none_or(|wish| wish.len() < 2) {
                return Err("nothing to set: give an option, such as --leech false"
                    .to_owned()
                    .into());
            }
            change(&known(remote, id)?, wish)?;
        }
        Command::Ban(One { id, remote }) => {
            change(&known(remote, id)?, json!({ "member": id, "enabled": false }))?;
        }
        Command::Unban(One { id, remote }) => {
            change(&known(remote, id)?, json!({ "member": id, "enabled": true }))?;
        }
        Command::Passkey(One { id, remote }) => {
            let passkey = new_passkey();
            change(&known(remote, id)?, json!({ "member": id, "passkey": passkey }))?;
            println!("{passkey}");
        }
        Command::Show(Look { id, remote, json }) => {
            let member = known(remote, id)?.get(&format!("/api/accounts/members/{id}"))?;
            if json {
                println!("{member:#}");
            } else {
                show(&member);
            }
        }
        Command::List { remote, json } => list(&connect(remote)?, json)?,
        Command::Torrents { remote, json } => torrents(&connect(remote)?, json)?,
        Command::Group { id, settings, remote, json } => {
            let client = connect(remote)?;
            let wish = settings.of(id);
            if wish.len() > 1 {
                change(&client, Value::Object(wish))?;
            }
            print(&client.get(&format!("/api/accounts/groups/{id}"))?, json);
        }
        Command::Torrent { id, settings, remote, json } => {
            let client = connect(remote)?;
            let wish = settings.of(id);
            if wish.len() > 1 {
                change(&client, Value::Object(wish))?;
            } else if !exists(&client, "torrent", id)? {
                return Err(format!("there is no torrent {id}").into());
            }
            print(&client.get(&format!("/api/accounts/torrents/{id}"))?, json);
        }
        Command::Token { member, torrent, remove, remote } => {
            let wish = json!({ "token": !remove, "member": member, "torrent": torrent });
            change(&connect(remote)?, wish)?;
        }
        Command::Rejected { remote, again: true, .. } => {
            println!("{} rows", connect(remote)?.play_again()?);
        }
        Command::Rejected { remote, again: false, json } => {
            let rejected = connect(remote)?.get("/api/accounts/rejected")?;
            if json {
                println!("{rejected:#}");
            } else {
                show_rejected(&rejected);
            }
        }
        Command::Schema { of, mysql, grants } => print!("{}", of.sql(mysql, grants)),
        Command::Import { from, remote } => import(&connect(remote)?, &from)?,
    }
    Ok(())
}

fn schemas() -> impl TypedValueParser<Value = Schema> {
    let named = |name: String| Schema::ALL.into_iter().find(|schema| schema.name() == name);
    PossibleValuesParser::new(Schema::ALL.map(Schema::name))
        .map(move |name| named(name).unwrap_or_default())
}

/// Prints an object: as JSON, or a key on each line.
fn print(object: &Value, json: bool) {
    if json {
        println!("{object:#}");
        return;
    }
    for (key, value) in object.as_object().into_iter().flatten() {
        println!("{key:<16} {}", text(value));
    }
}

/// Returns 128 random bits in hexadecimal digits, as other trackers have them.
fn new_passkey() -> String {
    hex::encode(rand::rng().random::<[u8; 16]>())
}

/// Returns whether there is a `member` or `torrent` with an id.
fn exists(client: &Client, kind: &str, id: u64) -> Result<bool, Failure> {
    let before = id.saturating_sub(1);
    let found = client.get(&format!("/api/accounts/{kind}s?after={before}&n=1"))?;
    Ok(found[0][kind] == id)
}

/// Connects, and checks that there is a member.
fn known(remote: Remote, id: u64) -> Result<Client, Failure> {
    let client = connect(remote)?;
    match exists(&client, "member", id)? {
        true => Ok(client),
        false => Err(format!("there is no member {id}").into()),
    }
}

fn change(client: &Client, change: Value) -> Result<(), Failure> {
    client.change_accounts(change.to_string().into_bytes())?;
    Ok(())
}

fn import(client: &Client, from: &PathBuf) -> Result<(), Failure> {
    let failed = |reason: String| format!("{}: {reason}", from.display());
    let mut file: Box<dyn BufRead> = match from.as_os_str() == "-" {
        true => Box::new(io::stdin().lock()),
        false => {
            let file = File::open(from).map_err(|error| failed(error.to_string()))?;
            Box::new(BufReader::new(file))
        }
    };
    let (mut part, mut done) = (Vec::new(), ChangedAccounts::default());
    let mut first = 1;
    loop {
        let before = part.len();
        let read = file.read_until(b'\n', &mut part).map_err(|error| failed(error.to_string()))?;
        if part.len() - before > PART {
            return Err(failed("a line is longer than 256 KiB".to_owned()).into());
        }
        if part.len() > PART || (read == 0 && !part.is_empty()) {
            let lines = part.iter().filter(|byte| **byte == b'\n').count();
            let made = client.change_accounts(std::mem::take(&mut part)).map_err(|error| {
                failed(format!("from line {first} on, {error}; what is before it is done"))
            })?;
            done += made;
            first += lines;
        }
        if read == 0 {
            break;
        }
    }
    println!("{done}");
    Ok(())
}

fn list(client: &Client, json: bool) -> Result<(), Failure> {
    if !json {
        println!(
            "{:>10} {:<8} {:>8} {:>8} {:>16} {:>16}",
            "MEMBER", "STATE", "SEEDING", "LEECHING", "UPLOADED", "DOWNLOADED"
        );
    }
    each(client, "member", |member| {
        if json {
            println!("{member}");
            return;
        }
        let [id, seeding, leeching, uploaded, downloaded] =
            ["member", "seeding", "leeching", "uploaded", "downloaded"]
                .map(|key| text(&member[key]));
        let state = state(member);
        println!("{id:>10} {state:<8} {seeding:>8} {leeching:>8} {uploaded:>16} {downloaded:>16}");
    })
}

fn torrents(client: &Client, json: bool) -> Result<(), Failure> {
    if !json {
        println!("{:>10} {:<40} {:<9} {:>10}", "TORRENT", "INFO-HASH", "STATE", "COMPLETED");
    }
    each(client, "torrent", |torrent| {
        if json {
            println!("{torrent}");
            return;
        }
        let [id, info_hash, completed] =
            ["torrent", "info_hash", "completed"].map(|key| text(&torrent[key]));
        let state = match (torrent["deleted"].as_bool(), torrent["status"].as_u64()) {
            (Some(true), _) => "deleted",
            (_, Some(0)) => "pending",
            (_, Some(1)) => "approved",
            (_, Some(2)) => "rejected",
            _ => "postponed",
        };
        println!("{id:>10} {info_hash:<40} {state:<9} {completed:>10}");
    })
}

/// Asks for all members or torrents, as the `kind` says, in the order of their ids.
fn each(client: &Client, kind: &str, mut show: impl FnMut(&Value)) -> Result<(), Failure> {
    let mut after = 0;
    loop {
        let page = client.get(&format!("/api/accounts/{kind}s?after={after}&n={PAGE}"))?;
        let page = page.as_array().map(Vec::as_slice).unwrap_or_default();
        page.iter().for_each(&mut show);
        match page.last().and_then(|last| last[kind].as_u64()) {
            Some(last) if page.len() == PAGE => after = last,
            _ => return Ok(()),
        }
    }
}

fn state(member: &Value) -> &'static str {
    match (member["enabled"].as_bool(), member["leech"].as_bool()) {
        (Some(false), _) => "banned",
        (_, Some(false)) => "no leech",
        _ => "enabled",
    }
}

fn show_rejected(rejected: &Value) {
    for row in rejected.as_array().into_iter().flatten() {
        let [batch, member, torrent, up, down, reason] =
            ["batch", "member", "torrent", "uploaded", "downloaded", "reason"]
                .map(|key| text(&row[key]));
        let at = row["at"].as_u64().and_then(ago).unwrap_or_default();
        println!(
            "batch {batch}, member {member}, torrent {torrent}: {at}{up} B up, {down} B down: {reason}"
        );
    }
}

fn show(member: &Value) {
    println!("member      {} ({})", text(&member["member"]), state(member));
    println!("group       {}", text(&member["group"]));
    let marks = ["immune", "freeleech", "double_upload"].into_iter();
    let marks: Vec<_> = marks.filter(|mark| member[*mark] == true).collect();
    if !marks.is_empty() {
        println!("marks       {}", marks.join(", "));
    }
    println!(
        "now         seeds {}, downloads {}",
        text(&member["seeding"]),
        text(&member["leeching"])
    );
    for key in ["uploaded", "downloaded"] {
        let raw = text(&member[&format!("raw_{key}")]);
        println!("{key:<11} {} B, moved {raw} B", text(&member[key]));
    }
    let tokens = member["tokens"].as_array().cloned().unwrap_or_default();
    if !tokens.is_empty() {
        let tokens: Vec<_> = tokens.iter().map(text).collect();
        println!("tokens      for {}", tokens.join(", "));
    }
    for session in member["sessions"].as_array().into_iter().flatten() {
        let seen = session["seen_at"].as_u64().and_then(ago).unwrap_or_default();
        let state = if session["active"] == true { "active" } else { "gone" };
        let [torrent, up, down] =
            ["torrent", "uploaded", "downloaded"].map(|key| text(&session[key]));
        let address =
            session["address"].as_str().map(|address| format!(" at {}", Escaped(address)));
        println!(
            "session     torrent {torrent}, {state}, {seen}reports {up} B up, {down} B down{}",
            address.unwrap_or_default()
        );
        if let Some(suspect @ 1..) = session["suspect"].as_u64() {
            println!("            {suspect} announces were faster than `accounts.guard.rate`");
        }
    }
    for history in member["history"].as_array().into_iter().flatten() {
        let [torrent, up, down, seconds] =
            ["torrent", "credited_uploaded", "credited_downloaded", "seed_seconds"]
                .map(|key| text(&history[key]));
        println!("history     torrent {torrent}: {up} B up, {down} B down, seeded {seconds} s");
    }
}
