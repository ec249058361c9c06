//! `karuta:policy/locality`: where peers are, and the plans for selecting them.

use std::sync::{Arc, OnceLock};

use karuta_swarm::{self as swarm, Locality, PlanId, PlanName};
use sha2::{Digest, Sha256};
use wasmtime::component::HasData;

use super::log::Sink;
use crate::exchange::Draft;
use crate::policy::contract::bindings::imports::locality::{Host, Order, Plan};
use crate::policy::contract::bindings::imports::log::Level;

/// The most plans that one policy may define.
const MOST_PLANS: usize = 64;

/// A plan that a policy has defined.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Planned {
    plan: swarm::Plan,
    id: PlanId,
}

/// The plans of a policy, as one instance knows them.
pub enum Plans {
    /// `init` is running, and has defined these.
    Open(Vec<swarm::Plan>),
    Settled(Arc<[Planned]>),
}

impl Plans {
    /// Ends `init`. The first instance of a plugin, its trial, determines the plans. `policy` has been
    /// fed with all that tells its labels from those of other policies, so that the plans have the
    /// same names on all nodes.
    ///
    /// # Errors
    ///
    /// Another instance has defined other plans.
    pub fn settle(
        &mut self,
        of_plugin: &OnceLock<Arc<[Planned]>>,
        policy: impl FnOnce() -> Sha256,
    ) -> Result<(), String> {
        let Self::Open(mine) = self else {
            return Ok(());
        };
        let settled = of_plugin.get_or_init(|| {
            let policy = policy();
            let planned = |(&plan, number)| Planned { plan, id: id(&policy, number, &plan) };
            mine.iter().zip(0..).map(planned).collect()
        });
        if !settled.iter().map(|planned| &planned.plan).eq(mine.iter()) {
            return Err("defined other plans than an earlier instance".to_owned());
        }
        *self = Self::Settled(settled.clone());
        Ok(())
    }

    fn define(&mut self, plan: &Plan, gateways: u8) -> Result<u32, String> {
        let Self::Open(plans) = self else {
            return Err("plans can only be defined in `init`".to_owned());
        };
        if plans.len() == MOST_PLANS {
            return Err(format!("a policy may define at most {MOST_PLANS} plans"));
        }
        let order = match plan.order {
            Order::NearFirst => swarm::Order::NearFirst,
            Order::RoleFirst => swarm::Order::RoleFirst,
        };
        let plan = swarm::Plan::new(&plan.prefixes, order, plan.far_percent);
        plans.push(plan.map_err(|error| error.to_string())?.with_gateways(gateways));
        Ok(plans.len() as u32 - 1)
    }

    fn find(&self, plan: u32) -> Option<Planned> {
        match self {
            Self::Open(_) => None,
            Self::Settled(plans) => plans.get(plan as usize).copied(),
        }
    }
}

/// Returns the id of a policy's plan.
fn id(policy: &Sha256, number: u8, plan: &swarm::Plan) -> PlanId {
    let digest = policy.clone().chain_update([number]).chain_update(plan.to_bytes()).finalize();
    let mut name = [0; 8];
    name.copy_from_slice(&digest[..8]);
    PlanId::of(PlanName(name))
}

/// The plans of one instance, and the current draft.
pub struct View<'a> {
    pub plans: &'a mut Plans,
    pub draft: &'a mut Draft,
    pub log: &'a Sink,
}

impl HasData for View<'static> {
    type Data<'a> = View<'a>;
}

impl Host for View<'_> {
    fn define(&mut self, plan: Plan) -> Result<u32, String> {
        self.plans.define(&plan, 0)
    }

    fn define_with_gateways(&mut self, plan: Plan, gateways: u8) -> Result<u32, String> {
        self.plans.define(&plan, gateways)
    }

    fn assign(&mut self, label: u64, plan: u32) {
        let Some(Planned { plan, id }) = self.plans.find(plan) else {
            let message = format!("locality.assign: there is no plan {plan}");
            return self.log.write(Level::Warn, message);
        };
        self.draft.any = true;
        self.draft.locality = Some(Locality { label, plan, id });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(prefixes: &[u8], far_percent: u8) -> Plan {
        Plan { prefixes: prefixes.to_vec(), order: Order::NearFirst, far_percent }
    }

    #[test]
    fn plans_are_defined_in_init_only_and_checked() {
        let mut plans = Plans::Open(Vec::new());
        assert_eq!(plans.define(&plan(&[26, 22, 16], 10), 0), Ok(0));
        assert_eq!(plans.define(&plan(&[64], 0), 0), Ok(1));
        assert!(plans.define(&plan(&[65], 0), 0).is_err());
        assert!(plans.define(&plan(&[64], 101), 0).is_err());
        assert!(plans.find(0).is_none());
        plans.settle(&OnceLock::new(), Sha256::new).unwrap();
        assert!(plans.define(&plan(&[8], 0), 0).is_err());
        assert!(plans.find(1).is_some() && plans.find(2).is_none());
        let mut many = Plans::Open(Vec::new());
        for _ in 0..MOST_PLANS {
            many.define(&plan(&[8], 0), 0).unwrap();
        }
        assert!(many.define(&plan(&[8], 0), 0).is_err());
    }

    #[test]
    fn all_instances_have_the_plans_of_the_first() {
        let of_plugin = OnceLock::new();
        let defined = |prefixes: &[&[u8]]| {
            let mut plans = Plans::Open(Vec::new());
            for prefixes in prefixes {
                plans.define(&plan(prefixes, 0), 0).unwrap();
            }
            plans.settle(&of_plugin, Sha256::new).map(|()| plans.find(0))
        };
        let first = defined(&[&[8], &[16]]);
        assert!(first.as_ref().unwrap().is_some());
        assert_eq!(defined(&[&[8], &[16]]), first);
        assert!(defined(&[&[8]]).is_err());
        assert!(defined(&[&[16], &[8]]).is_err());
    }

    #[test]
    fn plans_have_the_same_id_only_if_policy_and_plan_are_the_same() {
        let ids = |policy: &str, all: &[(&[u8], u8)]| {
            let mut plans = Plans::Open(Vec::new());
            for (prefixes, far_percent) in all {
                plans.define(&plan(prefixes, *far_percent), 0).unwrap();
            }
            plans.settle(&OnceLock::new(), || Sha256::new_with_prefix(policy)).unwrap();
            (0..all.len() as u32).map(|at| plans.find(at).unwrap().id).collect::<Vec<_>>()
        };
        let mine = ids("mine", &[(&[8], 0), (&[8], 0), (&[8], 1), (&[9], 0), (&[9, 0], 0)]);
        assert_eq!(mine, ids("mine", &[(&[8], 0), (&[8], 0), (&[8], 1), (&[9], 0), (&[9, 0], 0)]));
        let other = ids("other", &[(&[8], 0)]);
        for (at, id) in mine.iter().enumerate() {
            assert!(!mine[..at].contains(id) && !other.contains(id), "{at}");
        }
    }
}
