//! The locations of peers, in a hierarchy that the policy defines.
//!
//! A peer has a label of 64 bits, the most significant first. The longer the prefix that two labels
//! share, the nearer their peers are. The host picks the peers of an answer by their labels.
//!
//! ```
//! # use karuta_plugin::{Announce, AnnounceFilter, Context, Error, Policy, Verdict};
//! use karuta_plugin::locality::{self, Order, Plan};
//!
//! #[derive(serde::Deserialize)]
//! struct Config {}
//!
//! struct Sites {
//!     plan: Plan,
//! }
//!
//! impl Policy for Sites {
//!     type Config = Config;
//!     fn init(_: Config, _: &Context) -> Result<Self, Error> {
//!         Ok(Self { plan: Plan::define(&[32, 16], Order::NearFirst, 10)? })
//!     }
//! }
//!
//! impl AnnounceFilter for Sites {
//!     fn on_announce(&mut self, announce: &Announce) -> Verdict {
//!         if let std::net::IpAddr::V4(address) = announce.address() {
//!             locality::assign(u64::from(u32::from(address)) << 32, self.plan);
//!         }
//!         Verdict::Next
//!     }
//! }
//! ```

pub use crate::bindings::imports::locality::Order;
use crate::{Error, host::locality};

/// How peers are picked by their labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan(u32);

impl Plan {
    /// Defines a plan. All instances of a policy must define the same plans, in the same order.
    ///
    /// `prefixes` are lengths in bits, nearest first. `far_percent` of each answer, rounded up, is
    /// kept for peers outside every prefix.
    ///
    /// # Errors
    ///
    /// Fails outside of [`Policy::init`](crate::Policy::init); with more than eight prefixes, one
    /// above 64, or one that is not shorter than the one before it; and with a share above 100.
    pub fn define(prefixes: &[u8], order: Order, far_percent: u8) -> Result<Self, Error> {
        let prefixes = prefixes.to_vec();
        Ok(Self(locality::define(&locality::Plan { prefixes, order, far_percent })?))
    }

    /// Defines a plan by which only some peers of a group are given others beyond it: its gateways.
    ///
    /// A leecher is given peers of the next wider prefix only if fewer than `gateways` others that
    /// share the narrower one are seeders or gateways of it. Peers outside of a group are given its
    /// seeders and its gateways, and none of the others. A host before this function refuses a
    /// component that calls it.
    ///
    /// # Errors
    ///
    /// Fails as [`define`](Self::define) does.
    pub fn with_gateways(
        prefixes: &[u8],
        order: Order,
        far_percent: u8,
        gateways: u8,
    ) -> Result<Self, Error> {
        let plan = locality::Plan { prefixes: prefixes.to_vec(), order, far_percent };
        Ok(Self(locality::define_with_gateways(&plan, gateways)?))
    }
}

/// Labels the announcing peer, and picks the peers of its answer by that plan. A peer without a label
/// is far from all others.
pub fn assign(label: u64, plan: Plan) {
    locality::assign(label, plan.0);
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::testing::{self, Locality, Request};
    use crate::{Announce, AnnounceFilter, Context, Policy, Verdict};

    #[derive(serde::Deserialize)]
    struct Config {
        prefixes: Vec<u8>,
        gateways: Option<u8>,
    }

    struct Sites(Plan);

    impl Policy for Sites {
        type Config = Config;
        fn init(Config { prefixes, gateways }: Config, _: &Context) -> Result<Self, Error> {
            Ok(Self(match gateways {
                None => Plan::define(&prefixes, Order::RoleFirst, 5)?,
                Some(gateways) => Plan::with_gateways(&prefixes, Order::RoleFirst, 5, gateways)?,
            }))
        }
    }

    impl AnnounceFilter for Sites {
        fn on_announce(&mut self, announce: &Announce) -> Verdict {
            assign(announce.port().into(), self.0);
            Verdict::Next
        }
    }

    #[test]
    fn a_test_sees_the_label_and_its_plan() {
        let mut policy: Sites = testing::init(r#"{"prefixes": [64, 52]}"#).unwrap();
        let address = Ipv4Addr::LOCALHOST.into();
        let answer = Request { address, port: 77, ..Request::default() }.announce(&mut policy);
        let prefixes = vec![64, 52];
        let order = Order::RoleFirst;
        let expected = Locality { label: 77, prefixes, order, far_percent: 5, gateways: 0 };
        assert_eq!(answer.locality, Some(expected.clone()));
        let mut policy: Sites = testing::init(r#"{"prefixes": [64, 52], "gateways": 3}"#).unwrap();
        let answer = Request { address, port: 77, ..Request::default() }.announce(&mut policy);
        assert_eq!(answer.locality, Some(Locality { gateways: 3, ..expected }));
        assert!(testing::init::<Sites>(r#"{"prefixes": [65]}"#).is_err());
        assert!(testing::init::<Sites>(r#"{"prefixes": [8, 16]}"#).is_err());
        assert!(testing::init::<Sites>(r#"{"prefixes": [9, 8, 7, 6, 5, 4, 3, 2, 1]}"#).is_err());
        let late = Plan::define(&[8], Order::NearFirst, 0).unwrap_err();
        assert_eq!(late.to_string(), "plans can only be defined in `init`");
    }
}
