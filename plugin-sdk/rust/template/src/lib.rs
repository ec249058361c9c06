//! Rejects announces of ports below a lowest one.

use karuta_plugin::{Announce, AnnounceFilter, Context, Error, Policy, Verdict, response};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    lowest_port: u16,
}

struct Ports(Config);

impl Policy for Ports {
    type Config = Config;

    fn init(config: Config, _: &Context) -> Result<Self, Error> {
        Ok(Self(config))
    }
}

impl AnnounceFilter for Ports {
    fn on_announce(&mut self, announce: &Announce) -> Verdict {
        if announce.port() < self.0.lowest_port {
            return response::reject("port not allowed");
        }
        Verdict::Next
    }
}

karuta_plugin::export!(Ports: announce);
