//! The text that a configuration came from, and errors that point into it.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::hint;
use super::position::Position;
use super::tree::{Problem, Tree};
use crate::text::Escaped;

/// What is wrong with a configuration. Shown as one line,
/// `FILE:LINE:COLUMN: PATH: what is wrong, what was expected`, without the parts that there are none
/// of.
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
            // Keys, texts and what plugins say may hold line breaks.
            write!(f, "{}: ", Escaped(&self.path))?;
        }
        write!(f, "{}", Escaped(&self.message))
    }
}

impl std::error::Error for Error {}

/// The file and the text of a configuration, kept so that what is found wrong later (a digest, a
/// plugin's `init`) can still be shown at its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    file: PathBuf,
    text: Arc<str>,
}

impl Source {
    pub(super) fn new(file: &Path, text: &str) -> Self {
        Self { file: file.to_owned(), text: text.into() }
    }

    /// The error `message` about the value at `path` (`policies[0].config.allow[2]`), at its
    /// position or, where the text does not have it, at that of the nearest known part of the path.
    #[must_use]
    pub fn error(&self, path: &str, message: impl Into<String>) -> Error {
        let position = self.tree().map(|tree| tree.walk(path).node.position);
        self.build(position, path, message)
    }

    /// Where the value at `path` stands, as `FILE:LINE:COLUMN`.
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

    /// The error with which the plugin of `policies[policy]` refused its `config`. Where `text`
    /// begins with a path into it (`allow[2]: …`), that is where it is shown.
    #[must_use]
    pub fn plugin_error(&self, policy: usize, text: &str) -> Error {
        let config = format!("policies[{policy}].config");
        let path = self.tree().and_then(|tree| {
            let whole = format!("{config}.{text}");
            let rest = tree.walk(&whole).rest;
            // the part behind what is known may name a key that is missing
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

    /// As `error`, at the position of the key where the text has it.
    pub(super) fn key_error(&self, path: &str, message: impl Into<String>) -> Error {
        let position = self.tree().map(|tree| {
            let walk = tree.walk(path);
            walk.key.filter(|_| walk.rest.is_empty()).unwrap_or(walk.node.position)
        });
        self.build(position, path, message)
    }

    /// What stands at `path`, in words; not its value where that may be a `secret`.
    pub(super) fn describe(&self, path: &str, secret: bool) -> String {
        self.tree().map_or_else(String::new, |tree| tree.describe(tree.walk(path).node, secret))
    }

    pub(super) fn error_in(&self, problem: Problem) -> Error {
        self.build(Some(problem.position), &problem.path, problem.message)
    }

    /// An error of serde's own parser, at its own position.
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

    /// Moves an error to the mapping that holds the key it is about.
    pub(super) fn under(error: Error, path: &str) -> Error {
        Error { path: path.to_owned(), ..error }
    }

    /// An error about the file as a whole.
    pub(super) fn file_error(file: &Path, message: impl Into<String>) -> Error {
        Error {
            file: file.to_owned(),
            position: None,
            path: String::new(),
            message: message.into(),
        }
    }

    // read again for each error: there is one, and no tree is kept for all the others
    fn tree(&self) -> Option<Tree> {
        Tree::read(&self.text).ok()
    }

    fn build(&self, position: Option<Position>, path: &str, message: impl Into<String>) -> Error {
        Error { file: self.file.clone(), position, path: path.to_owned(), message: message.into() }
    }
}
