//! A policy that decides nothing, to measure the cost of a call. Only the load generator loads it.

use std::time::Duration;

use karuta_plugin::response::{self, Scope};
use karuta_plugin::{Announce, AnnounceFilter, Context, Error, Policy, Verdict, request};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Whether to get one number from the host.
    #[serde(default)]
    getter: bool,
    /// Whether to remember the verdict by info-hash.
    #[serde(default)]
    remember: bool,
}

struct Nop(Config);

impl Policy for Nop {
    type Config = Config;

    fn init(config: Config, _: &Context) -> Result<Self, Error> {
        Ok(Self(config))
    }
}

impl AnnounceFilter for Nop {
    fn on_announce(&mut self, _: &Announce) -> Verdict {
        if self.0.getter && request::left() == Some(42) {
            return response::reject("the answer, not a number of bytes");
        }
        if self.0.remember {
            response::remember(Scope::INFO_HASH, Duration::from_hours(1));
        }
        Verdict::Next
    }
}

karuta_plugin::export!(Nop: announce);
