//! Releases in a data centre, told with real clients and, larger, without.

pub mod clients;
pub mod graph;
pub mod handed_out;
pub mod plot;

/// What decides who is given to whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peers {
    /// There is no policy.
    Random,
    /// The policy `subnet`.
    Near,
}

/// The text before the policies of a configuration.
fn without_policies(yaml: &str) -> &str {
    yaml.split("\npolicies:").next().unwrap_or_default()
}
