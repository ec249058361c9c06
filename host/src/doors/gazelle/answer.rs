//! Answers, with the bodies that Ocelot gives. Their status says whether the call was obeyed: one
//! Gazelle looks for `success` in the last line, the other one for the status 200.

use std::fmt::Write;
use std::time::Duration;

use hyper::StatusCode;
use karuta_accounts::Member;
use karuta_bittorrent::InfoHash;
use serde_json::{Value, json};

use super::Price;
use crate::config::ReportForm;

/// An answer to a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// The content type.
    pub kind: &'static str,
    pub body: String,
}

/// The tracker in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reported {
    pub uptime: Duration,
    pub open_connections: u64,
    pub requests: u64,
    pub announces: u64,
    pub failed_announces: u64,
    pub scrapes: u64,
    pub leechers: u64,
    pub seeders: u64,
}

const TEXT: &str = "text/plain";
const JSON: &str = "application/json";
const SUCCESS: &str = "success";
const PAGE: &str = "<meta name=\"robots\" content=\"noindex\" />Nothing to see here";

impl Answer {
    /// It was obeyed, or there was nothing to do.
    #[must_use]
    pub fn success() -> Self {
        Self::text(SUCCESS.to_owned())
    }

    /// It is not understood, or cannot be done.
    #[must_use]
    pub fn wrong(reason: &str) -> Self {
        Self::failure(StatusCode::BAD_REQUEST, reason)
    }

    /// Answers with a failure of Ocelot's form.
    #[must_use]
    pub fn failure(status: StatusCode, reason: &str) -> Self {
        let length = reason.len();
        let body =
            format!("d14:failure reason{length}:{reason}12:min intervali5400e8:intervali5400ee");
        Self { status, kind: TEXT, body }
    }

    /// There is no query.
    #[must_use]
    pub fn nothing_to_see() -> Self {
        Self { status: StatusCode::NOT_FOUND, kind: "text/html", body: PAGE.to_owned() }
    }

    /// A torrent, as the later Ocelot describes it.
    #[must_use]
    pub fn torrent(info_hash: InfoHash, id: u64, price: Price) -> Self {
        let free = price.number();
        Self::text(format!(r#"{{"hash":"{info_hash}","id":{id},"free":{free}}}"#))
    }

    /// The tracker in numbers, as far as they are known here.
    #[must_use]
    pub fn stats(reported: &Reported, form: ReportForm) -> Self {
        match form {
            ReportForm::Text => Self::text(stats_as_text(reported) + SUCCESS),
            ReportForm::Json => Self::json(&stats_as_json(reported)),
        }
    }

    /// A member and how many torrents it downloads and seeds; `None`: there is no such member.
    #[must_use]
    pub fn user(found: Option<(u64, Member)>, form: ReportForm) -> Self {
        let Some((id, member)) = found else { return Self::success() };
        let Member { leeching, seeding, enabled, visible, leech, .. } = member;
        match form {
            ReportForm::Text => {
                Self::text(format!("{leeching} leeching\n{seeding} seeding\n{SUCCESS}"))
            }
            ReportForm::Json => Self::json(&json!({
                "id": id,
                "leeching": leeching,
                "seeding": seeding,
                "deleted": u8::from(!enabled),
                "protected": u8::from(!visible),
                "can_leech": u8::from(leech),
            })),
        }
    }

    /// Nothing of this name is reported.
    #[must_use]
    pub fn no_report() -> Self {
        Self::text(format!("Invalid action\n{SUCCESS}"))
    }

    fn text(body: String) -> Self {
        Self { status: StatusCode::OK, kind: TEXT, body }
    }

    fn json(body: &Value) -> Self {
        Self { status: StatusCode::OK, kind: JSON, body: body.to_string() }
    }
}

/// Returns what is counted, in the order and with the labels of Ocelot.
fn counts(reported: &Reported) -> [(u64, &'static str); 7] {
    let Reported {
        uptime: _,
        open_connections,
        requests,
        announces,
        failed_announces,
        scrapes,
        leechers,
        seeders,
    } = *reported;
    [
        (open_connections, "open connections"),
        (requests, "requests handled"),
        (announces, "successful announcements"),
        (failed_announces, "failed announcements"),
        (scrapes, "scrapes"),
        (leechers, "leechers tracked"),
        (seeders, "seeders tracked"),
    ]
}

fn stats_as_text(reported: &Reported) -> String {
    let seconds = reported.uptime.as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let mut body = format!("Uptime: {days} days, {hour:02}:{minute:02}:{second:02}\n");
    for (number, label) in counts(reported) {
        let _ = writeln!(body, "{number} {label}");
    }
    body
}

/// A later Gazelle shows each of them as its type says.
fn stats_as_json(reported: &Reported) -> Value {
    let item = |label, value, kind| json!({ "label": label, "value": value, "type": kind });
    let uptime = item("uptime", reported.uptime.as_secs(), "elapsed");
    let counted = counts(reported).map(|(number, label)| item(label, number, "number"));
    std::iter::once(uptime).chain(counted).collect()
}

#[cfg(test)]
mod tests {
    use super::ReportForm::{Json, Text};
    use super::*;

    fn member() -> Member {
        Member { leeching: 1, seeding: 2, leech: false, ..Member::default() }
    }

    #[test]
    fn a_later_gazelle_reads_json() {
        let user = Answer::user(Some((7, member())), Json);
        assert_eq!(user.kind, "application/json");
        let expected = json!({
            "id": 7, "leeching": 1, "seeding": 2, "deleted": 0, "protected": 0, "can_leech": 0
        });
        assert_eq!(serde_json::from_str::<Value>(&user.body).unwrap(), expected);
        let reported =
            Reported { uptime: Duration::from_secs(90), seeders: 6, ..Reported::default() };
        let stats: Value = serde_json::from_str(&Answer::stats(&reported, Json).body).unwrap();
        assert_eq!(stats[0], json!({ "label": "uptime", "value": 90, "type": "elapsed" }));
        assert_eq!(stats[7], json!({ "label": "seeders tracked", "value": 6, "type": "number" }));
    }

    #[test]
    fn answers_are_those_of_ocelot() {
        let failure = Answer::failure(StatusCode::FORBIDDEN, "Authentication failure");
        assert_eq!(
            (failure.status.as_u16(), &*failure.body),
            (
                403,
                "d14:failure reason22:Authentication failure12:min intervali5400e8:intervali5400ee"
            )
        );
        let hash = InfoHash([0xab; 20]);
        let bodies = [
            (Answer::success(), "success".to_owned()),
            (Answer::user(Some((7, member())), Text), "1 leeching\n2 seeding\nsuccess".to_owned()),
            (Answer::user(None, Text), "success".to_owned()),
            (Answer::user(None, Json), "success".to_owned()),
            (Answer::no_report(), "Invalid action\nsuccess".to_owned()),
            (
                Answer::torrent(hash, 7, Price::Neutral),
                format!(r#"{{"hash":"{}","id":7,"free":2}}"#, "ab".repeat(20)),
            ),
        ];
        for (answer, body) in bodies {
            assert_eq!(
                (answer.status.as_u16(), answer.kind, answer.body),
                (200, "text/plain", body)
            );
        }
    }

    #[test]
    fn numbers_are_lines_that_end_with_success() {
        let reported = Reported {
            uptime: Duration::from_secs(2 * 86_400 + 3661),
            open_connections: 1,
            requests: 10,
            announces: 5,
            failed_announces: 2,
            scrapes: 3,
            leechers: 4,
            seeders: 6,
        };
        let expected = "Uptime: 2 days, 01:01:01\n1 open connections\n10 requests handled\n\
                        5 successful announcements\n2 failed announcements\n3 scrapes\n\
                        4 leechers tracked\n6 seeders tracked\nsuccess";
        assert_eq!(Answer::stats(&reported, Text).body, expected);
    }
}
