//! What the operator says.

use jwt_rules::{Algorithm, Rules};
use karuta_plugin::{Error, config::Duration, sets};
use serde::Deserialize;

/// The data source of keys that are not said to be elsewhere.
const KEYS: &str = "jwks";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    issuer: Option<String>,
    audience: Option<String>,
    keys: Option<sets::Raw>,
    issuers: Option<Vec<One>>,
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

/// One of `issuers`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    issuer: String,
    audience: String,
    keys: Option<sets::Raw>,
}

/// Whose tokens are good.
pub struct Issuer {
    /// What `iss` says.
    pub issuer: String,
    /// What `aud` says, or one of them.
    pub audience: String,
    /// Where the public keys are.
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
    /// What is asked of every token.
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

    /// The issuers, of which there is one at least.
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
                "stands beside issuer, audience or keys, expected one or the other",
            )),
            ((Some(issuer), Some(audience), keys), None) => {
                read(vec![One { issuer, audience, keys }], |_, key| key.into())
            }
            ((None, ..), None) => Err(missing("issuer")),
            ((_, None, _), None) => Err(missing("audience")),
        }
    }
}

/// `path` says where a key of the entry at an index stands.
fn read(list: Vec<One>, path: impl Fn(usize, &str) -> String) -> Result<Vec<Issuer>, Error> {
    let mut issuers: Vec<Issuer> = Vec::new();
    for (at, One { issuer, audience, keys }) in list.into_iter().enumerate() {
        for (key, value) in [("issuer", &issuer), ("audience", &audience)] {
            if value.is_empty() {
                return Err(Error::at(path(at, key), "empty, expected a text"));
            }
        }
        let before = issuers
            .iter()
            .position(|other| (&other.issuer, &other.audience) == (&issuer, &audience));
        if let Some(before) = before {
            let same = format!("the issuer and audience of issuers[{before}], expected others");
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
