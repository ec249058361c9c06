//! Files for a client that makes its own connections.

use std::path::Path;

use rustls::RootCertStore;

use super::certificate::{self, Certificate, Problem};
use super::provider;
use crate::file;

/// PEM texts that have been checked.
#[derive(Clone, Default)]
pub struct ClientFiles {
    /// Certificates of issuers, instead of those that the system trusts.
    pub issuers: Option<Vec<u8>>,
    /// The client's certificate and its key.
    pub own: Option<(Vec<u8>, Vec<u8>)>,
}

/// The maximum size of a file, in bytes.
const MAX: u64 = 1 << 20;

impl ClientFiles {
    /// Reads the issuers in `ca`, and a certificate with its key.
    ///
    /// # Errors
    ///
    /// The key of the configuration (`ca`, `certificate` or `key`), and what is wrong with its file.
    pub fn read(
        ca: Option<&Path>,
        own: Option<(&Path, &Path)>,
    ) -> Result<Self, (&'static str, String)> {
        let read =
            |key, path: &Path| file::read(path, MAX).map_err(|error| (key, error.to_string()));
        let mut files = Self::default();
        if let Some(ca) = ca {
            let bytes = read("ca", ca)?;
            check_issuers(&bytes).map_err(|reason| ("ca", reason))?;
            files.issuers = Some(bytes);
        }
        if let Some((chain, key)) = own {
            let (chain, key) = (read("certificate", chain)?, read("key", key)?);
            let parsed = Certificate::parse(&chain, &key, &provider());
            parsed.map_err(|problem| (problem.key(), problem.to_string()))?;
            files.own = Some((chain, key));
        }
        Ok(files)
    }
}

/// Makes clients that ask for none use the cryptography of all others here.
pub fn install_provider() {
    // One may be installed already: this one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

fn check_issuers(bytes: &[u8]) -> Result<(), String> {
    let certificates = certificate::certificates(bytes).map_err(|problem| match problem {
        Problem::Certificate(reason) | Problem::Key(reason) => reason,
        Problem::Mismatch => problem.to_string(),
    })?;
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        store.add(certificate).map_err(|error| format!("cannot be trusted: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_no_issuers_are_pointed_at() {
        let folder = tempfile::tempdir().unwrap();
        let issuer = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        let [ca, key, none] = ["ca", "key", "none"].map(|name| folder.path().join(name));
        std::fs::write(&ca, issuer.cert.pem()).unwrap();
        std::fs::write(&key, issuer.signing_key.serialize_pem()).unwrap();
        std::fs::write(&none, "").unwrap();
        let read = |ca| ClientFiles::read(Some(ca), None).map(|files| files.issuers.is_some());
        assert_eq!(read(&ca), Ok(true));
        let wrong = |reason: &str| Err(("ca", reason.to_owned()));
        assert_eq!(read(&none), wrong("no certificate in it, expected PEM"));
        assert_eq!(read(&key), wrong("a private key, expected a certificate"));
        let own = ClientFiles::read(None, Some((&ca, &none))).map(|_| ());
        assert_eq!(own.unwrap_err().0, "key");
        assert!(ClientFiles::read(None, Some((&ca, &key))).unwrap().own.is_some());
    }
}
