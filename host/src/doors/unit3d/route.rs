//! What a call is about: `/announce/KEY/…`.

use hyper::{Method, StatusCode};

use super::Answer;

/// The target of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target<'a> {
    /// Whether the tracker is there, for whoever asks.
    Ping,
    /// A call, whose key has not been compared.
    Call { key: &'a str, rest: &'a str },
}

/// What a call is about, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Route {
    /// Adds, changes or removes what the body says.
    Edit {
        what: &'static str,
        adds: bool,
        name: &'static str,
    },
    User(u64),
    Torrent(u64),
    Stats,
    Reload,
}

/// What can be edited: the path, and the names of both calls for operators.
const EDITED: [[&str; 3]; 7] = [
    ["users", "put_users", "delete_users"],
    ["torrents", "put_torrents", "delete_torrents"],
    ["groups", "put_groups", "delete_groups"],
    ["blacklisted-agents", "put_blacklisted_agents", "delete_blacklisted_agents"],
    ["freeleech-tokens", "put_freeleech_tokens", "delete_freeleech_tokens"],
    ["personal-freeleech", "put_personal_freeleech", "delete_personal_freeleech"],
    ["featured-torrents", "put_featured_torrents", "delete_featured_torrents"],
];

impl<'a> Target<'a> {
    /// Reads a path.
    ///
    /// # Errors
    ///
    /// What is answered to what is no call.
    pub fn read(path: &'a str) -> Result<Self, Answer> {
        let rest = path.strip_prefix("/announce/").ok_or_else(Answer::not_found)?;
        match rest.split_once('/') {
            Some(("health", "ping")) => Ok(Self::Ping),
            Some((key, rest)) => Ok(Self::Call { key, rest }),
            // Announces have addresses of their own.
            None => Err(Answer::not_found()),
        }
    }
}

impl Route {
    /// Reads what follows the key.
    ///
    /// # Errors
    ///
    /// What is answered to what is no call: 404, or 405 to another method.
    pub fn read(method: &Method, rest: &str) -> Result<Self, Answer> {
        let is = |expected: Method, route| match *method == expected {
            true => Ok(route),
            false => Err(Answer::failure(StatusCode::METHOD_NOT_ALLOWED, "wrong method")),
        };
        if let Some([what, put, delete]) = EDITED.into_iter().find(|[what, ..]| *what == rest) {
            return match *method == Method::PUT {
                true => Ok(Self::Edit { what, adds: true, name: put }),
                false => is(Method::DELETE, Self::Edit { what, adds: false, name: delete }),
            };
        }
        let shown = |id: &str| id.parse().map_err(|_| Answer::wrong("expected an id in the path"));
        match rest.split_once('/') {
            Some(("users", id)) => is(Method::GET, Self::User(shown(id)?)),
            Some(("torrents", id)) => is(Method::GET, Self::Torrent(shown(id)?)),
            Some(("config", "reload")) => is(Method::POST, Self::Reload),
            None if rest == "stats" => is(Method::GET, Self::Stats),
            _ => Err(Answer::not_found()),
        }
    }

    /// Returns its name for operators.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Edit { name, .. } => name,
            Self::User(_) => "get_user",
            Self::Torrent(_) => "get_torrent",
            Self::Stats => "get_stats",
            Self::Reload => "reload",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_call_has_its_key_in_its_path() {
        assert_eq!(Target::read("/announce/health/ping"), Ok(Target::Ping));
        let call = Target::Call { key: "abc", rest: "users/7" };
        assert_eq!(Target::read("/announce/abc/users/7"), Ok(call));
        for path in ["/", "*", "/announce", "/announce/", "/announce/abc", "/other/abc/users"] {
            assert_eq!(Target::read(path), Err(Answer::not_found()), "{path}");
        }
    }

    #[test]
    fn a_route_is_a_method_and_a_path() {
        let read = |method: &str, rest: &str| {
            Route::read(&method.parse().unwrap(), rest).map_err(|answer| answer.status.as_u16())
        };
        for [what, put, delete] in EDITED {
            assert_eq!(read("PUT", what), Ok(Route::Edit { what, adds: true, name: put }));
            assert_eq!(read("DELETE", what), Ok(Route::Edit { what, adds: false, name: delete }));
            assert_eq!(read("GET", what), Err(405), "{what}");
        }
        for (method, rest, expected) in [
            ("GET", "users/7", Ok(Route::User(7))),
            ("GET", "torrents/7", Ok(Route::Torrent(7))),
            ("GET", "stats", Ok(Route::Stats)),
            ("POST", "config/reload", Ok(Route::Reload)),
            ("GET", "config/reload", Err(405)),
            ("PUT", "users/7", Err(405)),
            ("GET", "users/x", Err(400)),
            ("GET", "users/", Err(400)),
            ("PUT", "users/7/8", Err(400)),
            ("PUT", "Users", Err(404)),
            ("PUT", "", Err(404)),
            ("GET", "peers/7", Err(404)),
        ] {
            assert_eq!(read(method, rest), expected, "{method} {rest}");
        }
    }

    proptest! {
        #[test]
        fn any_path_is_read_or_refused(path: String, rest in "(users|torrents|config)?/?[ -~]*") {
            let _ = Target::read(&path);
            let _ = Target::read(&format!("/announce/{path}"));
            let _ = Route::read(&Method::GET, &rest);
        }
    }
}
