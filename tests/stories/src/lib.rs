//! Releases in a data centre, with real clients and, on a larger scale, without.

pub mod clients;
pub mod graph;
pub mod handed_out;
pub mod plot;

/// How peers are selected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peers {
    /// Without a policy.
    Random,
    /// With the policy `subnet`.
    Near,
}

/// Returns the text before the policies of a configuration.
fn without_policies(yaml: &str) -> &str {
    yaml.split("\npolicies:").next().unwrap_or_default()
}
