//! Answers, in the form of UNIT3D-Announce: it is the status that counts.

use std::collections::BTreeMap;
use std::net::IpAddr;

use hyper::StatusCode;
use serde::Serialize;

/// An answer to a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// The content type.
    pub kind: &'static str,
    pub body: String,
}

/// A member.
#[derive(Debug, Serialize)]
pub struct ShownUser {
    pub id: u64,
    pub group_id: u32,
    /// Empty: passkeys are not shown.
    pub passkey: &'static str,
    pub can_download: bool,
    pub num_seeding: u32,
    pub num_leeching: u32,
    /// Not known here.
    pub is_donor: bool,
    pub is_lifetime: bool,
}

/// A torrent with its peers.
#[derive(Debug, Serialize)]
pub struct ShownTorrent {
    pub id: u64,
    pub status: &'static str,
    pub is_deleted: bool,
    pub peers: Peers,
    pub seeders: u32,
    pub leechers: u32,
    pub times_completed: u64,
    pub download_factor: u16,
    pub upload_factor: u16,
}

/// By `MEMBER-PEER ID`, in hexadecimal digits.
pub type Peers = BTreeMap<String, Peer>;

#[derive(Debug, Serialize)]
pub struct Peer {
    /// That of nobody if the member is not visible.
    pub ip_address: IpAddr,
    pub user_id: u64,
    pub torrent_id: u64,
    pub port: u16,
    pub is_seeder: bool,
    pub is_active: bool,
    pub is_visible: bool,
    pub is_connectable: bool,
    /// Seconds since 1970.
    pub updated_at: u64,
    pub uploaded: u64,
    pub downloaded: u64,
}

/// Times in seconds since 1970, and requests a second over the last so many seconds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Rates {
    pub created_at: f64,
    pub last_request_at: f64,
    pub last_announce_response_at: f64,
    pub requests_per_1s: f64,
    pub requests_per_10s: f64,
    pub requests_per_60s: f64,
    pub requests_per_900s: f64,
    pub requests_per_7200s: f64,
    pub announce_responses_per_1s: f64,
    pub announce_responses_per_10s: f64,
    pub announce_responses_per_60s: f64,
    pub announce_responses_per_900s: f64,
    pub announce_responses_per_7200s: f64,
}

const TEXT: &str = "text/plain; charset=utf-8";

impl Answer {
    /// It was obeyed, or there was nothing to do.
    #[must_use]
    pub fn done() -> Self {
        Self::text(StatusCode::OK, "")
    }

    #[must_use]
    pub fn pong() -> Self {
        Self::text(StatusCode::OK, "PONG")
    }

    /// It is not understood, or cannot be done.
    #[must_use]
    pub fn wrong(reason: &str) -> Self {
        Self::failure(StatusCode::BAD_REQUEST, reason)
    }

    /// There is no such path, or nobody and nothing with this id.
    #[must_use]
    pub fn not_found() -> Self {
        Self::failure(StatusCode::NOT_FOUND, "not found")
    }

    #[must_use]
    pub fn failure(status: StatusCode, reason: &str) -> Self {
        Self::text(status, reason)
    }

    /// Shows something. Numbers that are no integers keep their point, as UNIT3D expects.
    #[must_use]
    pub fn json(value: &impl Serialize) -> Self {
        match serde_json::to_string(value) {
            Ok(body) => Self { status: StatusCode::OK, kind: "application/json", body },
            Err(error) => Self::failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    }

    fn text(status: StatusCode, body: &str) -> Self {
        Self { status, kind: TEXT, body: body.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_thirteen_numbers_have_a_point() {
        let shown: serde_json::Value =
            serde_json::from_str(&Answer::json(&Rates::default()).body).unwrap();
        let shown = shown.as_object().unwrap();
        assert_eq!(shown.len(), 13);
        assert!(shown.values().all(serde_json::Value::is_f64), "{shown:?}");
    }

    #[test]
    fn a_success_has_the_status_200() {
        assert_eq!(Answer::done().status, 200);
        assert_eq!((Answer::pong().status.as_u16(), &*Answer::pong().body), (200, "PONG"));
        assert_eq!(Answer::wrong("why").body, "why");
        assert_eq!(Answer::not_found().status, 404);
    }
}
