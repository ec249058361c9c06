//! Who makes a request.

use std::fmt;
use std::net::IpAddr;

use serde::Serialize;

use crate::doors::Way;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    Network(IpAddr),
    /// A process that may write to a socket file.
    Process {
        uid: u32,
    },
}

/// Who makes a request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Caller {
    /// Of a name in the configuration.
    Token(String),
    /// The user of a process at a socket file.
    Uid(u32),
    /// Anyone at an address, where no token is needed.
    Address(IpAddr),
    /// Anyone who may write to a named pipe.
    Fifo(Way),
}

impl From<Peer> for Caller {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer::Network(address) => Self::Address(address),
            Peer::Process { uid } => Self::Uid(uid),
        }
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(name) => write!(f, "token {name}"),
            Self::Uid(uid) => write!(f, "uid {uid}"),
            Self::Address(address) => write!(f, "address {address}"),
            Self::Fifo(way) => f.write_str(way.name()),
        }
    }
}
