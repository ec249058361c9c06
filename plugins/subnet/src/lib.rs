//! Prefers nearby peers: peers that share a prefix of their addresses, or a group of the
//! configuration. See `docs/policies/subnet.md`.
//!
//! There is a plan for the prefixes of each family and one for groups. Peers that are picked by
//! different plans are far from each other, so a label need not contain its plan.

mod groups;
mod labels;
mod networks;

use std::collections::BTreeMap;
use std::net::IpAddr;

use karuta_plugin::locality::{self, Plan};
use karuta_plugin::{
    Announce, AnnounceFilter, Context, DataSink, Error, Policy, Verdict, sets::Raw, text,
};
use serde::Deserialize;

use groups::Groups;
use labels::MOST_LEVELS;
use networks::Networks;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Prefix lengths in bits, nearest (longest) first.
    #[serde(default)]
    ipv4: Vec<u8>,
    #[serde(default)]
    ipv6: Vec<u8>,
    #[serde(default)]
    order: Order,
    #[serde(default = "far_percent")]
    far_percent: u8,
    /// How many peers of a rack are given far ones; 0: all.
    #[serde(default)]
    gateways: u8,
    #[serde(default)]
    groups: BTreeMap<String, Vec<String>>,
    groups_from: Option<Raw>,
}

fn far_percent() -> u8 {
    10
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Order {
    #[default]
    NearFirst,
    RoleFirst,
}

struct Subnet {
    /// The groups of the configuration, which those of the data source are added to.
    groups: BTreeMap<String, Vec<String>>,
    groups_from: Option<Raw>,
    /// The plans for groups with names of one, two, … levels. Names may come with the data, but
    /// plans can only be defined before.
    by_levels: Option<[Plan; MOST_LEVELS]>,
    grouped: Option<(Networks, Plan)>,
    ipv4: Option<Plan>,
    ipv6: Option<Plan>,
}

impl Policy for Subnet {
    type Config = Config;

    fn init(config: Config, _: &Context) -> Result<Self, Error> {
        let has_groups = !config.groups.is_empty() || config.groups_from.is_some();
        if config.ipv4.is_empty() && config.ipv6.is_empty() && !has_groups {
            return Err(Error::new(
                "no prefixes and no groups, expected prefix lengths in ipv4 or ipv6, or groups in \
                 groups or groups_from",
            ));
        }
        check_prefixes("ipv4", &config.ipv4, 32)?;
        check_prefixes("ipv6", &config.ipv6, 64)?;
        if config.far_percent > 100 {
            let message = format!(
                "found the number `{}`, expected a whole number from 0 to 100",
                config.far_percent
            );
            return Err(Error::at("far_percent", message));
        }
        let order = match config.order {
            Order::NearFirst => locality::Order::NearFirst,
            Order::RoleFirst => locality::Order::RoleFirst,
        };
        let (far_percent, gateways) = (config.far_percent, config.gateways);
        let define = |prefixes: &[u8]| Plan::with_gateways(prefixes, order, far_percent, gateways);
        let for_prefixes = |prefixes: &[u8]| match prefixes {
            [] => Ok(None),
            _ => define(prefixes).map(Some),
        };
        let (ipv4, ipv6) = (for_prefixes(&config.ipv4)?, for_prefixes(&config.ipv6)?);
        let by_levels = if has_groups {
            let mut plans = Vec::new();
            for levels in 1..=MOST_LEVELS {
                let bits = labels::bits(levels);
                let prefixes: Vec<u8> =
                    (1..=levels as u8).rev().map(|level| level * bits).collect();
                plans.push(define(&prefixes)?);
            }
            plans.try_into().ok()
        } else {
            None
        };
        let mut subnet = Self {
            groups: config.groups,
            groups_from: config.groups_from,
            by_levels,
            grouped: None,
            ipv4,
            ipv6,
        };
        subnet.group("")?;
        Ok(subnet)
    }
}

fn check_prefixes(key: &str, prefixes: &[u8], longest: u8) -> Result<(), Error> {
    if prefixes.len() > MOST_LEVELS {
        let message = format!("{} prefix lengths, expected at most {MOST_LEVELS}", prefixes.len());
        return Err(Error::at(key, message));
    }
    let mut bound = longest;
    for (at, &bits) in prefixes.iter().enumerate() {
        if !(1..=bound).contains(&bits) {
            let message = format!(
                "found the number `{bits}`, expected a prefix length from 1 to {longest}, the \
                 nearest (longest) first"
            );
            return Err(Error::at(format_args!("{key}[{at}]"), message));
        }
        bound = bits - 1;
    }
    Ok(())
}

impl Subnet {
    /// Combines the groups of the configuration with those of a data source.
    fn group(&mut self, data: &str) -> Result<(), Error> {
        let Some(by_levels) = &self.by_levels else {
            return Ok(());
        };
        let mut groups = Groups::default();
        for (name, networks) in &self.groups {
            let group = groups.group(name);
            let group = group.map_err(|error| Error::at(format_args!("groups.{name}"), error))?;
            for (at, network) in networks.iter().enumerate() {
                let path = format_args!("groups.{name}[{at}]");
                groups.network(network, group).map_err(|error| Error::at(path, error))?;
            }
        }
        groups.lines(data)?;
        let (levels, networks) = groups.label()?;
        self.grouped = Some((networks, by_levels[levels - 1]));
        Ok(())
    }

    /// Returns the label and the plan of an address.
    fn locate(&self, address: IpAddr) -> Option<(u64, Plan)> {
        if let Some((networks, plan)) = &self.grouped
            && let Some(label) = networks.find(address)
        {
            return Some((label.get(), *plan));
        }
        match address {
            IpAddr::V4(address) => Some((u64::from(address.to_bits()) << 32, self.ipv4?)),
            IpAddr::V6(address) => Some(((address.to_bits() >> 64) as u64, self.ipv6?)),
        }
    }
}

impl AnnounceFilter for Subnet {
    /// Labels the announced address, which other peers connect to. Nothing is remembered: that
    /// would save little if few addresses announce often, and cost more if many announce once.
    fn on_announce(&mut self, announce: &Announce) -> Verdict {
        if let Some((label, plan)) = self.locate(announce.address()) {
            locality::assign(label, plan);
        }
        Verdict::Next
    }
}

impl DataSink for Subnet {
    fn on_data(&mut self, name: &str, _: u64, data: &[u8]) -> Result<(), Error> {
        if self.groups_from.as_ref().is_none_or(|from| from.name() != name) {
            return Ok(());
        }
        self.group(text::decode(data)?)
    }
}

karuta_plugin::export!(Subnet: announce, data);

#[cfg(test)]
mod tests;
