//! How a tracker answered the requests of a probe.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use karuta_bittorrent::client::Answer;
use serde::{Serialize, Serializer};

use super::target::Target;
use crate::text::Escaped;

/// The answers of one tracker.
#[derive(Serialize)]
pub struct Report {
    /// Without what may be secret.
    url: String,
    /// The last address that answered.
    address: Option<SocketAddr>,
    sent: u32,
    answered: u32,
    /// How long the answers took, in the order of the requests.
    #[serde(serialize_with = "milliseconds")]
    milliseconds: Vec<Duration>,
    interval_seconds: Option<u32>,
    seeders: Option<u32>,
    leechers: Option<u32>,
    /// Why the last request that failed did.
    error: Option<String>,
}

impl Report {
    pub fn new(target: &Target) -> Self {
        Self {
            url: target.shown(),
            address: None,
            sent: 0,
            answered: 0,
            milliseconds: Vec::new(),
            interval_seconds: None,
            seeders: None,
            leechers: None,
            error: None,
        }
    }

    pub fn with_error(mut self, reason: String) -> Self {
        self.error = Some(reason);
        self
    }

    pub fn answered(&mut self, address: SocketAddr, took: Duration, answer: &Answer) {
        self.sent += 1;
        self.answered += 1;
        self.address = Some(address);
        self.milliseconds.push(took);
        match *answer {
            Answer::Announce { interval } => self.interval_seconds = Some(interval),
            Answer::Scrape { seeders, leechers } => {
                (self.seeders, self.leechers) = (Some(seeders), Some(leechers));
            }
            Answer::Failure(_) => {}
        }
    }

    pub fn refused(&mut self, address: SocketAddr, text: String) {
        self.address = Some(address);
        self.failed(format!("refused: {text}"));
    }

    pub fn failed(&mut self, reason: String) {
        self.sent += 1;
        self.error = Some(reason);
    }

    /// Returns whether every request was answered.
    pub fn is_well(&self) -> bool {
        self.error.is_none()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.is_well() { "ok" } else { "failed" };
        write!(f, "{word:<6}  {}", Escaped(&self.url))?;
        if self.sent > 1 {
            write!(f, "  {} of {} answered", self.answered, self.sent)?;
        }
        let mut sorted = self.milliseconds.clone();
        sorted.sort();
        let shown = |took: &Duration| format!("{:.1}", took.as_secs_f64() * 1e3);
        match &sorted[..] {
            [] => {}
            [one] => write!(f, "  {} ms", shown(one))?,
            [least, .., most] => {
                let half = shown(&sorted[sorted.len() / 2]);
                write!(f, "  {} to {} ms, half within {half} ms", shown(least), shown(most))?;
            }
        }
        if let Some(interval) = self.interval_seconds {
            write!(f, "  interval {interval} s")?;
        }
        if let (Some(seeders), Some(leechers)) = (self.seeders, self.leechers) {
            write!(f, "  {seeders} seeders, {leechers} leechers")?;
        }
        match &self.error {
            Some(error) => write!(f, "  {}", Escaped(error)),
            None => Ok(()),
        }
    }
}

fn milliseconds<S: Serializer>(took: &[Duration], serializer: S) -> Result<S::Ok, S::Error> {
    // Microseconds are as exact as the clock.
    serializer.collect_seq(took.iter().map(|took| took.as_micros() as f64 / 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracker_has_one_line() {
        let target = Target::parse("http://a:80/k/announce?key=secret").unwrap();
        let address = ([127, 0, 0, 1], 80).into();
        let mut report = Report::new(&target);
        report.answered(address, Duration::from_micros(1260), &Answer::Announce { interval: 1800 });
        assert_eq!(report.to_string(), "ok      http://a/…/announce  1.3 ms  interval 1800 s");
        for took in [900, 4000] {
            report.answered(address, Duration::from_micros(took), &Answer::Failure("no".into()));
        }
        report.refused(address, "go\naway".into());
        assert_eq!(
            report.to_string(),
            "failed  http://a/…/announce  3 of 4 answered  0.9 to 4.0 ms, half within 1.3 ms  \
             interval 1800 s  refused: go\\naway"
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["milliseconds"], serde_json::json!([1.26, 0.9, 4.0]));
        let report = Report::new(&target).with_error("nothing listens there".into());
        assert_eq!(report.to_string(), "failed  http://a/…/announce  nothing listens there");
    }
}
