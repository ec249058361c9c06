//! What a call is for: `/PASSWORD/update?…` or `/PASSWORD/report?…`.

use super::Answer;
use super::query::Query;

/// The target of a request, whose password has not been compared.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub password: &'a str,
    pub word: Word,
    pub(super) query: Query<'a>,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    Update,
    Report,
}

/// What is to be reported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    Stats,
    /// Of the member with this passkey.
    User(String),
    Unknown,
}

/// The most bytes of a target: twice what Ocelot reads.
const LONGEST: usize = 8192;

impl<'a> Target<'a> {
    /// Reads the path and the query of a request, in the order that Ocelot does.
    ///
    /// # Errors
    ///
    /// What is answered to what is no call.
    pub fn read(path: &'a str, query: Option<&'a str>) -> Result<Self, Answer> {
        if path.len() + query.map_or(0, str::len) > LONGEST {
            return Err(Answer::wrong("GET string too long"));
        }
        let rest = path.strip_prefix('/').unwrap_or_default();
        // One of another length than 32 bytes is a wrong password like any other.
        let parts = rest.split_once('/').filter(|(password, _)| !password.is_empty());
        let (password, word) = parts.ok_or_else(|| Answer::wrong("Malformed announce"))?;
        let query = Query(query.ok_or_else(Answer::nothing_to_see)?);
        // Announces and scrapes have addresses of their own.
        let word = match word.as_bytes().first() {
            Some(b'u') => Word::Update,
            Some(b'r') => Word::Report,
            _ => return Err(Answer::wrong("Invalid action")),
        };
        Ok(Self { password, word, query })
    }

    /// Returns what is to be reported.
    #[must_use]
    pub fn report(&self) -> Report {
        match &*self.query.text("get") {
            "stats" => Report::Stats,
            "user" => Report::User(self.query.text("key")),
            _ => Report::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: &str = "0123456789abcdef0123456789abcdef";

    fn refused(path: &str, query: Option<&str>) -> String {
        Target::read(path, query).unwrap_err().body
    }

    #[test]
    fn what_is_no_call_is_answered_as_by_ocelot() {
        let failure = |text: &str| Answer::wrong(text).body;
        let long = "x".repeat(LONGEST);
        let page = "<meta name=\"robots\" content=\"noindex\" />Nothing to see here";
        for (path, query, expected) in [
            (format!("/{PASSWORD}/update"), Some(&*long), failure("GET string too long")),
            ("/".to_owned(), None, failure("Malformed announce")),
            ("*".to_owned(), Some("a"), failure("Malformed announce")),
            (format!("/{PASSWORD}"), Some(""), failure("Malformed announce")),
            ("//update".to_owned(), Some("a"), failure("Malformed announce")),
            (format!("/{PASSWORD}/update"), None, page.to_owned()),
            (format!("/{PASSWORD}/"), Some(""), failure("Invalid action")),
            (format!("/{PASSWORD}/announce"), Some("info_hash=x"), failure("Invalid action")),
            (format!("/{PASSWORD}/scrape"), Some(""), failure("Invalid action")),
            (format!("/{PASSWORD}/Update"), Some(""), failure("Invalid action")),
        ] {
            assert_eq!(refused(&path, query), expected, "{path}");
        }
    }

    #[test]
    fn a_call_has_its_password_in_its_path() {
        let path = format!("/{PASSWORD}/report");
        for (query, expected) in [
            ("get=stats", Report::Stats),
            ("get=user&key=abc", Report::User("abc".to_owned())),
            ("get=user", Report::User(String::new())),
            ("get=jemalloc", Report::Unknown),
            ("", Report::Unknown),
        ] {
            let target = Target::read(&path, Some(query)).unwrap();
            assert_eq!((target.password, target.word), (PASSWORD, Word::Report));
            assert_eq!(target.report(), expected, "{query}");
        }
        for password in [PASSWORD, "x", "é", &PASSWORD[..31], &PASSWORD.repeat(2)] {
            let path = format!("/{password}/update");
            let target = Target::read(&path, Some("")).unwrap();
            assert_eq!((target.password, target.word), (password, Word::Update));
        }
    }
}
