//! Scalars in a file of cases.

use std::time::Duration;

use hex::FromHex;
use karuta_bittorrent::{InfoHash, PeerId};
use serde::{Deserialize, Serialize};
use url::Url;

/// 40 or 64 hexadecimal digits; the default is that of the text `karuta-test-torrent-`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Hash(pub InfoHash);

impl Default for Hash {
    fn default() -> Self {
        Self(InfoHash(*b"karuta-test-torrent-"))
    }
}

impl TryFrom<String> for Hash {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let hash = InfoHash::from_hex(&text).map(Self);
        hash.ok_or_else(|| {
            format!("invalid info-hash `{text}`, expected 40 hexadecimal digits, or 64 of BEP 52")
        })
    }
}

/// 40 hexadecimal digits, or a text of at most 20 bytes, which is padded with zeros (`0`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Id(pub PeerId);

impl Default for Id {
    fn default() -> Self {
        Self(PeerId(*b"-KA0100-000000000000"))
    }
}

impl TryFrom<String> for Id {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        if let Ok(bytes) = FromHex::from_hex(&text) {
            return Ok(Self(PeerId(bytes)));
        }
        let mut id = [b'0'; 20];
        let place = id.get_mut(..text.len()).ok_or_else(|| {
            format!("invalid peer id `{text}`, expected at most 20 bytes, or 40 hexadecimal digits")
        })?;
        place.copy_from_slice(text.as_bytes());
        Ok(Self(PeerId(id)))
    }
}

/// A URL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Place(pub Url);

impl TryFrom<String> for Place {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let url = Url::parse(&text).map_err(|error| format!("invalid URL `{text}`: {error}"))?;
        Ok(Self(url))
    }
}

impl From<Place> for String {
    fn from(Place(url): Place) -> Self {
        url.into()
    }
}

/// A time in UTC, since 1970; the default is the start of 2026.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Clock(pub Duration);

impl Default for Clock {
    fn default() -> Self {
        Self(Duration::from_secs(1_767_225_600))
    }
}

impl TryFrom<String> for Clock {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        parse_time(&text).map(|seconds| Self(Duration::from_secs(seconds))).ok_or_else(|| {
            format!("invalid time `{text}`, expected a UTC time such as 2026-01-31T22:30:00Z")
        })
    }
}

fn parse_time(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, mark: char| -> Option<Vec<u64>> {
        let number = |part: &str| {
            (part.len() >= 2 && part.bytes().all(|byte| byte.is_ascii_digit()))
                .then(|| part.parse().ok())?
        };
        text.split(mark).map(number).collect()
    };
    let [year, month, day] = numbers(date, '-')?[..] else { return None };
    let time = numbers(time, ':')?;
    let (hour, minute, second) = match time[..] {
        [hour, minute] => (hour, minute, 0),
        [hour, minute, second] => (hour, minute, second),
        _ => return None,
    };
    if !(1970..=9999).contains(&year) {
        return None;
    }
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let february = if leap { 29 } else { 28 };
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let at = usize::try_from(month).ok()?.checked_sub(1)?;
    let valid = (1..=*months.get(at)?).contains(&day) && hour < 24 && minute < 60 && second < 60;
    // Leap years before this one.
    let leaps = |year: u64| (year - 1) / 4 - (year - 1) / 100 + (year - 1) / 400;
    let days = (year - 1970) * 365 + leaps(year) - leaps(1970)
        + months[..at].iter().sum::<u64>()
        + day.checked_sub(1)?;
    valid.then_some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_utc_and_exist() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2000-03-01T00:00Z", 951_868_800),
            ("2026-01-01T00:00:00Z", 1_767_225_600),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            assert_eq!(parse_time(text), Some(seconds), "{text}");
        }
        for text in [
            "",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-02-29T00:00:00Z",
            "2026-00-10T00:00:00Z",
            "2026-13-10T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00+01:00",
            "1969-01-01T00:00:00Z",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
