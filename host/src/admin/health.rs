//! `/healthz` and `/readyz`: whether the tracker runs, and whether it decides as configured.

use hyper::StatusCode;

use super::Admin;
use super::reply::{Reply, line};
use super::request::Request;

/// Answers that the process runs.
pub fn alive(_: &Admin, _: &Request) -> Reply {
    line(StatusCode::OK, "ok")
}

/// Answers whether every enforced policy can decide. Every worker listens before the admin API does,
/// so that needs no check.
pub fn ready(admin: &Admin, _: &Request) -> Reply {
    match hindrance(admin) {
        Some(hindrance) => line(StatusCode::SERVICE_UNAVAILABLE, &hindrance),
        None => line(StatusCode::OK, "ok"),
    }
}

/// Returns why an enforced policy cannot decide, if any.
fn hindrance(admin: &Admin) -> Option<String> {
    let policies = admin.policies.lock();
    let mut obeyed = policies.iter().filter(|policy| policy.mode == "enforce");
    obeyed.find_map(|policy| {
        let name = &policy.name;
        if admin.metrics.summary(name).failed {
            return Some(format!("the policy `{name}` has failed"));
        }
        let missing = policy.data.iter().find(|source| source.is_missing())?;
        let data = &missing.definition().name;
        Some(format!("the policy `{name}` waits for its data `{data}`"))
    })
}
