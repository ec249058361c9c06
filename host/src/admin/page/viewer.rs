//! Who looks at the page, and what they may do.

use hyper::header::AUTHORIZATION;

use super::super::Admin;
use super::super::access::Denial;
use super::super::request::Request;
use super::super::sessions;
use crate::config::Right;
use crate::decisions::Mask;

pub struct Viewer {
    /// Such as `token grafana`.
    pub name: String,
    rights: Vec<Right>,
    /// Whether they may log out.
    pub has_session: bool,
}

impl Viewer {
    /// Recognises who makes a request.
    ///
    /// # Errors
    ///
    /// They may not look.
    pub fn of(admin: &Admin, request: &Request) -> Result<Self, Denial> {
        let judge = |right| admin.access.judge(Some(right), request, admin.tls.is_some());
        let name = judge(Right::Read)?.to_string();
        let has = |right: &Right| judge(*right).is_ok();
        Ok(Self {
            name,
            has_session: has_session(request),
            rights: Right::ALL.into_iter().filter(has).collect(),
        })
    }

    pub fn may(&self, right: &Right) -> bool {
        self.rights.contains(right)
    }

    /// Returns what they may not see of decisions.
    pub fn mask(&self) -> Mask {
        if self.may(&Right::Peers) { Mask::NONE } else { Mask::ALL }
    }

    /// Returns the name of a right if it is missing.
    pub fn lacks(&self, right: &Right) -> Option<&'static str> {
        (!self.may(right)).then(|| right.name())
    }
}

/// Returns whether a request is one of a session: a browser shows no token.
fn has_session(request: &Request) -> bool {
    !request.head.headers.contains_key(AUTHORIZATION)
        && sessions::id(&request.head.headers).is_some()
}
