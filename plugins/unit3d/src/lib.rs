//! Decides as UNIT3D-Announce does for a site that is made for it, with its texts. See
//! `docs/policies/unit3d.md`.

mod client;
mod query;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use karuta_plugin::account::{self, Marks, Member, Rights, Torrent};
use karuta_plugin::{
    Announce, AnnounceFilter, Context, Error, Event, Policy, Scrape, ScrapeFilter, Transport,
    Verdict, config, keyvalue, request, response, sets,
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The beginnings of the peer ids that are refused; `None`: none.
    blacklist_from: Option<sets::Strings>,
    /// Headers that no client sends.
    #[serde(default = "headers")]
    headers: Vec<String>,
    /// The names and numbers of the groups whose members are banned.
    #[serde(default = "groups")]
    groups: BTreeMap<String, u32>,
    /// The most peers of a member at a torrent.
    #[serde(default = "max_peers")]
    max_peers: u32,
    /// How much of an upload is credited at least, in percent.
    #[serde(default = "whole")]
    upload_percent: u32,
    /// How much of a download is counted at most, in percent.
    #[serde(default = "whole")]
    download_percent: u32,
    /// Who announces again earlier gets no peers; `None`: everybody may.
    enforced_interval: Option<config::Duration>,
    /// How long a refused client is to wait.
    #[serde(default = "failure_interval")]
    failure_interval: config::Duration,
    /// How long a client waits at a torrent that is not approved.
    #[serde(default = "moderation_interval")]
    moderation_interval: config::Duration,
}

fn headers() -> Vec<String> {
    // Browsers send the first three, and aria2 the last one.
    ["accept-language", "referer", "accept-charset", "want-digest"].map(str::to_owned).into()
}

fn groups() -> BTreeMap<String, u32> {
    // Those that a new UNIT3D has.
    [("validating", 1), ("banned", 5), ("disabled", 20)]
        .map(|(name, number)| (name.to_owned(), number))
        .into()
}

fn max_peers() -> u32 {
    3
}

fn whole() -> u32 {
    100
}

fn failure_interval() -> config::Duration {
    config::Duration(Duration::from_mins(90))
}

fn moderation_interval() -> config::Duration {
    config::Duration(Duration::from_secs(30))
}

/// The attribute with the member's number, for later policies and for observers.
const MEMBER: &str = "member";
/// The letters of a passkey.
const PASSKEY: usize = 32;
/// What double upload gives, in percent.
const DOUBLE: u32 = 200;

const NO_PASSKEY: &str = "Passkey does not exist. Please re-download the .torrent file.";

struct Unit3d(Config);

/// Why an announce does not get what it wants.
enum Answer {
    /// It fails.
    Failure(String),
    /// It is let in, and gets no peers and a warning.
    Warning(&'static str),
}

impl From<&str> for Answer {
    fn from(text: &str) -> Self {
        Self::Failure(text.to_owned())
    }
}

impl Unit3d {
    /// Returns what an announce that is no `stopped` is answered, unless it gets all that it wants.
    fn answer(&self, announce: &Announce, member: Option<&Member>) -> Option<Answer> {
        let is_http = announce.transport() != Transport::Udp;
        if let Some(refusal) = is_http.then(query::refusal).flatten() {
            return Some(Answer::Failure(refusal));
        }
        let blacklist = self.0.blacklist_from;
        if let Some(refusal) = match is_http {
            true => client::refusal(&self.0.headers, blacklist),
            false => client::is_listed(blacklist).then_some(client::LISTED),
        } {
            return Some(refusal.into());
        }
        let port = announce.port();
        if client::is_taken(port) {
            let text = format!("Illegal port: {port}. Port should be between 6881-64999.");
            return Some(Answer::Failure(text));
        }
        if request::credential().is_none_or(|passkey| passkey.len() != PASSKEY) {
            return Some("Invalid passkey.".into());
        }
        let Some(torrent) = account::torrent() else { return Some("InfoHash not found.".into()) };
        if torrent.is_deleted() {
            return Some("Torrent has been deleted.".into());
        }
        let moderated = match torrent.status() {
            0 => Some("Torrent is pending moderation."),
            2 => Some("Torrent has been rejected."),
            3 => Some("Torrent has been postponed."),
            _ => None,
        };
        if let Some(text) = moderated {
            // Only members may wait in the swarm.
            return Some(match member.is_some_and(Member::is_enabled) {
                true => Answer::Warning(text),
                false => text.into(),
            });
        }
        match member {
            Some(member) => self.member(announce, member),
            None => Some(NO_PASSKEY.into()),
        }
    }

    /// Returns why a member does not get what it wants.
    fn member(&self, announce: &Announce, member: &Member) -> Option<Answer> {
        let group = self.0.groups.iter().find(|(_, number)| **number == member.group());
        if !member.is_enabled() && group.is_none() {
            return Some("User does not exist. Please re-download the .torrent file.".into());
        }
        if !member.may_leech() && !announce.is_seeder() {
            return Some("Your downloading privileges have been disabled.".into());
        }
        if let Some((name, _)) = group.filter(|_| !member.is_enabled()) {
            let text = format!("Your account is not enabled. (Current: {name}).");
            return Some(Answer::Failure(text));
        }
        let most = self.0.max_peers;
        // Another peer of a client that is known says so once, at its beginning.
        if announce.event() == Event::Started && member.here() >= most {
            let text = format!("You already have {most} peers on this torrent. Ignoring.");
            return Some(Answer::Failure(text));
        }
        let is_full = member.slots().is_some_and(|slots| slots <= member.leeching());
        // Who is there already has a slot.
        if !announce.is_seeder() && member.here() == 0 && is_full {
            return Some("Download slot limit reached".into());
        }
        None
    }

    /// Returns whether a peer announces earlier than it should. Its first `completed` is never early.
    fn is_early(&self, announce: &Announce) -> bool {
        let Some(interval) = &self.0.enforced_interval else { return false };
        let mut key = [0; 41];
        key[..20].copy_from_slice(&request::peer_id());
        key[20..40].copy_from_slice(&announce.info_hash().to_bytes());
        key[40] = u8::from(announce.event() == Event::Completed);
        // A store that is full says nothing about the peer.
        keyvalue::increment(&key, 1, Some(interval.0)).is_ok_and(|count| count > 1)
    }

    /// Says how much is credited: the better of the site's, the member's and the torrent's.
    fn credit(&self, member: &Member, torrent: &Torrent) {
        let (rights, marks) = (member.rights(), torrent.marks());
        let is_doubled = rights.contains(Rights::DOUBLE_UPLOAD) || marks.contains(Marks::FEATURED);
        let double = if is_doubled { DOUBLE } else { 0 };
        let upload = self.0.upload_percent.max(torrent.upload_percent()).max(double);
        let is_free =
            rights.contains(Rights::FREELEECH) || marks.intersects(Marks::FEATURED | Marks::TOKEN);
        let download = self.0.download_percent.min(torrent.download_percent());
        account::credit(upload, if is_free { 0 } else { download });
    }

    fn reject(&self, reason: &str) -> Verdict {
        response::set_retry_in(Some(self.0.failure_interval.0));
        response::reject(reason)
    }
}

impl Policy for Unit3d {
    type Config = Config;
    fn init(config: Config, _: &Context) -> Result<Self, Error> {
        Ok(Self(config))
    }
}

impl AnnounceFilter for Unit3d {
    fn on_announce(&mut self, announce: &Announce) -> Verdict {
        let member = account::member();
        if let Some(member) = &member {
            response::set_attribute(MEMBER, &member.id().to_string());
            if let Some(torrent) = account::torrent() {
                self.credit(member, &torrent);
            }
        }
        // A peer can always leave, and gets no peers.
        if announce.event() == Event::Stopped {
            if member.is_none_or(|member| member.here() == 0) {
                response::warn("Stopped peer doesn't exist.");
                response::set_interval(self.0.failure_interval.0);
            }
            return Verdict::Next;
        }
        match self.answer(announce, member.as_ref()) {
            Some(Answer::Failure(text)) => return self.reject(&text),
            Some(Answer::Warning(text)) => {
                response::warn(text);
                response::set_num_want(0);
                account::credit(0, 0);
                response::set_interval(self.0.moderation_interval.0);
                response::set_min_interval(self.0.moderation_interval.0);
            }
            // Without a word: clients announce twice, and cannot help it.
            None if self.is_early(announce) => response::set_num_want(0),
            None => {}
        }
        Verdict::Next
    }
}

impl ScrapeFilter for Unit3d {
    fn on_scrape(&mut self, _: &Scrape) -> Verdict {
        if !account::member().is_some_and(|member| member.is_enabled()) {
            return self.reject(NO_PASSKEY);
        }
        if !account::torrent().is_some_and(|torrent| torrent.is_approved() && !torrent.is_deleted())
        {
            response::hide();
        }
        Verdict::Next
    }
}

karuta_plugin::export!(Unit3d: announce, scrape);
