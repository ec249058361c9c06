//! Lets in who has a token for the torrent (RFC 7519), signed by an issuer that the operator trusts.
//! `docs/policies/jwt.md` is for the operator.

mod claim;
mod config;
mod json;
mod keys;
mod refusal;
#[cfg(test)]
mod tests;
mod token;

use std::{fmt, time::Duration, time::SystemTime};

use karuta_plugin::{
    Announce, AnnounceFilter, Context, DataSink, Error, InfoHash, Policy, Role, Scrape,
    ScrapeFilter, Verdict, clock, log, metrics::Gauge, request, response, response::Scope, sets,
};

use config::{Config, Issuer};
use json::{Object, Value};
use keys::{Algorithm, Key};
use refusal::{Cause, Counts};
use token::Token;

/// A verdict holds for the same token and the same torrent, whoever shows it.
const SCOPE: Scope = Scope::INFO_HASH.union(Scope::CREDENTIAL);

struct Jwt {
    issuers: Vec<Issuer>,
    algorithms: Vec<Algorithm>,
    info_hash_claim: String,
    require_exp: bool,
    leeway: Duration,
    scrapes: bool,
    remember: Duration,
    /// The keys of each data source.
    sources: Vec<(sets::Raw, Vec<Key>)>,
    is_trial: bool,
    counts: Counts,
    keys: Gauge,
}

impl Policy for Jwt {
    type Config = Config;
    fn init(mut config: Config, context: &Context) -> Result<Self, Error> {
        let issuers = config.issuers()?;
        let mut sources: Vec<(sets::Raw, Vec<Key>)> = Vec::new();
        for Issuer { keys, .. } in &issuers {
            if !sources.iter().any(|(source, _)| source == keys) {
                sources.push((keys.clone(), Vec::new()));
            }
        }
        Ok(Self {
            issuers,
            algorithms: config.algorithms,
            info_hash_claim: config.info_hash_claim,
            require_exp: config.require_exp,
            leeway: *config.leeway,
            scrapes: config.scrapes,
            remember: *config.remember,
            sources,
            is_trial: context.role == Role::Trial,
            counts: Counts::new()?,
            keys: Gauge::new("jwt_keys", "Keys that tokens may be signed with.")?,
        })
    }
}

impl DataSink for Jwt {
    fn on_data(&mut self, name: &str, _: u64, data: &[u8]) -> Result<(), Error> {
        let found = self.sources.iter_mut().find(|(source, _)| source.name() == name);
        if let Some((_, keys)) = found {
            // Those of an earlier version are given back first: the host holds a limited number.
            keys.clear();
            *keys = Key::read_set(data, self.is_trial)?;
            let all: usize = self.sources.iter().map(|(_, keys)| keys.len()).sum();
            self.keys.set(all as f64);
        }
        Ok(())
    }
}

impl AnnounceFilter for Jwt {
    fn on_announce(&mut self, announce: &Announce) -> Verdict {
        self.decide(announce.info_hash())
    }
}

impl ScrapeFilter for Jwt {
    fn on_scrape(&mut self, scrape: &Scrape) -> Verdict {
        if self.scrapes { self.decide(scrape.info_hash()) } else { Verdict::Next }
    }
}

/// The times of a token, in seconds since 1970.
#[derive(Clone, Copy)]
struct Times {
    now: f64,
    expiry: Option<f64>,
}

impl Jwt {
    fn decide(&self, info_hash: InfoHash) -> Verdict {
        match self.judge(info_hash) {
            Ok(Times { now, expiry }) => {
                let left = expiry.map_or(f64::INFINITY, |expiry| expiry - now);
                self.remember(left);
                self.counts.accept();
                Verdict::Next
            }
            Err(Cause::Missing) => response::reject("unapproved request: missing jwt"),
            Err(cause) => {
                // Of a genuine token this stays so; what anybody can make up is not worth the room.
                if matches!(cause, Cause::InfoHash | Cause::Expired) {
                    self.remember(f64::INFINITY);
                }
                response::reject("unapproved request: invalid jwt")
            }
        }
    }

    /// Has the host remember the verdict, for so many seconds at most.
    fn remember(&self, seconds: f64) {
        let seconds = self.remember.as_secs_f64().min(seconds);
        if seconds >= 1.0 {
            response::remember(SCOPE, Duration::from_secs_f64(seconds));
        }
    }

    /// Whether the request has a good token for a torrent. Claims count only once the signature is
    /// right; `iss` and `aud` are looked at before, to know whose keys it is to be checked with.
    fn judge(&self, info_hash: InfoHash) -> Result<Times, Cause> {
        let refuse = |cause: Cause, why: fmt::Arguments| {
            self.counts.refuse(cause);
            log::debug!("{info_hash}: {why}");
            cause
        };
        let Some(credential) = request::credential() else {
            return Err(refuse(Cause::Missing, format_args!("no token")));
        };
        let malformed = |why: fmt::Arguments| refuse(Cause::Malformed, why);
        let token = Token::read(&credential).map_err(|why| malformed(format_args!("{why}")))?;
        let header = Object::read(&token.header)
            .map_err(|error| malformed(format_args!("the header: {error}")))?;
        let claims = Object::read(&token.claims)
            .map_err(|error| malformed(format_args!("the claims: {error}")))?;

        if header.get("crit").is_some() {
            return Err(refuse(Cause::Critical, format_args!("crit: none is known")));
        }
        let alg = header.text("alg").unwrap_or_default();
        let allowed = self.algorithms.iter().find(|one| one.name() == alg);
        let algorithm = *allowed.ok_or_else(|| {
            refuse(Cause::Algorithm, format_args!("alg: {:?} is not allowed", short(alg)))
        })?;

        let iss = claims.text("iss").unwrap_or_default();
        let mut of_issuer = self.issuers.iter().filter(|one| one.issuer == iss).peekable();
        if of_issuer.peek().is_none() {
            return Err(refuse(Cause::Issuer, format_args!("iss: {:?} is unknown", short(iss))));
        }
        let aud = claims.get("aud");
        let issuer = of_issuer
            .find(|one| aud.is_some_and(|aud| aud.names(&one.audience)))
            .ok_or_else(|| refuse(Cause::Audience, format_args!("aud: another audience")))?;

        let kid = header.text("kid");
        let kid = kid.ok_or_else(|| refuse(Cause::Key, format_args!("kid: missing")))?;
        let keys = self.sources.iter().find(|(source, _)| *source == issuer.keys);
        let keys = keys.map_or(&[][..], |(_, keys)| keys);
        let mut of_kid = keys.iter().filter(|key| key.kid == kid).peekable();
        if of_kid.peek().is_none() {
            // The issuer may have made a new one.
            issuer.keys.refresh();
            return Err(refuse(Cause::Key, format_args!("kid: {:?} is unknown", short(kid))));
        }
        let mut of_algorithm = of_kid.filter(|key| key.has(algorithm)).peekable();
        if of_algorithm.peek().is_none() {
            return Err(refuse(Cause::Algorithm, format_args!("alg: {alg} is not the key's")));
        }
        if !of_algorithm.any(|key| key.verify(algorithm, token.signed, &token.signature)) {
            return Err(refuse(Cause::Signature, format_args!("the signature is wrong")));
        }

        let claim = claims.text(&self.info_hash_claim).and_then(claim::info_hash);
        if claim != Some(info_hash) {
            let name = &self.info_hash_claim;
            return Err(refuse(Cause::InfoHash, format_args!("{name}: another torrent")));
        }
        let time = |name| match claims.get(name) {
            None => Ok(None),
            Some(Value::Number(seconds)) => Ok(Some(*seconds)),
            Some(_) => Err(malformed(format_args!("{name}: no number"))),
        };
        let (expiry, not_before) = (time("exp")?, time("nbf")?);
        let now = clock::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (now, leeway) = (now.as_secs_f64(), self.leeway.as_secs_f64());
        if expiry.is_none() && self.require_exp {
            return Err(refuse(Cause::Expired, format_args!("exp: missing")));
        }
        if let Some(expiry) = expiry.filter(|expiry| now >= expiry + leeway) {
            let ago = now - expiry;
            return Err(refuse(Cause::Expired, format_args!("exp: {ago:.0} s ago")));
        }
        if let Some(not_before) = not_before.filter(|not_before| now < not_before - leeway) {
            let ahead = not_before - now;
            return Err(refuse(Cause::NotYet, format_args!("nbf: in {ahead:.0} s")));
        }
        Ok(Times { now, expiry })
    }
}

/// The beginning of a text that somebody else wrote, for the log.
fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(80)]
}

karuta_plugin::export!(Jwt: announce, scrape, data);
