//! A token for the policy `jwt`.

use std::path::Path;

use anyhow::Result;

use super::server;
use crate::swarms;
use crate::target::Target;
use karuta_load::judge::ISSUER;
use karuta_load::signed::Signed;

/// A token for the first of the generator's torrents.
pub struct Tokens(pub Signed);

impl Tokens {
    /// Creates an RSA key and a token with `karuta jwt`.
    pub fn make(karuta: &Path, folder: &Path) -> Result<Self> {
        let karuta = server::absolute(karuta, "build the daemon first")?;
        let torrent = server::hex(&swarms::info_hash(0));
        Signed::make(&karuta, folder, &torrent).map(Self)
    }

    /// Returns a target whose clients all show the token.
    pub fn shown_to(&self, target: &Target) -> Target {
        let path = format!("{}?jwt={}", target.path, self.0.token);
        Target { path, ..target.clone() }
    }

    /// Returns the policy, which remembers a good token for `remember`.
    pub fn policy(&self, plugins: &Path, remember: &str) -> Result<String> {
        let keys = self.0.keys.display();
        let more = format!(
            "  credential: ['query:jwt']\n  \
             config: {{ issuer: {ISSUER}, audience: {ISSUER}, remember: {remember} }}\n  \
             data: {{ jwks: {{ file: {keys}, format: raw, required: true }} }}\n"
        );
        server::one(plugins, "jwt", &more)
    }
}
