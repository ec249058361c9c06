//! Sessions of web pages, which cannot send a token with each request.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use hyper::header::COOKIE;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

/// The sessions, which a restart ends.
#[derive(Default)]
pub struct Sessions(Mutex<VecDeque<Session>>);

struct Session {
    /// The digest of its id, so that comparing tells nothing about the id.
    digest: [u8; 32],
    /// The digest of the token that it stands for.
    token: [u8; 32],
    end: Instant,
}

/// The name of the cookie.
const NAME: &str = "karuta_session";
/// How long a session lasts.
pub const LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// The most sessions. The oldest one ends if there is another.
const MOST: usize = 256;

impl Sessions {
    /// Begins a session for a token with this digest. Returns its id.
    pub fn begin(&self, token: [u8; 32], now: Instant) -> String {
        let id = hex::encode(rand::random::<[u8; 16]>());
        let mut sessions = self.0.lock();
        sessions.retain(|one| one.end > now);
        if sessions.len() == MOST {
            sessions.pop_front();
        }
        sessions.push_back(Session { digest: digest(&id), token, end: now + LIFETIME });
        id
    }

    /// Returns the digest of the token that a session stands for.
    pub fn token(&self, id: &str, now: Instant) -> Option<[u8; 32]> {
        let digest = digest(id);
        let sessions = self.0.lock();
        let mut sessions = sessions.iter().filter(|one| one.end > now);
        sessions.find(|one| one.digest == digest).map(|one| one.token)
    }

    /// Ends the sessions of all tokens but those with these digests.
    pub fn keep(&self, is_kept: impl Fn(&[u8; 32]) -> bool) {
        self.0.lock().retain(|one| is_kept(&one.token));
    }

    /// Ends a session. Returns whether there was one.
    pub fn end(&self, id: &str) -> bool {
        let digest = digest(id);
        let mut sessions = self.0.lock();
        let before = sessions.len();
        sessions.retain(|one| one.digest != digest);
        sessions.len() < before
    }
}

/// Returns the session's id in the cookies of a request.
pub fn id(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';'));
    pairs.find_map(|pair| pair.trim().strip_prefix(NAME)?.strip_prefix('='))
}

/// Writes the cookie with a session's id, or one that removes it.
pub fn cookie(id: Option<&str>, is_secure: bool) -> String {
    let (id, age) = id.map_or(("", 0), |id| (id, LIFETIME.as_secs()));
    let secure = if is_secure { "; Secure" } else { "" };
    format!("{NAME}={id}; HttpOnly; SameSite=Strict; Path=/; Max-Age={age}{secure}")
}

fn digest(id: &str) -> [u8; 32] {
    Sha256::digest(id).into()
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn a_session_stands_for_its_token_until_it_ends() {
        let sessions = Sessions::default();
        let now = Instant::now();
        let [one, other] = [1, 2].map(|token| sessions.begin([token; 32], now));
        assert_eq!(one.len(), 32);
        assert_ne!(one, other);
        assert_eq!(sessions.token(&one, now), Some([1; 32]));
        assert_eq!(sessions.token(&one, now + LIFETIME), None);
        assert_eq!(sessions.token(&one[1..], now), None);
        assert_eq!([sessions.end(&one), sessions.end(&one)], [true, false]);
        assert_eq!(sessions.token(&one, now), None);
        assert_eq!(sessions.token(&other, now), Some([2; 32]));
        sessions.keep(|token| *token != [2; 32]);
        assert_eq!(sessions.token(&other, now), None);
    }

    #[test]
    fn sessions_are_bounded() {
        let sessions = Sessions::default();
        let now = Instant::now();
        let ids: Vec<_> = (0..=MOST).map(|_| sessions.begin([0; 32], now)).collect();
        assert_eq!(sessions.0.lock().len(), MOST);
        assert_eq!(sessions.token(&ids[0], now), None);
        assert!(sessions.token(&ids[MOST], now).is_some());
        sessions.begin([0; 32], now + LIFETIME);
        assert_eq!(sessions.0.lock().len(), 1);
    }

    #[test]
    fn the_id_is_found_among_other_cookies() {
        for (cookies, expected) in [
            (&["karuta_session=ab"][..], Some("ab")),
            (&["a=b; karuta_session=ab;c"], Some("ab")),
            (&["a=b", "karuta_session=ab"], Some("ab")),
            (&["karuta_sessions=ab"], None),
            (&["karuta_session"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for one in cookies {
                headers.append(COOKIE, HeaderValue::from_static(one));
            }
            assert_eq!(id(&headers), expected, "{cookies:?}");
        }
        assert_eq!(
            cookie(Some("ab"), true),
            "karuta_session=ab; HttpOnly; SameSite=Strict; Path=/; Max-Age=43200; Secure"
        );
        assert_eq!(
            cookie(None, false),
            "karuta_session=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0"
        );
    }
}
