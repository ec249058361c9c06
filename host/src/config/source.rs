//! The text of a configuration, and errors that point into it.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest, Sha256};

use super::hint;
use super::position::Position;
use super::tree::{Problem, Tree};
use crate::text::Escaped;

/// An error in a configuration. Shown as one line, `FILE:LINE:COLUMN: PATH: what is wrong, what was
/// expected`, without the parts that are unknown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    file: PathBuf,
    position: Option<Position>,
    path: String,
    message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Escaped(self.file.display()))?;
        if let Some(Position { line, column }) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        f.write_str(": ")?;
        if !self.path.is_empty() {
            // Keys, texts and messages of plugins may contain line breaks.
            write!(f, "{}: ", Escaped(&self.path))?;
        }
        write!(f, "{}", Escaped(&self.message))
    }
}

impl Error {
    /// Adds a possible reason.
    #[must_use]
    pub fn with_hint(self, hint: &str) -> Self {
        Self { message: format!("{}; {hint}", self.message), ..self }
    }
}

impl std::error::Error for Error {}

/// The file and text of a configuration, kept so that later errors (a digest, a plugin's `init`)
/// can still show a position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    file: PathBuf,
    text: Arc<str>,
}

impl Source {
    pub(super) fn new(file: &Path, text: &str) -> Self {
        Self { file: file.to_owned(), text: text.into() }
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the SHA-256 of the text: of the file, unless that begins with a byte order mark.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.text.as_bytes()).into()
    }

    /// Returns the first 48 bits of the SHA-256 of the text, as a number.
    pub fn hash(&self) -> u64 {
        self.digest()[..6].iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte))
    }

    /// Makes an error about the value at `path` (`policies[0].config.allow[2]`), at its position,
    /// or else at that of the longest known part of the path.
    #[must_use]
    pub fn error(&self, path: &str, message: impl Into<String>) -> Error {
        let position = self.tree().map(|tree| tree.walk(path).node.position);
        self.build(position, path, message)
    }

    /// Returns the position of the value at `path`, as `FILE:LINE:COLUMN`.
    #[must_use]
    pub fn place(&self, path: &str) -> String {
        let file = self.file.display();
        match self.tree() {
            None => file.to_string(),
            Some(tree) => {
                let Position { line, column } = tree.walk(path).node.position;
                format!("{file}:{line}:{column}")
            }
        }
    }

    /// Returns the line of each value that the text has at one of these paths, or of its key.
    pub(super) fn lines(&self, paths: &[String]) -> Vec<Option<usize>> {
        let tree = self.tree();
        let line = |path: &String| {
            let walk = tree.as_ref()?.walk(path);
            walk.rest.is_empty().then_some(walk.node.position.line)
        };
        paths.iter().map(line).collect()
    }

    /// Makes an error from the text with which the plugin of `policies[policy]` refused its
    /// `config`. If `text` begins with a path into it (`allow[2]: …`), the error points there.
    #[must_use]
    pub fn plugin_error(&self, policy: usize, text: &str) -> Error {
        let config = format!("policies[{policy}].config");
        let path = self.tree().and_then(|tree| {
            let whole = format!("{config}.{text}");
            let rest = tree.walk(&whole).rest;
            // the part after the known path may name a missing key
            let end = whole.len() - rest.len() + rest.find(": ")?;
            let known = whole.len() - rest.len() > config.len();
            let missing = &whole[whole.len() - rest.len()..end];
            (known && !missing.contains(char::is_whitespace)).then(|| whole[..end].to_owned())
        });
        match path {
            Some(path) => {
                let message = &text[path.len() + 2 - config.len() - 1..];
                self.error(&path, message)
            }
            None => self.error(&config, text),
        }
    }

    /// Like `error`, at the position of the key if the text has it.
    pub(super) fn key_error(&self, path: &str, message: impl Into<String>) -> Error {
        let position = self.tree().map(|tree| {
            let walk = tree.walk(path);
            walk.key.filter(|_| walk.rest.is_empty()).unwrap_or(walk.node.position)
        });
        self.build(position, path, message)
    }

    /// Describes the value at `path`, but hides it if it may be a `secret`.
    pub(super) fn describe(&self, path: &str, secret: bool) -> String {
        self.tree().map_or_else(String::new, |tree| tree.describe(tree.walk(path).node, secret))
    }

    pub(super) fn error_in(&self, problem: Problem) -> Error {
        self.build(Some(problem.position), &problem.path, problem.message)
    }

    /// Makes an error from one of serde's parser, at its position.
    pub(super) fn syntax_error(&self, error: &serde_yaml::Error) -> Error {
        let position = error
            .location()
            .map(|location| Position { line: location.line(), column: location.column() });
        if let Some((position, hint)) = position.and_then(|at| hint::near(&self.text, at)) {
            return self.build(Some(position), "", format!("invalid YAML: {hint}"));
        }
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        self.build(position, "", format!("invalid YAML: {message}"))
    }

    /// Moves an error to the mapping that contains its key.
    pub(super) fn under(error: Error, path: &str) -> Error {
        Error { path: path.to_owned(), ..error }
    }

    /// Makes an error about the whole file.
    pub(super) fn file_error(file: &Path, message: impl Into<String>) -> Error {
        Error {
            file: file.to_owned(),
            position: None,
            path: String::new(),
            message: message.into(),
        }
    }

    // parsed again for each error: errors are few, so no tree is kept
    fn tree(&self) -> Option<Tree> {
        Tree::read(&self.text).ok()
    }

    fn build(&self, position: Option<Position>, path: &str, message: impl Into<String>) -> Error {
        Error { file: self.file.clone(), position, path: path.to_owned(), message: message.into() }
    }
}
