//! Releases in data centres, with real clients and, on a larger scale, without.

pub mod clients;
pub mod graph;
pub mod handed_out;
pub mod model;
pub mod plot;

/// How peers are selected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peers {
    /// Without a policy.
    Random,
    /// With the policy `subnet`.
    Near,
    /// With `subnet` and so many gateways.
    Gateways(u8),
}

impl Peers {
    /// Returns the configuration of the example, with these peers.
    fn configure(self, yaml: &str) -> String {
        match self {
            Self::Random => yaml.split("\npolicies:").next().unwrap_or_default().to_owned(),
            Self::Near => yaml.replace("gateways: 2", "gateways: 0"),
            Self::Gateways(count) => yaml.replace("gateways: 2", &format!("gateways: {count}")),
        }
    }
}
