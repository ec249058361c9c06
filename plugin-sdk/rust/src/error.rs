//! The error of every fallible call.

use std::fmt::{self, Display};

/// An error in words, for the operator or for the log: what was expected, and what was found.
///
/// Every function of this crate that can fail returns it, and so does every hook, so that `?` needs
/// no conversion between them. A `String` and a `&str` become one with `?`, too:
///
/// ```
/// # use karuta_plugin::{Error, keyvalue};
/// fn count(user: &str) -> Result<i64, Error> {
///     if user.is_empty() {
///         Err("a user without a name")?;
///     }
///     Ok(keyvalue::increment(user.as_bytes(), 1, None)?)
/// }
/// # assert_eq!(count("").unwrap_err().to_string(), "a user without a name");
/// ```
///
/// The errors of other crates do not convert by themselves: use `.map_err(Error::new)`, or
/// [`Error::at`] to name the key that they are about. A type that converts from every error, as
/// `anyhow::Error` does, can neither be a [`std::error::Error`] itself nor convert from a `String`:
/// the compiler finds that the conversions could overlap. Here the texts matter more, since they
/// are what the host accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    /// Creates an error from a text, or from anything that displays as one.
    pub fn new(message: impl Display) -> Self {
        Self(message.to_string())
    }

    /// Creates an error about the key at `path` in `config`, such as `allow[2]`. The host shows it
    /// at that key's line.
    pub fn at(path: impl Display, message: impl Display) -> Self {
        Self(format!("{path}: {message}"))
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl From<String> for Error {
    fn from(message: String) -> Self {
        Self(message)
    }
}

impl From<&str> for Error {
    fn from(message: &str) -> Self {
        Self(message.to_owned())
    }
}

impl From<Error> for String {
    fn from(error: Error) -> Self {
        error.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_other_errors_become_errors() {
        let text = || -> Result<(), Error> { Err("a text".to_owned())? };
        let literal = || -> Result<(), Error> { Err("a literal")? };
        let number = "x".parse::<u8>().map_err(Error::new);
        assert_eq!(text(), Err(Error::new("a text")));
        assert_eq!(literal().unwrap_err().to_string(), "a literal");
        assert_eq!(number.unwrap_err().to_string(), "invalid digit found in string");
        assert_eq!(Error::at("allow[2]", "empty").to_string(), "allow[2]: empty");
    }

    #[test]
    fn it_is_an_error_of_the_standard_library() {
        let error: Box<dyn std::error::Error> = Error::new("a text").into();
        assert_eq!(error.to_string(), "a text");
    }
}
