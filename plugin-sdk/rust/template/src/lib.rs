//! Refuses announces of ports below one that the operator sets.

use karuta_plugin::{Announce, AnnounceFilter, Context, Error, Policy, Verdict, response};

/// What stands under `config` in the tracker's configuration.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    lowest: u16,
}

struct Ports {
    lowest: u16,
}

impl Policy for Ports {
    type Config = Config;

    fn init(config: Config, _: &Context) -> Result<Self, Error> {
        Ok(Self { lowest: config.lowest })
    }
}

impl AnnounceFilter for Ports {
    fn on_announce(&mut self, announce: &Announce) -> Verdict {
        if announce.port() < self.lowest {
            return response::reject("port not allowed");
        }
        Verdict::Next
    }
}

karuta_plugin::export!(Ports: announce);
