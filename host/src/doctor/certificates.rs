//! Certificates: whether they can be served, and for how long.

use std::time::Duration;

use crate::config::Config;
use crate::finding::Finding;
use crate::time;
use crate::tls::Certificates;

const SUBJECT: &str = "certificate";
const DAY: u64 = 24 * 60 * 60;
/// A certificate that ends this soon was not renewed in time, in days.
const SOON: u64 = 14;

pub fn examine(config: &Config) -> Vec<Finding> {
    let certificates = match Certificates::load(config, Duration::ZERO) {
        Ok(certificates) => certificates,
        Err(error) => {
            let advice = "correct the file; if only the service may read it, run this as its user";
            return vec![Finding::wrong(SUBJECT, error.to_string(), advice)];
        }
    };
    let now = time::since_1970().as_secs();
    let shown = certificates.shown();
    let mut findings: Vec<_> = shown.iter().map(|one| ends(&one.file, one.end, now)).collect();
    // The dates are judged already.
    let others = certificates.warnings().into_iter().filter(|(_, said)| said.contains("chain"));
    findings.extend(others.map(|(key, said)| {
        let advice = "put the certificates in order: that of the host first, then its issuer";
        Finding::look(SUBJECT, format!("{key}: {said}"), advice)
    }));
    findings
}

/// Judges the end of a certificate, in seconds since 1970.
fn ends(file: &str, end: u64, now: u64) -> Finding {
    let advice = "renew it; a running tracker notices the new file by itself";
    match end.checked_sub(now).map(|left| left / DAY) {
        None => Finding::wrong(SUBJECT, format!("{file} has expired"), advice),
        Some(days @ ..SOON) => Finding::look(
            SUBJECT,
            format!("{file} ends in {days} days, and was not renewed"),
            advice,
        ),
        Some(days) => Finding::ok(SUBJECT, format!("{file} fits its key, and ends in {days} days")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Level;

    #[test]
    fn the_end_is_judged() {
        let now = 1000 * DAY;
        for (end, level, word) in [
            (now - 1, Level::Wrong, "has expired"),
            (now, Level::Look, "ends in 0 days"),
            (now + SOON * DAY - 1, Level::Look, "ends in 13 days"),
            (now + SOON * DAY, Level::Ok, "ends in 14 days"),
        ] {
            let found = ends("a.pem", end, now);
            assert_eq!(found.level, level, "{found}");
            assert!(found.found.contains(word), "{found}");
        }
    }
}
