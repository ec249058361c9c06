//! The tokens that the configuration says.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::config::{self, OWNER, Right, Secret, TORRUST};

#[derive(PartialEq, Eq)]
pub struct Token {
    pub name: Arc<str>,
    /// Tokens differ in length, digests do not.
    pub digest: [u8; 32],
    pub may: Vec<Right>,
}

/// The door for sites that are made for torrust-tracker, if it is open.
#[derive(PartialEq)]
pub struct Door {
    pub lists: config::Torrust,
    pub token: Token,
}

impl Token {
    fn new(name: &str, secret: &Secret, may: &[Right]) -> Self {
        Self { name: name.into(), digest: digest(secret.expose()), may: may.to_owned() }
    }
}

impl Door {
    pub fn of(admin: &config::Admin) -> Option<Self> {
        let lists = admin.torrust.clone()?;
        let token = Token::new(TORRUST, &lists.token, &[]);
        Some(Self { lists, token })
    }
}

/// Returns the tokens of the admin API itself.
pub fn tokens(admin: &config::Admin) -> Vec<Token> {
    let owner = admin.token.iter().map(|secret| Token::new(OWNER, secret, &Right::ALL));
    let others = admin.tokens.iter().map(|one| Token::new(&one.name, &one.token, &one.may));
    owner.chain(others).collect()
}

/// Returns what tokens are compared by.
pub fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}
