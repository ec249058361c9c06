//! The tokens that the configuration says.

use std::sync::Arc;

use karuta_accounts::Donors;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::config::{self, GAZELLE, ListName, OWNER, ReportForm, Right, Secret, TORRUST, UNIT3D};
use crate::doors::gazelle::Callback;

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

/// The door for a Gazelle, if it is open.
pub struct GazelleDoor {
    /// Of changes.
    pub password: Token,
    pub report_password: Option<Token>,
    pub report_format: ReportForm,
    pub whitelist: Option<ListName>,
    pub callback: Option<Callback>,
    /// Held by the call that changes accounts.
    pub turn: Mutex<()>,
}

/// The door for a UNIT3D, if it is open.
pub struct Unit3dDoor {
    pub key: Token,
    pub blacklist: Option<ListName>,
    pub donors: Donors,
    /// Held by the call that changes accounts.
    pub turn: Mutex<()>,
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

impl GazelleDoor {
    pub fn of(admin: &config::Admin) -> Option<Self> {
        let config::Gazelle {
            listen: _,
            password,
            report_password,
            report_format,
            whitelist,
            callback,
        } = admin.gazelle.as_ref()?;
        let token = |secret| Token::new(GAZELLE, secret, &[]);
        Some(Self {
            password: token(password),
            report_password: report_password.as_ref().map(token),
            report_format: *report_format,
            whitelist: whitelist.clone(),
            callback: callback.clone().map(|url| {
                // Its letters have been checked.
                Callback::new(url, &String::from_utf8_lossy(password.expose()))
            }),
            turn: Mutex::default(),
        })
    }

    /// Returns whether another one says the same.
    pub fn is_like(&self, other: &Self) -> bool {
        let key = |door: &Self| {
            let report = door.report_password.as_ref().map(|token| token.digest);
            let form = door.report_format;
            (door.password.digest, report, form, door.whitelist.clone(), door.callback.clone())
        };
        key(self) == key(other)
    }
}

impl Unit3dDoor {
    pub fn of(admin: &config::Admin) -> Option<Self> {
        let config::Unit3d { listen: _, key, blacklist, donors } = admin.unit3d.as_ref()?;
        Some(Self {
            key: Token::new(UNIT3D, key, &[]),
            blacklist: blacklist.clone(),
            donors: *donors,
            turn: Mutex::default(),
        })
    }

    /// Returns whether another one says the same.
    pub fn is_like(&self, other: &Self) -> bool {
        let key = |door: &Self| (door.key.digest, door.blacklist.clone(), door.donors);
        key(self) == key(other)
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
