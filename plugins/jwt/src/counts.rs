//! Metrics of accepted and rejected tokens. Clients are not told the cause.

use jwt_rules::Cause;
use karuta_plugin::{Error, metrics::Counter};

/// Each cause, with the name and the help text of its series.
const CAUSES: [(Cause, &str, &str); 11] = [
    (Cause::Missing, "jwt_missing_total", "Requests without a token."),
    (Cause::Malformed, "jwt_malformed_total", "Tokens that cannot be read."),
    (Cause::Critical, "jwt_critical_total", "Tokens with a `crit` header."),
    (
        Cause::Algorithm,
        "jwt_algorithm_total",
        "Tokens with an algorithm that is not allowed, or not the key's.",
    ),
    (Cause::Issuer, "jwt_issuer_total", "Tokens of an unknown issuer."),
    (Cause::Audience, "jwt_audience_total", "Tokens for another audience."),
    (Cause::Key, "jwt_key_total", "Tokens signed with a key that is not in the issuer's set."),
    (Cause::Signature, "jwt_signature_total", "Tokens with an invalid signature."),
    (Cause::InfoHash, "jwt_infohash_total", "Genuine tokens for another torrent."),
    (
        Cause::Expired,
        "jwt_expired_total",
        "Genuine tokens that have expired, or lack a required `exp`.",
    ),
    (Cause::NotYet, "jwt_not_yet_total", "Genuine tokens that are not valid yet."),
];

/// Counters of the decisions. Verdicts that the host remembers are not counted.
pub struct Counts {
    accepted: Counter,
    refused: [Counter; CAUSES.len()],
}

impl Counts {
    pub fn new() -> Result<Self, Error> {
        let accepted = Counter::new("jwt_accepted_total", "Valid tokens.")?;
        let mut refused = [accepted; CAUSES.len()];
        for (cause, name, help) in CAUSES {
            refused[cause as usize] = Counter::new(name, help)?;
        }
        Ok(Self { accepted, refused })
    }

    pub fn accept(&self) {
        self.accepted.add(1);
    }

    pub fn refuse(&self, cause: Cause) {
        self.refused[cause as usize].add(1);
    }
}
