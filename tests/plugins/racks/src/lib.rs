//! A policy that labels peers by their ports, with one plan. Only tests load it.

use karuta_plugin::locality::{self, Order, Plan};
use karuta_plugin::{Announce, AnnounceFilter, Context, Error, Policy, Verdict, request};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Bits of the port, nearest first.
    prefixes: Vec<u8>,
    #[serde(default)]
    role_first: bool,
    #[serde(default)]
    far_percent: u8,
}

struct Racks {
    plan: Plan,
}

impl Policy for Racks {
    type Config = Config;

    fn init(config: Config, _: &Context) -> Result<Self, Error> {
        let order = if config.role_first { Order::RoleFirst } else { Order::NearFirst };
        Ok(Self { plan: Plan::define(&config.prefixes, order, config.far_percent)? })
    }
}

impl AnnounceFilter for Racks {
    fn on_announce(&mut self, announce: &Announce) -> Verdict {
        let label = u64::from(announce.port()) << 48;
        match request::query_param("do").as_deref() {
            Some("define") => match Plan::define(&[1], Order::NearFirst, 0) {
                Ok(plan) => locality::assign(label, plan),
                Err(error) => return karuta_plugin::response::reject(&error.to_string()),
            },
            _ => locality::assign(label, self.plan),
        }
        Verdict::Next
    }
}

karuta_plugin::export!(Racks: announce);
