//! Secrets: where the configuration says that they are, and how they are read.

use std::{
    fmt, fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::values::HIDDEN;
use crate::file::{self, Unread};
use crate::text;

/// Repeated below, where serde requires a literal.
pub(super) const SECRET: &str = "{ file: PATH }, { env: NAME } or { credential: NAME }";
const MAX_SECRET: u64 = 64 * 1024;
/// The environment variable with the folder of credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// A secret from a file, the environment or the service manager. It has no `Display`, and its `Debug`
/// and its `Serialize` hide it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    origin: Origin,
    value: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    File(PathBuf),
    Env(String),
    /// A file in the folder that systemd makes for `LoadCredential=`.
    Credential(String),
}

impl Secret {
    /// Returns the secret, which is never empty. One trailing line break has been removed.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.value
    }

    /// Returns the file that it is read from, if it is one of the configuration's. A relative one is
    /// relative to `folder`.
    #[must_use]
    pub fn file(&self, folder: &Path) -> Option<PathBuf> {
        match &self.origin {
            Origin::File(file) => Some(folder.join(file)),
            Origin::Env(_) | Origin::Credential(_) => None,
        }
    }

    /// Reads the secret for a header from a file.
    pub fn from_file(file: &Path) -> Result<Self, String> {
        let mut secret = Self { origin: Origin::File(file.to_owned()), value: Vec::new() };
        secret.fetch_for_header(Path::new(""))?;
        Ok(secret)
    }

    /// Reads the secret for a header from an environment variable.
    pub fn from_env(name: &str) -> Result<Self, String> {
        let mut secret = Self { origin: Origin::Env(name.to_owned()), value: Vec::new() };
        secret.fetch_for_header(Path::new(""))?;
        Ok(secret)
    }

    /// Reads the value, which may be any bytes; a relative file is relative to `folder`.
    pub(super) fn fetch(&mut self, folder: &Path) -> Result<(), String> {
        let origin = self.origin(folder);
        let too_long = || format!("{origin} is too long, expected a secret of at most 64KiB");
        let read = |file: &Path| {
            file::read(file, MAX_SECRET).map_err(|unread| match unread {
                Unread::TooLong(_) => too_long(),
                other => other.to_string(),
            })
        };
        let mut value = match &mut self.origin {
            Origin::File(file) => {
                *file = folder.join(&*file);
                read(file)?
            }
            Origin::Credential(name) => {
                let folder = std::env::var_os(CREDENTIALS).ok_or_else(|| {
                    format!(
                        "{origin} is missing: ${CREDENTIALS} is not set; systemd sets it for a service with \
                         `LoadCredential=`, and for no other command"
                    )
                })?;
                read(&Path::new(&folder).join(&*name))?
            }
            Origin::Env(name) => {
                let value =
                    std::env::var_os(&*name).ok_or_else(|| format!("{origin} is not set"))?;
                value.into_encoded_bytes()
            }
        };
        if value.len() as u64 > MAX_SECRET {
            return Err(too_long());
        }
        if value.ends_with(b"\n") {
            value.pop();
        }
        if value.ends_with(b"\r") {
            value.pop();
        }
        if value.is_empty() {
            return Err(format!("{origin} is empty, expected a secret"));
        }
        self.value = value;
        Ok(())
    }

    /// Returns the file of the secret, if every user of the machine can read it.
    pub(super) fn exposed_file(&self) -> Option<&Path> {
        let Origin::File(file) = &self.origin else { return None };
        let mode = fs::metadata(file).map_or(0, |found| found.permissions().mode());
        (mode & 0o004 != 0).then_some(file)
    }

    /// Reads a value for a header.
    pub(super) fn fetch_for_header(&mut self, folder: &Path) -> Result<(), String> {
        self.fetch(folder)?;
        let text = text::decode(&self.value);
        let text = text.map_err(|error| format!("{}: {error}", self.origin(folder)))?;
        let visible = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        if text.is_empty() || text.trim() != text || !text.bytes().all(visible) {
            return Err(format!(
                "{} is not a valid header value, expected one line of visible ASCII without \
                 spaces around it",
                self.origin(folder)
            ));
        }
        self.value = text.as_bytes().to_owned();
        Ok(())
    }

    /// Reads a value that is one line of text.
    pub(super) fn fetch_text(&mut self, folder: &Path) -> Result<(), String> {
        self.fetch(folder)?;
        match std::str::from_utf8(&self.value) {
            Ok(text) if !text.contains(char::is_control) => Ok(()),
            _ => Err(format!("{} is not one line of text", self.origin(folder))),
        }
    }

    fn origin(&self, folder: &Path) -> String {
        match &self.origin {
            Origin::File(file) => format!("the file `{}`", folder.join(file).display()),
            Origin::Env(name) => format!("the environment variable `{name}`"),
            Origin::Credential(name) => format!("the credential `{name}`"),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            deny_unknown_fields,
            expecting = "{ file: PATH }, { env: NAME } or { credential: NAME }"
        )]
        struct Either {
            file: Option<PathBuf>,
            env: Option<String>,
            credential: Option<String>,
        }
        let Either { file, env, credential } = Either::deserialize(deserializer)?;
        let origin = match (file, env, credential) {
            (Some(file), None, None) => Origin::File(file),
            (None, Some(name), None) if is_variable(&name) => Origin::Env(name),
            (None, Some(_), None) => {
                return Err(de::Error::custom(
                    "invalid name in env, expected that of an environment variable",
                ));
            }
            (None, None, Some(name)) if is_file_name(&name) => Origin::Credential(name),
            (None, None, Some(_)) => {
                return Err(de::Error::custom(
                    "invalid name in credential, expected one of `LoadCredential=`",
                ));
            }
            (None, None, None) => {
                return Err(de::Error::custom(format!("no secret, expected {SECRET}")));
            }
            _ => {
                return Err(de::Error::custom(
                    "more than one of file, env and credential, expected one of them",
                ));
            }
        };
        Ok(Self { origin, value: Vec::new() })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}
