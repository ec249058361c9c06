//! What the calls of sites come to, whichever tracker they are made for: changes of accounts and of a
//! list.

use std::sync::Arc;

use hyper::StatusCode;
use karuta_accounts::{Accounts, Change, NotChanged};
use tokio::sync::oneshot;

use super::access::Denial;
use super::lists::{self, NO_JOURNAL};
use super::reply::STOPPING;
use super::{Admin, accounts};
use crate::config::ListName;
use crate::edits::{self, Outcome, Refused};
use crate::entry::{Entry, Key};

/// Why a call was not obeyed, so that nothing was changed.
#[derive(Debug)]
pub enum Failure {
    /// It is wrong.
    Refused(String),
    /// It is not, and may be repeated.
    Failed(StatusCode, String),
}

/// Counts a call with a wrong password or key, and returns the status of its answer.
pub fn denied(admin: &Admin, denial: &Denial) -> StatusCode {
    admin.metrics.denied(denial.reason());
    match denial {
        Denial::Limited => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::FORBIDDEN,
    }
}

/// Makes changes of accounts. Returns what the audit says, without passkeys.
///
/// # Errors
///
/// One of them is wrong, or they cannot be made.
pub async fn change(
    admin: &Admin,
    accounts: &Arc<Accounts>,
    changes: Vec<Change>,
) -> Result<String, Failure> {
    if !accounts.is_told() {
        return Err(Failure::Failed(StatusCode::CONFLICT, accounts::THEIRS.to_owned()));
    }
    let told = accounts::tell(&changes);
    match accounts::make(admin, accounts, changes).await {
        Ok(()) => Ok(told),
        Err(NotChanged::Wrong { reason, .. }) => Err(Failure::Refused(reason.to_owned())),
        Err(error @ (NotChanged::Unwritten(_) | NotChanged::Gone)) => {
            Err(Failure::Failed(StatusCode::INSUFFICIENT_STORAGE, error.to_string()))
        }
        Err(NotChanged::Stopping) => Err(unavailable(STOPPING)),
    }
}

/// Edits a list on behalf of the token `who`, and waits until that is on the disk. Returns what the
/// audit says.
///
/// # Errors
///
/// The list cannot be edited now.
pub async fn edit(
    admin: &Admin,
    name: &ListName,
    who: &str,
    add: Option<Entry>,
    remove: Option<Key>,
) -> Result<String, Failure> {
    let source = lists::find(admin, &name.policy, &name.data).map_err(unavailable)?;
    let edits = source.edits().ok_or_else(|| unavailable(NO_JOURNAL))?;
    // An entry that is both is to be there.
    let remove = remove.filter(|key| add.as_ref().is_none_or(|entry| entry.key != *key));
    let (add, remove) = (add.into_iter().collect(), remove.into_iter().collect());
    let (done, result) = oneshot::channel();
    let who = format!("token {who}").into();
    let change = edits::Change { add, remove, ttl: None, if_version: None, who, note: None };
    edits.change(change, Box::new(move |outcome| drop(done.send(outcome))));
    match result.await {
        Ok(Ok(Outcome { version, added, removed, .. })) => {
            Ok(format!("{name}: added {added}, removed {removed}, version {version}"))
        }
        Ok(Err(Refused::Unwritten(reason))) => {
            Err(Failure::Failed(StatusCode::INSUFFICIENT_STORAGE, reason))
        }
        // No version was expected.
        Ok(Err(Refused::Version(_))) | Err(_) => Err(unavailable(STOPPING)),
    }
}

fn unavailable(reason: impl Into<String>) -> Failure {
    Failure::Failed(StatusCode::SERVICE_UNAVAILABLE, reason.into())
}
