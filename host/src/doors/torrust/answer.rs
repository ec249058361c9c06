//! Answers.

use hyper::StatusCode;
use karuta_bittorrent::{Counts, InfoHash};
use serde::Serialize;

/// An answer to a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// The content type.
    pub kind: &'static str,
    pub body: String,
}

#[derive(Serialize)]
struct Key<'a> {
    key: &'a str,
    /// In seconds since 1970; `None`: it does not end.
    valid_until: Option<u64>,
    expiry_time: Option<String>,
}

#[derive(Serialize)]
struct Torrent {
    info_hash: String,
    seeders: u32,
    completed: u32,
    leechers: u32,
    /// Only of a torrent that is asked for alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    peers: Option<[(); 0]>,
}

/// The tracker in numbers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Stats {
    pub torrents: u64,
    pub seeders: u64,
    pub completed: u64,
    pub leechers: u64,
    /// Requests over HTTP and HTTPS, whatever was asked.
    pub tcp4_connections_handled: u64,
    pub tcp4_announces_handled: u64,
    pub tcp4_scrapes_handled: u64,
    pub tcp6_connections_handled: u64,
    pub tcp6_announces_handled: u64,
    pub tcp6_scrapes_handled: u64,
    pub udp4_connections_handled: u64,
    pub udp4_announces_handled: u64,
    pub udp4_scrapes_handled: u64,
    pub udp6_connections_handled: u64,
    pub udp6_announces_handled: u64,
    pub udp6_scrapes_handled: u64,
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

impl Answer {
    /// It is done.
    pub fn ok() -> Self {
        Self { status: StatusCode::OK, kind: JSON, body: r#"{"status":"ok"}"#.to_owned() }
    }

    /// A key, and when it ends, in seconds since 1970.
    pub fn key(key: &str, valid_until: Option<u64>) -> Self {
        let key = Key { key, valid_until, expiry_time: valid_until.map(date) };
        Self { kind: "application/json; charset=utf-8", ..Self::json(&key) }
    }

    /// A torrent; `None`: there is none. Addresses of peers are not for sites.
    pub fn torrent(info_hash: InfoHash, counts: Option<Counts>) -> Self {
        match counts {
            Some(counts) => {
                Self::json(&Torrent { peers: Some([]), ..Torrent::of(info_hash, counts) })
            }
            None => Self::json(&"torrent not known"),
        }
    }

    pub fn torrents(torrents: impl Iterator<Item = (InfoHash, Counts)>) -> Self {
        let torrents = torrents.map(|(info_hash, counts)| Torrent::of(info_hash, counts));
        Self::json(&torrents.collect::<Vec<_>>())
    }

    pub fn stats(stats: &Stats) -> Self {
        Self::json(stats)
    }

    /// It cannot be done. Sites compare the status, too.
    pub fn rejected(reason: &str) -> Self {
        let body = format!("Unhandled rejection: Err {{ reason: {reason:?} }}");
        Self::text(StatusCode::INTERNAL_SERVER_ERROR, body)
    }

    /// It is not understood.
    pub fn wrong(reason: String) -> Self {
        Self::text(StatusCode::BAD_REQUEST, reason)
    }

    pub fn text(status: StatusCode, body: String) -> Self {
        Self { status, kind: TEXT, body }
    }

    fn json(value: &impl Serialize) -> Self {
        match serde_json::to_string(value) {
            Ok(body) => Self { status: StatusCode::OK, kind: JSON, body },
            Err(error) => Self::rejected(&error.to_string()),
        }
    }
}

impl Torrent {
    fn of(info_hash: InfoHash, counts: Counts) -> Self {
        let Counts { seeders, leechers, completed, .. } = counts;
        Self { info_hash: info_hash.to_string(), seeders, completed, leechers, peers: None }
    }
}

/// Writes a time of the years 1970 to 9999, given in seconds since 1970.
fn date(seconds: u64) -> String {
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let length = |year| 365 + u64::from(is_leap(year));
    while days >= length(year) {
        days -= length(year);
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{:02} {hour:02}:{minute:02}:{second:02} UTC", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: InfoHash = InfoHash([0x9e; 20]);
    const COUNTS: Counts = Counts { seeders: 1, leechers: 3, partial_seeds: 1, completed: 2 };

    /// The expected texts are those of torrust-tracker's own tests, as far as there are such.
    #[test]
    fn answers_are_written_as_by_torrust_tracker() {
        let hash = "9e".repeat(20);
        let answers = [
            (Answer::ok(), 200, JSON, r#"{"status":"ok"}"#.to_owned()),
            (
                Answer::key("IaWDneuFNZi8IB4MPA3qW1CD0M30EZSM", Some(60)),
                200,
                "application/json; charset=utf-8",
                r#"{"key":"IaWDneuFNZi8IB4MPA3qW1CD0M30EZSM","valid_until":60,"expiry_time":"1970-01-01 00:01:00 UTC"}"#
                    .to_owned(),
            ),
            (
                Answer::key("k", None),
                200,
                "application/json; charset=utf-8",
                r#"{"key":"k","valid_until":null,"expiry_time":null}"#.to_owned(),
            ),
            (
                Answer::torrent(HASH, Some(COUNTS)),
                200,
                JSON,
                format!(
                    r#"{{"info_hash":"{hash}","seeders":1,"completed":2,"leechers":3,"peers":[]}}"#
                ),
            ),
            (Answer::torrent(HASH, None), 200, JSON, r#""torrent not known""#.to_owned()),
            (
                Answer::torrents([(HASH, COUNTS)].into_iter()),
                200,
                JSON,
                format!(r#"[{{"info_hash":"{hash}","seeders":1,"completed":2,"leechers":3}}]"#),
            ),
            (
                Answer::rejected("token not valid"),
                500,
                TEXT,
                r#"Unhandled rejection: Err { reason: "token not valid" }"#.to_owned(),
            ),
            (
                Answer::rejected("a \"b\"\n"),
                500,
                TEXT,
                r#"Unhandled rejection: Err { reason: "a \"b\"\n" }"#.to_owned(),
            ),
        ];
        for (answer, status, kind, body) in answers {
            assert_eq!((answer.status.as_u16(), answer.kind, answer.body), (status, kind, body));
        }
    }

    #[test]
    fn stats_have_the_names_of_torrust_tracker() {
        let written = Answer::stats(&Stats { torrents: 4, seeders: 1, ..Stats::default() }).body;
        let read: serde_json::Map<_, _> = serde_json::from_str(&written).unwrap();
        let of = |transport: &str| {
            ["connections", "announces", "scrapes"].map(|it| format!("{transport}_{it}_handled"))
        };
        let requests = ["tcp4", "tcp6", "udp4", "udp6"].map(of).into_iter().flatten();
        let mut names: Vec<String> = requests.collect();
        names.extend(["torrents", "seeders", "completed", "leechers"].map(str::to_owned));
        assert_eq!(read.len(), names.len());
        assert!(names.iter().all(|name| read[name].is_u64()), "{written}");
        assert_eq!((&read["torrents"], &read["seeders"]), (&4.into(), &1.into()));
    }

    #[test]
    fn a_time_is_written_as_a_date() {
        for (seconds, written) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (68_169_599, "1972-02-28 23:59:59 UTC"),
            (68_169_600, "1972-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (1_735_689_600, "2025-01-01 00:00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (253_402_300_799, "9999-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(date(seconds), written);
        }
    }
}
