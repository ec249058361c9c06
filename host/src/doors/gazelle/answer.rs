//! Answers, with the bodies that Ocelot gives. Their status says whether the call was obeyed: one
//! Gazelle looks for `success` in the last line, the other one for the status 200.

use std::fmt::Write;
use std::time::Duration;

use hyper::StatusCode;
use karuta_bittorrent::InfoHash;

use super::Price;

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
    pub fn stats(reported: &Reported) -> Self {
        let Reported {
            uptime,
            open_connections,
            requests,
            announces,
            failed_announces,
            scrapes,
            leechers,
            seeders,
        } = reported;
        let seconds = uptime.as_secs();
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        let mut body = format!("Uptime: {days} days, {hour:02}:{minute:02}:{second:02}\n");
        for (number, label) in [
            (open_connections, "open connections"),
            (requests, "requests handled"),
            (announces, "successful announcements"),
            (failed_announces, "failed announcements"),
            (scrapes, "scrapes"),
            (leechers, "leechers tracked"),
            (seeders, "seeders tracked"),
        ] {
            let _ = writeln!(body, "{number} {label}");
        }
        Self::text(body + SUCCESS)
    }

    /// How many torrents a member downloads and seeds; `None`: there is no such member.
    #[must_use]
    pub fn user(found: Option<(u32, u32)>) -> Self {
        let found =
            found.map(|(leeching, seeding)| format!("{leeching} leeching\n{seeding} seeding\n"));
        Self::text(found.unwrap_or_default() + SUCCESS)
    }

    /// Nothing of this name is reported.
    #[must_use]
    pub fn no_report() -> Self {
        Self::text(format!("Invalid action\n{SUCCESS}"))
    }

    fn text(body: String) -> Self {
        Self { status: StatusCode::OK, kind: TEXT, body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (Answer::user(Some((1, 2))), "1 leeching\n2 seeding\nsuccess".to_owned()),
            (Answer::user(None), "success".to_owned()),
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
        assert_eq!(Answer::stats(&reported).body, expected);
    }
}
