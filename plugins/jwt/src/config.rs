//! The policy's configuration.

use jwt_rules::{Algorithm, Rules};
use karuta_plugin::{Error, config::Duration, sets};
use serde::Deserialize;

/// The data source of the keys, if the configuration does not name one.
const KEYS: &str = "jwks";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    issuer: Option<String>,
    audience: Option<String>,
    keys: Option<sets::Raw>,
    issuers: Option<Vec<Entry>>,
    #[serde(default = "algorithms")]
    algorithms: Vec<Algorithm>,
    #[serde(default = "info_hash_claim")]
    info_hash_claim: String,
    #[serde(default)]
    require_exp: bool,
    #[serde(default = "leeway")]
    leeway: Duration,
    #[serde(default)]
    pub scrapes: bool,
    #[serde(default = "remember")]
    pub remember: Duration,
}

/// An entry of `issuers`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    issuer: String,
    audience: String,
    keys: Option<sets::Raw>,
}

/// An issuer whose tokens are accepted.
pub struct Issuer {
    /// The expected `iss`.
    pub issuer: String,
    /// The expected `aud`, or a member of it.
    pub audience: String,
    /// The data source of the public keys.
    pub keys: sets::Raw,
}

fn algorithms() -> Vec<Algorithm> {
    vec![Algorithm::RS256]
}

fn info_hash_claim() -> String {
    "infohash".into()
}

fn leeway() -> Duration {
    Duration(std::time::Duration::from_secs(30))
}

fn remember() -> Duration {
    Duration(std::time::Duration::from_mins(5))
}

impl Config {
    /// Returns the rules for every token.
    pub fn rules(&mut self) -> Result<Rules, Error> {
        if self.algorithms.is_empty() {
            return Err(Error::at("algorithms", "an empty list, expected at least one"));
        }
        if self.info_hash_claim.is_empty() {
            return Err(Error::at("info_hash_claim", "empty, expected the name of a claim"));
        }
        Ok(Rules {
            algorithms: std::mem::take(&mut self.algorithms),
            info_hash_claim: std::mem::take(&mut self.info_hash_claim),
            require_exp: self.require_exp,
            leeway: *self.leeway,
        })
    }

    /// Returns the issuers; there is at least one.
    pub fn issuers(&mut self) -> Result<Vec<Issuer>, Error> {
        let own = (self.issuer.take(), self.audience.take(), self.keys.take());
        let missing = |key| Error::new(format!("missing key `{key}`"));
        match (own, self.issuers.take()) {
            ((None, None, None), Some(list)) if list.is_empty() => {
                Err(Error::at("issuers", "an empty list, expected at least one"))
            }
            ((None, None, None), Some(list)) => read(list, |at, key| match key {
                "" => format!("issuers[{at}]"),
                key => format!("issuers[{at}].{key}"),
            }),
            (_, Some(_)) => Err(Error::at(
                "issuers",
                "given together with issuer, audience or keys, expected one or the other",
            )),
            ((Some(issuer), Some(audience), keys), None) => {
                read(vec![Entry { issuer, audience, keys }], |_, key| key.into())
            }
            ((None, ..), None) => Err(missing("issuer")),
            ((_, None, _), None) => Err(missing("audience")),
        }
    }
}

/// Reads the entries. `path` returns the path of a key of the entry at an index.
fn read(list: Vec<Entry>, path: impl Fn(usize, &str) -> String) -> Result<Vec<Issuer>, Error> {
    let mut issuers: Vec<Issuer> = Vec::new();
    for (at, Entry { issuer, audience, keys }) in list.into_iter().enumerate() {
        for (key, value) in [("issuer", &issuer), ("audience", &audience)] {
            if value.is_empty() {
                return Err(Error::at(path(at, key), "empty, expected a text"));
            }
        }
        let before = issuers
            .iter()
            .position(|other| (&other.issuer, &other.audience) == (&issuer, &audience));
        if let Some(before) = before {
            let same = format!("same issuer and audience as issuers[{before}], expected others");
            return Err(Error::at(path(at, ""), same));
        }
        let keys = match keys {
            Some(keys) => keys,
            None => sets::Raw::try_from(KEYS.to_owned())
                .map_err(|reason| Error::at(path(at, "keys"), reason))?,
        };
        issuers.push(Issuer { issuer, audience, keys });
    }
    Ok(issuers)
}
