//! An issuer of tokens for the policy `jwt`, with keys made and used by `karuta jwt`.

use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::run;

pub const ISSUER: &str = "quay";
pub const AUDIENCE: &str = "https://tracker.example/announce";

/// An issuer, and the set of its public keys.
pub struct Issuer {
    folder: TempDir,
}

impl Issuer {
    /// Creates an issuer with one key.
    pub fn with(kid: &str, algorithm: &str) -> Self {
        let issuer = Self { folder: tempfile::tempdir().expect("a temporary folder") };
        issuer.add(kid, algorithm);
        issuer
    }

    /// Creates another key.
    pub fn add(&self, kid: &str, algorithm: &str) {
        let key = format!("{kid}.pem");
        let options = ["--kid", kid, "--algorithm", algorithm, "--jwks", "keys.json"];
        let output = run(&[&["jwt", "keygen", &key], &options[..]].concat(), self.folder.path());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Removes a key from the set. Tokens can still be signed with it.
    pub fn withdraw(&self, kid: &str) {
        let mut set: Value = serde_json::from_str(&self.keys()).expect("the set is JSON");
        set["keys"].as_array_mut().expect("a list").retain(|key| key["kid"] != kid);
        std::fs::write(self.keys_file(), set.to_string()).expect("the set is written");
    }

    /// Returns the set of its public keys.
    pub fn keys(&self) -> String {
        std::fs::read_to_string(self.keys_file()).expect("the set is there")
    }

    pub fn keys_file(&self) -> PathBuf {
        self.folder.path().join("keys.json")
    }

    /// Signs a token for an info-hash, for [`AUDIENCE`] and by [`ISSUER`] unless `more` arguments
    /// of `karuta jwt sign` say otherwise.
    #[track_caller]
    pub fn sign(&self, kid: &str, info_hash: &str, more: &[&str]) -> String {
        let key = format!("{kid}.pem");
        let mut arguments = vec!["jwt", "sign", info_hash, "--key", &key];
        for default in [["--kid", kid], ["--issuer", ISSUER], ["--audience", AUDIENCE]] {
            if !more.contains(&default[0]) {
                arguments.extend(default);
            }
        }
        arguments.extend(more);
        let output = run(&arguments, self.folder.path());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("a token").trim_end().to_owned()
    }
}
