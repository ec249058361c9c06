//! The user that the daemon becomes.

use std::fmt::Display;

use nix::unistd::{Group, User};
use serde::{Deserialize, Serialize};

use super::problem::{Problem, problem};

/// The user that the daemon becomes once it listens.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RunAs {
    pub user: String,
    /// If `None`, the user's own.
    pub group: Option<String>,
    /// The numbers of both, which this machine knew when the configuration was read.
    #[serde(skip)]
    pub ids: Ids,
}

/// Numbers that stand for a user and a group; the user is not root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    pub user: u32,
    pub group: u32,
}

impl RunAs {
    /// Looks up the numbers.
    pub(super) fn resolve(&mut self) -> Result<(), Problem> {
        let unknown = |key: &str, name: &str, reason: &dyn Display| {
            problem(format!("run_as.{key}"), format!("no such {key}: `{name}`{reason}"))
        };
        let user = match User::from_name(&self.user) {
            Ok(Some(user)) => user,
            Ok(None) => return unknown("user", &self.user, &""),
            Err(error) => return unknown("user", &self.user, &format_args!(": {error}")),
        };
        if user.uid.is_root() {
            let message = format!("`{}` is root, expected another user", self.user);
            return problem("run_as.user", message);
        }
        let group = match &self.group {
            None => user.gid,
            Some(name) => match Group::from_name(name) {
                Ok(Some(group)) => group.gid,
                Ok(None) => return unknown("group", name, &""),
                Err(error) => return unknown("group", name, &format_args!(": {error}")),
            },
        };
        if group.as_raw() == 0 {
            let message = "the group is root's, expected another one";
            let key = if self.group.is_some() { "run_as.group" } else { "run_as.user" };
            return problem(key, message);
        }
        self.ids = Ids { user: user.uid.as_raw(), group: group.as_raw() };
        Ok(())
    }
}
