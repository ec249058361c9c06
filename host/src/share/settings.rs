//! What the thread needs to know, read before privileges are given up.

use std::fmt;
use std::time::Duration;

use crate::config::{self, Config, Server, Share, Topology};
use crate::tls::{ClientFiles, install_provider};

/// How swarms are shared.
#[derive(Clone)]
pub struct Settings {
    pub name: String,
    pub topology: Topology,
    pub servers: Vec<Server>,
    pub parts: usize,
    pub every: Duration,
    pub timeout: Duration,
    pub lifetime: Duration,
    /// May be shown.
    pub user: Option<String>,
    pub password: Option<Password>,
    pub tls: Option<ClientFiles>,
}

/// The engine's password, which is never shown.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl Settings {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    ///
    /// What is wrong, at its key.
    pub fn read(config: &Config, share: &Share) -> Result<Self, config::Error> {
        let Share { nodes, topology, name, parts, every, timeout, user, password, tls, .. } = share;
        let read = |tls: &config::ShareTls| {
            let own = tls.certificate.as_deref().zip(tls.key.as_deref());
            ClientFiles::read(tls.ca.as_deref(), own).map_err(|(key, reason)| {
                config.source.error(&format!("swarms.share.tls.{key}"), reason)
            })
        };
        let tls = tls.as_ref().map(read).transpose()?;
        if tls.is_some() {
            install_provider();
        }
        // The configuration has checked that it is text.
        let text = |password: &config::Secret| String::from_utf8_lossy(password.expose()).into();
        Ok(Self {
            name: name.clone(),
            topology: *topology,
            servers: nodes.clone(),
            parts: *parts,
            every: *every,
            timeout: *timeout,
            lifetime: config.tracker.peer_lifetime,
            user: user.clone(),
            password: password.as_ref().map(text).map(Password),
            tls,
        })
    }
}
