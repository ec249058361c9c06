//! `karuta probe`: asks a tracker as a client would, and says how it answered.

mod http;
mod report;
mod target;
mod udp;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use karuta_bittorrent::client::Answer;
use karuta_bittorrent::{Announce, Event, InfoHash, PeerForm, PeerId};

use self::report::Report;
use self::target::{Target, Transport};
use crate::config;
use crate::text::Escaped;
use crate::tls::Trust;

/// What to probe, and how.
#[derive(clap::Args)]
pub struct Probe {
    /// The announce URL of a tracker, with http, https or udp; may be given several times.
    #[arg(required = true, value_name = "URL", value_parser = Target::parse)]
    urls: Vec<Target>,
    /// Scrape instead of announcing.
    #[arg(long)]
    scrape: bool,
    /// How many requests each tracker gets, one after the other.
    #[arg(
        long,
        value_name = "N",
        default_value = "1",
        value_parser = clap::value_parser!(u32).range(1..=1000),
    )]
    count: u32,
    /// How long an answer may take.
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = deadline)]
    deadline: Duration,
    /// The info-hash of a torrent that the tracker allows, as 40 hexadecimal digits.
    #[arg(
        long,
        value_name = "HEX",
        default_value = "0000000000000000000000000000000000000000",
        value_parser = info_hash,
    )]
    info_hash: InfoHash,
    /// The first bytes of the peer id.
    #[arg(
        long,
        value_name = "PREFIX",
        default_value = "-KP0001-",
        allow_hyphen_values = true,
        value_parser = peer_id,
    )]
    peer_id: PeerId,
    /// Be content with a failure that the tracker answers, such as `unapproved torrent`.
    #[arg(long)]
    any_answer: bool,
    /// The file with the certificates of the issuers to trust, in PEM [default: those that the system
    /// trusts].
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A port on which no client listens: whatever the tracker does with the announce, it concerns no
/// peer at this address.
const PORT: u16 = 1;

/// One request of the probe.
enum Request {
    /// That a peer leaves. It passes everything that an announce passes, but enters no peer.
    Announce(Announce),
    Scrape(InfoHash),
}

impl Probe {
    /// Probes all trackers, and prints a line for each. Exits with 0 if all of them answered every
    /// request, otherwise with 1; with 2 for wrong usage.
    pub fn run(self) -> ExitCode {
        let failed = |text: String| {
            eprintln!("karuta: {}", Escaped(text));
            ExitCode::FAILURE
        };
        let trust = match &self.ca {
            Some(file) => Trust::default().with_file(file),
            None => Ok(Trust::default()),
        };
        let trust = match trust {
            Ok(trust) => trust,
            Err(reason) => return failed(format!("--ca: {reason}")),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return failed(error.to_string()),
        };
        let mut reports = Vec::new();
        for target in &self.urls {
            let report = runtime.block_on(self.probe(target, &trust));
            if !self.json {
                println!("{report}");
            }
            reports.push(report);
        }
        let is_well = reports.iter().all(Report::is_well);
        if self.json {
            println!("{:#}", serde_json::json!({ "ok": is_well, "trackers": reports }));
        }
        // Looking up a name cannot be interrupted.
        runtime.shutdown_background();
        if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    async fn probe(&self, target: &Target, trust: &Trust) -> Report {
        let mut report = Report::new(target);
        let scraped = if self.scrape { target.clone().of_scrape() } else { Ok(target.clone()) };
        let target = match scraped {
            Ok(target) => target,
            Err(reason) => return report.with_error(reason),
        };
        let request = match self.scrape {
            true => Request::Scrape(self.info_hash),
            false => Request::Announce(leaving(self.info_hash, self.peer_id)),
        };
        for _ in 0..self.count {
            let asked = Instant::now();
            let answer = tokio::time::timeout(self.deadline, ask(&target, &request, trust)).await;
            let took = asked.elapsed();
            match answer {
                Ok(Ok((address, Answer::Failure(text)))) if !self.any_answer => {
                    report.refused(address, text);
                }
                Ok(Ok((address, answer))) => report.answered(address, took, &answer),
                Ok(Err(reason)) => report.failed(reason),
                Err(_) => report.failed(format!("no answer within {:?}", self.deadline)),
            }
        }
        report
    }
}

async fn ask(
    target: &Target,
    request: &Request,
    trust: &Trust,
) -> Result<(SocketAddr, Answer), String> {
    let host = target.url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let found = tokio::net::lookup_host((host, target.port())).await;
    let found: Vec<_> =
        found.map_err(|error| format!("cannot look up the name: {error}"))?.collect();
    let mut last = "the name has no address".to_owned();
    for address in found {
        let answer = match target.transport {
            Transport::Udp => udp::ask(address, target, request).await,
            Transport::Http => http::ask(address, target, request, None).await,
            Transport::Https => http::ask(address, target, request, Some(trust)).await,
        };
        match answer {
            Ok(answer) => return Ok((address, answer)),
            Err(reason) => last = reason,
        }
    }
    Err(last)
}

/// Returns the announce of a peer that leaves. Karuta makes no swarm of it, and no tracker gives it
/// to anybody.
fn leaving(info_hash: InfoHash, peer_id: PeerId) -> Announce {
    Announce {
        info_hash,
        peer_id,
        port: PORT,
        event: Event::Stopped,
        left: Some(1),
        uploaded: 0,
        downloaded: 0,
        num_want: Some(0),
        ip: None,
        has_totals: true,
        corrupt: 0,
        form: PeerForm::Compact,
    }
}

/// Says what is wrong with a connection, in words.
fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nothing listens there".into(),
        io::ErrorKind::ConnectionReset => "the connection was reset".into(),
        io::ErrorKind::UnexpectedEof => "the connection ended before the answer".into(),
        _ => error.to_string(),
    }
}

fn deadline(text: &str) -> Result<Duration, String> {
    match config::parse_duration(text) {
        Some(duration) if !duration.is_zero() && duration <= Duration::from_secs(600) => {
            Ok(duration)
        }
        _ => Err("expected a duration such as 500ms or 5s, at most 10m".into()),
    }
}

fn info_hash(text: &str) -> Result<InfoHash, String> {
    InfoHash::from_hex(text).ok_or_else(|| "expected 40 hexadecimal digits".into())
}

/// Fills a peer id up with zeros.
fn peer_id(prefix: &str) -> Result<PeerId, String> {
    if prefix.len() > 20 || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("expected at most 20 visible ASCII characters".into());
    }
    let mut id = [b'0'; 20];
    id[..prefix.len()].copy_from_slice(prefix.as_bytes());
    Ok(PeerId(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_say_what_they_expect() {
        assert_eq!(deadline("1s500ms"), Ok(Duration::from_millis(1500)));
        for text in ["", "0s", "5", "11m", "-1s", "soon"] {
            assert!(deadline(text).is_err(), "{text}");
        }
        assert_eq!(info_hash(&"0a".repeat(20)), Ok(InfoHash([10; 20])));
        for text in ["", "0a", "zz", &"0g".repeat(20), &"0a".repeat(21)] {
            assert!(info_hash(text).is_err(), "{text}");
        }
        assert_eq!(peer_id("-AB-"), Ok(PeerId(*b"-AB-0000000000000000")));
        for text in ["a b", "ä", "a\n", &"x".repeat(21)] {
            assert!(peer_id(text).is_err(), "{text}");
        }
    }
}
