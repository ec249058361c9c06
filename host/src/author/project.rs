//! A policy project's folder.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Failure;
use crate::config;

/// The file that marks a folder as a project, and says of which kind.
pub const FILE: &str = "plugin.yaml";
/// The folder for the helper packages and generated bindings, which the program writes.
pub const SUPPLIED: &str = "karuta";
/// The folder of the contract.
pub const WIT: &str = "wit";
/// The cases that `plugin test` runs by default.
pub const CASES: &str = "cases.yaml";

/// A language in which policies can be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Language {
    Rust,
    Go,
    Python,
    Javascript,
    C,
}

impl Language {
    /// Returns the name in `plugin.yaml` and `--lang`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Go => "go",
            Self::Python => "python",
            Self::Javascript => "javascript",
            Self::C => "c",
        }
    }
}

/// The keys of `plugin.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    name: String,
    language: Language,
    #[serde(default = "announce_policy")]
    world: String,
}

fn announce_policy() -> String {
    "announce-policy".to_owned()
}

/// A folder with a `plugin.yaml`.
#[derive(Debug)]
pub struct Project {
    pub folder: PathBuf,
    pub name: String,
    pub language: Language,
    /// A world of the contract.
    pub world: String,
}

impl Project {
    /// # Errors
    ///
    /// The folder is not a project, or its `plugin.yaml` is wrong.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join(FILE);
        if !path.exists() {
            return Err(Failure::Usage(format!(
                "no {} here: `karuta plugin new` makes a project, or name the files to work on",
                path.display()
            )));
        }
        let (keys, source) =
            config::load_as::<Keys>(&path).map_err(|error| Failure::Usage(error.to_string()))?;
        let wrong = |path: &str, text: String| Failure::Usage(source.error(path, text).to_string());
        if let Err(text) = check_name(&keys.name) {
            return Err(wrong("name", text));
        }
        let worlds = crate::survey::worlds();
        if !worlds.contains(&keys.world) {
            let text = format!("no world `{}`, expected one of {}", keys.world, worlds.join(", "));
            return Err(wrong("world", text));
        }
        let Keys { name, language, world } = keys;
        Ok(Self { folder: folder.to_owned(), name, language, world })
    }

    /// Returns where `plugin build` writes the component.
    pub fn component(&self) -> PathBuf {
        self.folder.join(format!("{}.wasm", self.name))
    }
}

/// Checks that a name is valid for a policy, a crate and a package.
pub fn check_name(name: &str) -> Result<(), String> {
    let starts = name.bytes().next().is_some_and(|first| first.is_ascii_lowercase());
    let rest = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    match starts && rest && name.len() <= 40 && !name.ends_with('-') {
        true => Ok(()),
        false => Err(format!(
            "invalid name `{name}`, expected a letter and then up to 39 of a to z, 0 to 9 and -"
        )),
    }
}
