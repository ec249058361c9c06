//! Rejects `started` announces of listed torrents between two times of day, and tells the client
//! when to come back.

use std::collections::HashSet;
use std::time::Duration;

use karuta_plugin::{
    Announce, AnnounceFilter, Context, Error, Event, InfoHash, Policy, Verdict, clock, response,
    sets,
};

const DAY: u32 = 24 * 60 * 60;

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    torrents: HashSet<InfoHash>,
    torrents_from: Option<sets::InfoHashes>,
    from: TimeOfDay,
    to: TimeOfDay,
}

/// Seconds since midnight in UTC, written as `22:00`.
#[derive(Clone, Copy, PartialEq, serde::Deserialize)]
#[serde(try_from = "String")]
struct TimeOfDay(u32);

impl TryFrom<String> for TimeOfDay {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let two_digits = |part: &str, end: u32| {
            let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<u32>().ok().filter(|number| digits && *number < end)
        };
        text.split_once(':')
            .and_then(|(hours, minutes)| {
                Some(Self(two_digits(hours, 24)? * 3600 + two_digits(minutes, 60)? * 60))
            })
            .ok_or("must be a time of day such as 22:00")
    }
}

impl TimeOfDay {
    fn now() -> Self {
        Self((clock::unix_time().as_secs() % u64::from(DAY)) as u32)
    }

    /// Returns the seconds until another time of day.
    fn until(self, then: Self) -> u32 {
        (then.0 + DAY - self.0) % DAY
    }
}

struct QuietHours(Config);

impl Policy for QuietHours {
    type Config = Config;

    fn init(config: Config, _: &Context) -> Result<Self, Error> {
        if config.from == config.to {
            return Err(Error::at("to", "must differ from `from`"));
        }
        Ok(Self(config))
    }
}

impl AnnounceFilter for QuietHours {
    fn on_announce(&mut self, announce: &Announce) -> Verdict {
        if announce.event() != Event::Started {
            return Verdict::Next;
        }
        let Config { torrents, torrents_from, from, to } = &self.0;
        let now = TimeOfDay::now();
        let quiet = now.until(*to);
        let is_quiet = quiet != 0 && quiet <= from.until(*to);
        let hash = announce.info_hash();
        if !is_quiet
            || !torrents.contains(&hash) && !torrents_from.is_some_and(|s| s.contains(hash))
        {
            remember(if is_quiet { quiet } else { now.until(*from) });
            return Verdict::Next;
        }
        response::set_retry_in(Some(Duration::from_secs(quiet.into())));
        // The client gets whole minutes, rounded up. Remember only while they stay the same.
        remember((quiet - 1) % 60 + 1);
        let (hours, minutes) = (to.0 / 3600, to.0 / 60 % 60);
        response::reject(&format!("quiet hours until {hours:02}:{minutes:02} UTC"))
    }
}

/// Remembers the verdict for one second less, because the current one has begun.
fn remember(seconds: u32) {
    if seconds > 1 {
        let scope = response::Scope::INFO_HASH | response::Scope::EVENT;
        response::remember(scope, Duration::from_secs(u64::from(seconds - 1)));
    }
}

karuta_plugin::export!(QuietHours: announce);
