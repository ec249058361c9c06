//! Who may use the admin API: tokens with their rights, and how often they may be guessed.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use hyper::header::{AUTHORIZATION, HOST, HeaderValue, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Method, StatusCode};
use subtle::ConstantTimeEq;

use super::caller::{Caller, Peer};
use super::reply::{Reply, line};
use super::request::Request;
use super::sessions::{self, Sessions};
use super::token::{Door, GazelleDoor, Token, Unit3dDoor, digest, tokens};
use crate::config::{self, RateLimits, Right};
use crate::limits::Limiter;
use crate::metrics::Denied;

/// The tokens in use, which a reload may change.
pub struct Access {
    tokens: ArcSwap<Vec<Token>>,
    /// Has a token of its own, which is none of the others.
    torrust: ArcSwapOption<Door>,
    /// Has passwords of its own.
    gazelle: ArcSwapOption<GazelleDoor>,
    /// Has a key of its own.
    unit3d: ArcSwapOption<Unit3dDoor>,
    /// Wrong tokens from each prefix.
    wrong: Option<Limiter>,
    sessions: Sessions,
    /// Grows whenever somebody may have lost a right.
    version: AtomicU64,
}

/// The right to an answer that goes on: until somebody may have lost a right.
pub struct Admission {
    /// `None`: it came through a socket file, which needs no token.
    by: Option<(Arc<Access>, u64)>,
}

impl Admission {
    /// Admits a request that was allowed just now.
    pub fn of(request: &Request, access: &Arc<Access>) -> Self {
        let by = matches!(request.peer, Peer::Network(_));
        Self { by: by.then(|| (access.clone(), access.version())) }
    }

    pub fn has_ended(&self) -> bool {
        self.by.as_ref().is_some_and(|(access, version)| access.version() != *version)
    }
}

/// Why a request is refused.
#[derive(PartialEq, Eq, Debug)]
pub enum Denial {
    /// It comes from a web page of another origin.
    Origin,
    /// There are no tokens, and the host that it asks may be any.
    Host,
    Missing,
    Wrong,
    /// There were too many wrong tokens from its prefix.
    Limited,
    /// The token is not for this.
    Right(Arc<str>, Right),
}

/// How many wrong tokens a prefix may show.
const WRONG: RateLimits = RateLimits { per_second: 10, burst: 0, ipv4_prefix: 24, ipv6_prefix: 64 };

impl Access {
    pub fn new(admin: &config::Admin) -> Self {
        let access = Self::of(tokens(admin));
        access.torrust.store(Door::of(admin).map(Arc::new));
        access.gazelle.store(GazelleDoor::of(admin).map(Arc::new));
        access.unit3d.store(Unit3dDoor::of(admin).map(Arc::new));
        access
    }

    fn of(tokens: Vec<Token>) -> Self {
        Self {
            tokens: ArcSwap::from_pointee(tokens),
            torrust: ArcSwapOption::empty(),
            gazelle: ArcSwapOption::empty(),
            unit3d: ArcSwapOption::empty(),
            wrong: Limiter::new(&WRONG),
            sessions: Sessions::default(),
            version: AtomicU64::new(0),
        }
    }

    /// Changes the tokens and the doors. Returns whether they are others than before.
    pub fn adopt(&self, admin: &config::Admin) -> bool {
        let new = tokens(admin);
        let changed = **self.tokens.load() != new;
        if changed {
            self.sessions.keep(|digest| new.iter().any(|token| token.digest == *digest));
            self.tokens.store(Arc::new(new));
            self.version.fetch_add(1, Relaxed);
        }
        let torrust = Door::of(admin).map(Arc::new);
        let other_door = *self.torrust.load() != torrust;
        self.torrust.store(torrust);
        let gazelle = GazelleDoor::of(admin);
        let other_gazelle = adopt_door(&self.gazelle, gazelle, GazelleDoor::is_like);
        let unit3d = Unit3dDoor::of(admin);
        let other_unit3d = adopt_door(&self.unit3d, unit3d, Unit3dDoor::is_like);
        changed || other_door || other_gazelle || other_unit3d
    }

    /// Returns the door for a Gazelle, if it is open.
    pub(super) fn gazelle(&self) -> Option<Arc<GazelleDoor>> {
        self.gazelle.load_full()
    }

    /// Returns the door for a UNIT3D, if it is open.
    pub(super) fn unit3d(&self) -> Option<Arc<Unit3dDoor>> {
        self.unit3d.load_full()
    }

    /// Returns the door for sites that are made for torrust-tracker, if it is open.
    pub(super) fn torrust(&self) -> Option<Arc<Door>> {
        self.torrust.load_full()
    }

    /// Returns a number that is another one whenever somebody may have lost a right.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Relaxed)
    }

    pub(super) fn has_tokens(&self) -> bool {
        !self.tokens.load().is_empty()
    }

    /// Begins a session with a token. Returns its id, the name of the token, and its rights.
    ///
    /// # Errors
    ///
    /// The token is wrong, or there were too many wrong ones.
    pub(super) fn log_in(
        &self,
        shown: &[u8],
        from: IpAddr,
        now: Instant,
    ) -> Result<(String, String, Vec<Right>), Denial> {
        let tokens = self.tokens.load();
        let token = self.identify(&tokens, shown, from, now)?;
        let id = self.sessions.begin(token.digest, now);
        Ok((id, token.name.to_string(), token.may.clone()))
    }

    /// Ends a session.
    pub(super) fn log_out(&self, id: &str) {
        if self.sessions.end(id) {
            self.version.fetch_add(1, Relaxed);
        }
    }

    /// Judges a request that needs a right, or none; `is_secure` if addresses speak HTTPS. Requests must
    /// not come from a web page of another origin. They need a token or a session, except over a socket
    /// file.
    ///
    /// # Errors
    ///
    /// Why the request is refused.
    pub(super) fn judge(
        &self,
        right: Option<Right>,
        request: &Request,
        is_secure: bool,
    ) -> Result<Caller, Denial> {
        let headers = &request.head.headers;
        // A name that is not text is not a loopback address.
        let host = headers.get(HOST).map(|host| host.to_str().unwrap_or_default());
        let is_secure = is_secure && matches!(request.peer, Peer::Network(_));
        let own_origin = |origin: &HeaderValue| {
            let scheme = if is_secure { "https://" } else { "http://" };
            let origin = origin.to_str().ok().and_then(|origin| origin.strip_prefix(scheme));
            origin.is_some() && origin == host
        };
        if headers.get(ORIGIN).is_some_and(|origin| !own_origin(origin)) {
            return Err(Denial::Origin);
        }
        let from = match request.peer {
            Peer::Network(from) => from,
            Peer::Process { uid } => return Ok(Caller::Uid(uid)),
        };
        if self.tokens.load().is_empty() {
            return match host {
                Some(host) if !is_loopback(host) => Err(Denial::Host),
                _ => Ok(Caller::Address(from)),
            };
        }
        let Some(right) = right else { return Ok(Caller::Address(from)) };
        let now = Instant::now();
        let Some(header) = headers.get(AUTHORIZATION) else {
            // A browser names the origin of every request that changes something.
            let looks = matches!(request.head.method, Method::GET | Method::HEAD);
            if !looks && !headers.contains_key(ORIGIN) {
                return Err(Denial::Missing);
            }
            let id = sessions::id(headers).ok_or(Denial::Missing)?;
            return self.check_session(id, right, now).map(Caller::Token);
        };
        let shown = bearer(header.as_bytes()).ok_or(Denial::Missing)?;
        self.check(shown, right, from, now).map(Caller::Token)
    }

    /// Checks the token of a session for a right, and returns its name. The session ends with the
    /// token.
    fn check_session(&self, id: &str, right: Right, now: Instant) -> Result<String, Denial> {
        let digest = self.sessions.token(id, now).ok_or(Denial::Missing)?;
        let tokens = self.tokens.load();
        match tokens.iter().find(|token| token.digest == digest) {
            Some(token) => token.allows(right),
            None => {
                self.sessions.end(id);
                Err(Denial::Missing)
            }
        }
    }

    /// Checks a token for a right, and returns its name. While there are too many wrong tokens from
    /// the prefix of `from`, none is compared.
    fn check(
        &self,
        shown: &[u8],
        right: Right,
        from: IpAddr,
        now: Instant,
    ) -> Result<String, Denial> {
        let tokens = self.tokens.load();
        self.identify(&tokens, shown, from, now)?.allows(right)
    }

    /// Returns the one of these tokens that is shown.
    ///
    /// # Errors
    ///
    /// There is none, or there were too many wrong ones.
    pub(super) fn identify<'a>(
        &self,
        tokens: &'a [Token],
        shown: &[u8],
        from: IpAddr,
        now: Instant,
    ) -> Result<&'a Token, Denial> {
        if self.wrong.as_ref().is_some_and(|wrong| wrong.is_exhausted(from, now)) {
            return Err(Denial::Limited);
        }
        let shown = digest(shown);
        // All are compared, however soon one fits.
        let fits = |token: &&Token| bool::from(token.digest.ct_eq(&shown));
        let fitting: Vec<_> = tokens.iter().filter(fits).collect();
        match fitting.first() {
            Some(token) => Ok(token),
            None => {
                if let Some(wrong) = &self.wrong {
                    wrong.admit(from, now);
                }
                Err(Denial::Wrong)
            }
        }
    }
}

/// Changes a door, unless it is the same. Returns whether it is another one.
fn adopt_door<D>(
    known: &ArcSwapOption<D>,
    door: Option<D>,
    is_like: impl Fn(&D, &D) -> bool,
) -> bool {
    let is_same = match (known.load().as_deref(), &door) {
        (Some(known), Some(door)) => is_like(known, door),
        (known, door) => known.is_none() && door.is_none(),
    };
    if !is_same {
        known.store(door.map(Arc::new));
    }
    !is_same
}

impl Token {
    /// Returns the name, if the token is for this.
    fn allows(&self, right: Right) -> Result<String, Denial> {
        match self.may.contains(&right) {
            true => Ok(self.name.to_string()),
            false => Err(Denial::Right(self.name.clone(), right)),
        }
    }
}

impl Denial {
    /// Returns how it is counted.
    pub(super) fn reason(&self) -> Denied {
        match self {
            Self::Origin => Denied::Origin,
            Self::Host => Denied::Host,
            Self::Missing => Denied::Missing,
            Self::Wrong => Denied::Wrong,
            Self::Limited => Denied::Limited,
            Self::Right(..) => Denied::Right,
        }
    }

    pub(super) fn reply(&self) -> Reply {
        match self {
            Self::Origin => {
                line(StatusCode::FORBIDDEN, "requests from other origins are not allowed")
            }
            Self::Host => {
                let reason = "without a token, the host must be a loopback address";
                line(StatusCode::FORBIDDEN, reason)
            }
            Self::Missing | Self::Wrong => {
                let reason = match self {
                    Self::Wrong => "this token is not known",
                    _ => "a bearer token is required",
                };
                let mut reply = line(StatusCode::UNAUTHORIZED, reason);
                let scheme = HeaderValue::from_static("Bearer");
                reply.headers_mut().insert(WWW_AUTHENTICATE, scheme);
                reply
            }
            Self::Limited => {
                let mut reply = line(StatusCode::TOO_MANY_REQUESTS, "too many wrong tokens");
                reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
                reply
            }
            Self::Right(token, right) => {
                let right = right.name();
                let reason = format!("the token `{token}` lacks the right `{right}`");
                line(StatusCode::FORBIDDEN, &reason)
            }
        }
    }
}

/// Returns the token of an `Authorization` header. The scheme's name is case-insensitive (RFC 9110,
/// 11.1), and more than one blank may follow it.
pub(super) fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_first_chunk::<6>()?;
    let begins = scheme.eq_ignore_ascii_case(b"bearer") && token.starts_with(b" ");
    begins.then(|| token.trim_ascii())
}

/// Returns whether a `Host` header names this machine by a loopback address.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::OWNER;

    const READER: &[u8] = b"the token of a reader";

    fn access() -> Access {
        let token = |name: &str, value: &[u8], may: &[Right]| Token {
            name: name.into(),
            digest: digest(value),
            may: may.to_owned(),
        };
        let tokens =
            vec![token(OWNER, b"short", &Right::ALL), token("reader", READER, &[Right::Read])];
        Access::of(tokens)
    }

    #[test]
    fn a_token_allows_what_it_is_for() {
        let access = access();
        let from = IpAddr::from([192, 0, 2, 1]);
        for right in Right::ALL {
            assert_eq!(access.check(b"short", right, from, Instant::now()), Ok(OWNER.into()));
            let expected = match right {
                Right::Read => Ok("reader".into()),
                _ => Err(Denial::Right("reader".into(), right)),
            };
            assert_eq!(access.check(READER, right, from, Instant::now()), expected);
        }
        for wrong in [&b""[..], b"shor", b"short ", b"the token of a reade"] {
            assert_eq!(access.check(wrong, Right::Read, from, Instant::now()), Err(Denial::Wrong));
        }
    }

    #[test]
    fn a_prefix_that_guesses_is_not_heard_for_a_while() {
        let access = access();
        let now = Instant::now();
        let check = |token: &[u8], from: &str, now| {
            access.check(token, Right::Read, from.parse().unwrap(), now)
        };
        for _ in 0..10 {
            assert_eq!(check(b"guess", "192.0.2.1", now), Err(Denial::Wrong));
        }
        assert_eq!(check(b"guess", "192.0.2.1", now), Err(Denial::Limited));
        assert_eq!(check(READER, "192.0.2.77", now), Err(Denial::Limited), "it may be a guess");
        assert_eq!(check(READER, "192.0.3.1", now), Ok("reader".into()));
        let later = now + Duration::from_millis(100);
        for _ in 0..3 {
            let said = check(READER, "192.0.2.77", later);
            assert_eq!(said, Ok("reader".into()), "right tokens cost nothing");
        }
        assert_eq!(check(b"guess", "192.0.2.1", later), Err(Denial::Wrong));
        assert_eq!(check(READER, "192.0.2.77", later), Err(Denial::Limited));
    }

    #[test]
    fn a_session_has_the_rights_of_its_token_and_ends_with_it() {
        let access = access();
        let (from, now) = (IpAddr::from([192, 0, 2, 1]), Instant::now());
        assert_eq!(access.log_in(b"guess", from, now), Err(Denial::Wrong));
        let (id, name, may) = access.log_in(READER, from, now).unwrap();
        assert_eq!((&*name, may), ("reader", vec![Right::Read]));
        let check = |right| access.check_session(&id, right, now);
        assert_eq!(check(Right::Read), Ok("reader".into()));
        assert_eq!(check(Right::Reload), Err(Denial::Right("reader".into(), Right::Reload)));
        assert_eq!(access.check_session(&"0".repeat(32), Right::Read, now), Err(Denial::Missing));
        let before = access.version();
        assert!(access.adopt(&config::Admin::default()));
        assert_ne!(access.version(), before);
        assert_eq!(check(Right::Read), Err(Denial::Missing));
        for _ in 0..10 {
            let _ = access.log_in(b"guess", from, now);
        }
        assert_eq!(access.log_in(b"short", from, now), Err(Denial::Limited));
    }

    #[test]
    fn the_scheme_bearer_is_read_in_any_case() {
        for header in ["Bearer a b", "bearer a b", "BEARER  a b ", "Bearer \ta b"] {
            assert_eq!(bearer(header.as_bytes()), Some(&b"a b"[..]), "{header}");
        }
        for header in ["", "Bearer", "Bearera b", "Basic a b", "a b", " Bearer a b"] {
            assert_eq!(bearer(header.as_bytes()), None, "{header}");
        }
    }

    #[test]
    fn only_loopback_names_and_addresses_are_loopback_hosts() {
        for host in
            ["localhost", "LOCALHOST:6880", "127.0.0.1:6880", "127.9.9.9", "[::1]:6880", "[::1]"]
        {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["example.org", "127.0.0.1.example.org", "10.0.0.1:6880", "", "[::1", "0.0.0.0"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
