//! Numbers, times and texts from outside, as a person reads them.

use std::fmt;
use std::time::Duration;

use x509_cert::der::DateTime;

use crate::text::{Escaped, cut};

/// A whole number that is not negative. Templates hand over values and references.
pub trait Whole {
    fn whole(&self) -> u64;
}

impl Whole for u64 {
    fn whole(&self) -> u64 {
        *self
    }
}

impl Whole for u32 {
    fn whole(&self) -> u64 {
        u64::from(*self)
    }
}

impl Whole for usize {
    fn whole(&self) -> u64 {
        *self as u64
    }
}

impl<T: Whole> Whole for &T {
    fn whole(&self) -> u64 {
        (**self).whole()
    }
}

/// Any number.
pub trait Real {
    fn real(&self) -> f64;
}

impl Real for f64 {
    fn real(&self) -> f64 {
        *self
    }
}

impl<T: Real> Real for &T {
    fn real(&self) -> f64 {
        (**self).real()
    }
}

/// Returns a point in time, in seconds since 1970.
pub fn moment(seconds: impl Whole) -> Moment {
    Moment(seconds.whole())
}

/// Returns the time of the day of a time as in RFC 3339.
pub fn clock(time: &str) -> &str {
    time.get(11..19).unwrap_or(time)
}

/// Returns a text from outside on one line: cut if it is very long, with what cannot be seen spelt out.
/// The template escapes it for HTML.
pub fn outside(text: impl ToString) -> Escaped<String> {
    Escaped(cut(text.to_string()))
}

/// Returns the first 12 digits of a digest.
pub fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}

/// Writes a number with its digits in groups of three.
pub fn count(number: impl Whole) -> String {
    let digits = number.whole().to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Writes a rate: with one decimal if it is small.
pub fn rate(number: impl Real) -> String {
    match number.real() {
        none if none.abs() < 0.05 => "0".to_owned(),
        small if small < 9.95 => format!("{small:.1}"),
        number => count(number.round() as u64),
    }
}

/// Writes a share of 1.
pub fn percent(share: impl Real) -> String {
    match share.real() * 100.0 {
        none if none <= 0.0 => "0 %".to_owned(),
        tiny if tiny < 0.1 => "< 0.1 %".to_owned(),
        some if some < 9.95 => format!("{some:.1} %"),
        // 99.96 is not all.
        most if most < 100.0 => format!("{} %", most.round().min(99.0)),
        _ => "100 %".to_owned(),
    }
}

pub fn bytes(number: impl Whole) -> String {
    let number = number.whole();
    let units = [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(size, _)| number >= *size) {
        None => format!("{number} B"),
        Some((size, unit)) => match number as f64 / size as f64 {
            small if small < 9.95 => format!("{small:.1} {unit}"),
            large => format!("{large:.0} {unit}"),
        },
    }
}

/// Writes a short duration, in seconds.
pub fn seconds(duration: impl Real) -> String {
    let duration = duration.real();
    if duration <= 0.0 {
        return "0 s".to_owned();
    }
    let units = [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs")];
    let unit = units.into_iter().find(|(size, _)| duration >= *size);
    let (size, name) = unit.unwrap_or((1e-9, "ns"));
    match duration / size {
        small if small < 9.95 && name != "ns" => format!("{small:.1} {name}"),
        large => format!("{large:.0} {name}"),
    }
}

/// Writes a number of milliseconds.
pub fn milliseconds(number: impl Whole) -> String {
    seconds(number.whole() as f64 / 1e3)
}

/// Writes a number in one of the ways that templates and the script name.
pub fn written(how: &str, number: f64) -> String {
    match how {
        "rate" => rate(number),
        "percent" => percent(number),
        "seconds" => seconds(number),
        "bytes" => bytes(number.max(0.0) as u64),
        _ => count(number.max(0.0) as u64),
    }
}

/// Writes a number of seconds, by its two largest units.
pub fn span(seconds: impl Whole) -> String {
    let seconds = seconds.whole();
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    let plural = if days == 1 { "day" } else { "days" };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) if minutes < 5 && !seconds.is_multiple_of(60) => {
            format!("{minutes} min {} s", seconds % 60)
        }
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, 0, _) => format!("{days} {plural}"),
        (days, hours, _) if days < 7 => format!("{days} {plural} {hours} h"),
        (days, ..) => format!("{days} {plural}"),
    }
}

/// A point in time, in seconds since 1970, written in UTC.
#[derive(Clone, Copy)]
pub struct Moment(pub u64);

impl Moment {
    /// Returns it as in RFC 3339, which HTML wants.
    pub fn exact(self) -> String {
        let time = DateTime::from_unix_duration(Duration::from_secs(self.0));
        time.map(|time| time.to_string()).unwrap_or_default()
    }

    /// Returns the time of the day.
    pub fn clock(self) -> String {
        let seconds = self.0 % 86400;
        format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }

    /// Returns how long ago it was, or how far ahead it is.
    pub fn since(self, now: impl Whole) -> String {
        let now = now.whole();
        match now.checked_sub(self.0) {
            Some(0..=1) => "now".to_owned(),
            Some(past) => format!("{} ago", span(past)),
            None => format!("in {}", span(self.0 - now)),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} UTC", self.exact().replace('T', " ").trim_end_matches('Z'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped() {
        let shown = [0, 999, 1000, 1_234_567, u64::MAX].map(count);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567", "18,446,744,073,709,551,615"]);
    }

    #[test]
    fn rates_and_shares_are_as_exact_as_they_are_small() {
        let rates = [0.0, 0.04, 0.27, 9.94, 9.96, 1234.4].map(rate);
        assert_eq!(rates, ["0", "0", "0.3", "9.9", "10", "1,234"]);
        let shares = [0.0, 0.0001, 0.0123, 0.5, 0.9996, 1.0].map(percent);
        assert_eq!(shares, ["0 %", "< 0.1 %", "1.2 %", "50 %", "99 %", "100 %"]);
    }

    #[test]
    fn sizes_and_durations_have_a_unit() {
        let sizes = [0_u64, 1023, 1024, 10 << 20, 3 << 29].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "10 MiB", "1.5 GiB"]);
        let short = [0.0, 4.2e-8, 3.1e-6, 0.000_25, 0.0123, 1.5].map(seconds);
        assert_eq!(short, ["0 s", "42 ns", "3.1 µs", "250 µs", "12 ms", "1.5 s"]);
        let long = [0_u64, 59, 61, 600, 3600, 9000, 86400, 93_600, 864_000].map(span);
        let expected = [
            "0 s",
            "59 s",
            "1 min 1 s",
            "10 min",
            "1 h",
            "2 h 30 min",
            "1 day",
            "1 day 2 h",
            "10 days",
        ];
        assert_eq!(long, expected);
    }

    #[test]
    fn moments_are_dates() {
        for (seconds, written) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_796_000_000, "2026-11-30 00:53:20 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(Moment(seconds).to_string(), written);
        }
        assert_eq!(Moment(100).since(160_u64), "1 min ago");
        assert_eq!(Moment(7200).since(0_u64), "in 2 h");
    }

    #[test]
    fn what_cannot_be_seen_is_spelt_out() {
        assert_eq!(outside("a\u{202e}b\n").to_string(), r"a\u{202e}b\n");
        assert!(outside("x".repeat(10_000)).to_string().len() <= 4096);
    }
}
