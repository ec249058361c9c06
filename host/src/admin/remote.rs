//! Command line options that locate a daemon's admin API.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::Client;
use crate::config::{self, Admin, Secret};

/// The options that locate a daemon.
#[derive(clap::Args)]
pub struct Remote {
    /// The daemon's configuration file.
    #[arg(long, short, default_value = "config.yaml", value_name = "FILE")]
    config: PathBuf,
    /// The address of the admin API, instead of the one in the configuration.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
    /// The file with the token of the admin API [default: $KARUTA_ADMIN_TOKEN, or the
    /// configuration's].
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// The environment variable that holds the token of the admin API.
const TOKEN: &str = "KARUTA_ADMIN_TOKEN";

/// Why the daemon or its token cannot be found.
pub enum Unknown {
    Config(config::Error),
    Token(String),
}

impl Remote {
    /// # Errors
    ///
    /// The configuration is wrong, or the token cannot be read.
    pub fn client(self) -> Result<Client, Unknown> {
        let given = match (self.token_file, std::env::var_os(TOKEN)) {
            (Some(file), _) => Some(Secret::from_file(&file)),
            (None, Some(token)) if !token.is_empty() => Some(Secret::from_env(TOKEN)),
            _ => None,
        };
        let given = given.transpose().map_err(Unknown::Token)?;
        if let Some(address) = self.admin {
            return Ok(Client { address, token: given });
        }
        let config = match given {
            // It may be that only the service can read its secrets.
            Some(_) => config::load_without_secrets(&self.config),
            None => config::load(&self.config),
        };
        let config = config.map_err(Unknown::Config)?;
        let Admin { listen, token } = config.admin;
        let host = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Ok(Client { address: SocketAddr::new(host, listen.port()), token: given.or(token) })
    }
}
