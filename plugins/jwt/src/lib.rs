//! Admits requests with a token for the torrent (RFC 7519), signed by a trusted issuer. See
//! `docs/policies/jwt.md`.

mod config;
mod counts;
mod keys;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use jwt_rules::{Cause, Header, Object, Refusal, Rules, Token, short};
use karuta_plugin::{
    Announce, AnnounceFilter, Context, DataSink, Error, InfoHash, Policy, Role, Scrape,
    ScrapeFilter, Verdict, clock, log, metrics::Gauge, request, response, response::Scope, sets,
};

use config::{Config, Issuer};
use counts::Counts;
use keys::Key;

/// A verdict depends on the token and the torrent, not on the client.
const SCOPE: Scope = Scope::INFO_HASH.union(Scope::CREDENTIAL);

struct Jwt {
    issuers: Vec<Issuer>,
    rules: Rules,
    scrapes: bool,
    remember: Duration,
    /// The keys of each data source.
    sources: Vec<(sets::Raw, Vec<Key>)>,
    is_trial: bool,
    /// The header of the last token that had one, encoded and decoded. Most tokens have the same
    /// header as the one before.
    latest: RefCell<Option<(String, Rc<Header>)>>,
    counts: Counts,
    keys: Gauge,
}

impl Policy for Jwt {
    type Config = Config;
    fn init(mut config: Config, context: &Context) -> Result<Self, Error> {
        let (rules, issuers) = (config.rules()?, config.issuers()?);
        let mut sources: Vec<(sets::Raw, Vec<Key>)> = Vec::new();
        for Issuer { keys, .. } in &issuers {
            if !sources.iter().any(|(source, _)| source == keys) {
                sources.push((keys.clone(), Vec::new()));
            }
        }
        Ok(Self {
            issuers,
            rules,
            scrapes: config.scrapes,
            remember: *config.remember,
            sources,
            is_trial: context.role() == Role::Trial,
            latest: RefCell::default(),
            counts: Counts::new()?,
            keys: Gauge::new("jwt_keys", "Keys that tokens may be signed with.")?,
        })
    }
}

impl DataSink for Jwt {
    fn on_data(&mut self, name: &str, _: u64, data: &[u8]) -> Result<(), Error> {
        let found = self.sources.iter_mut().find(|(source, _)| source.name() == name);
        if let Some((_, keys)) = found {
            // The keys of the old version are freed first, because the host limits their number.
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

impl Jwt {
    fn decide(&self, info_hash: InfoHash) -> Verdict {
        let now = clock::unix_time().as_secs_f64();
        match self.judge(info_hash, now) {
            Ok(expiry) => {
                self.remember(expiry.map_or(f64::INFINITY, |expiry| expiry - now));
                self.counts.accept();
                Verdict::Next
            }
            Err(Refusal { cause, why }) => {
                // Permanent for a genuine token. Tokens that anyone can make up must not fill the
                // cache.
                if matches!(cause, Cause::InfoHash | Cause::Expired) {
                    self.remember(f64::INFINITY);
                }
                self.counts.refuse(cause);
                log::debug!("{info_hash}: {why}");
                response::reject(match cause {
                    Cause::Missing => "unapproved request: missing jwt",
                    _ => "unapproved request: invalid jwt",
                })
            }
        }
    }

    /// Lets the host remember the verdict, for at most this many seconds.
    fn remember(&self, seconds: f64) {
        let seconds = self.remember.as_secs_f64().min(seconds);
        if seconds >= 1.0 {
            response::remember(SCOPE, Duration::from_secs_f64(seconds));
        }
    }

    /// Checks that the request has a valid token for a torrent, and returns when it expires. Claims
    /// count only after the signature has been verified. Before, `iss` and `aud` select the keys.
    fn judge(&self, info_hash: InfoHash, now: f64) -> Result<Option<f64>, Refusal> {
        let credential = request::credential();
        let credential = credential.ok_or_else(|| Refusal::new(Cause::Missing, "no token"))?;
        let token = Token::read(&credential)?;
        let (header, claims) = (self.header(token.header)?, token.claims()?);
        let algorithm = self.rules.algorithm(&header)?;
        let Issuer { keys: source, .. } = self.issuer(&claims)?;
        let keys = self.sources.iter().find(|(known, _)| known == source);
        let keys = keys.map_or(&[][..], |(_, keys)| keys);
        let right = |key: &Key| key.verify(algorithm, token.signed, &token.signature);
        jwt_rules::verify(&header, algorithm, keys, |key| &key.jwk, right).inspect_err(
            |refusal| {
                if refusal.cause == Cause::Key && header.kid.is_some() {
                    // The issuer may have added a key.
                    source.refresh();
                }
            },
        )?;
        self.rules.claims(&claims, info_hash.to_bytes(), now)
    }

    fn header(&self, encoded: &str) -> Result<Rc<Header>, Refusal> {
        let mut latest = self.latest.borrow_mut();
        if let Some((text, header)) = &*latest
            && text == encoded
        {
            return Ok(header.clone());
        }
        let header = Rc::new(Header::read(encoded)?);
        *latest = Some((encoded.to_owned(), header.clone()));
        Ok(header)
    }

    /// Returns the entry for the issuer and the audience that a token claims.
    fn issuer(&self, claims: &Object) -> Result<&Issuer, Refusal> {
        let iss = claims.text("iss").unwrap_or_default();
        let mut named = self.issuers.iter().filter(|one| one.issuer == iss).peekable();
        if named.peek().is_none() {
            let why = format_args!("iss: {:?} is unknown", short(iss));
            return Err(Refusal::new(Cause::Issuer, why));
        }
        let aud = claims.get("aud");
        named
            .find(|one| aud.is_some_and(|aud| aud.names(&one.audience)))
            .ok_or_else(|| Refusal::new(Cause::Audience, "aud: another audience"))
    }
}

karuta_plugin::export!(Jwt: announce, scrape, data);
