//! `karuta:policy/publisher`: what a control instance publishes to the workers. It is tested and
//! published after the call has returned (see `policy::supply::control`).

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::component::HasData;

use crate::data::Sources;
use crate::policy::contract::bindings::hooks::lifecycle::Role;
use crate::policy::contract::bindings::imports::publisher::Host;
use crate::policy::shared::publications::{LONGEST, LONGEST_NAME, NAMES, Publications};

/// What the policy has published, and wants to publish.
pub struct View<'a> {
    pub role: Role,
    pub sources: &'a Sources,
    pub staged: &'a mut BTreeMap<Arc<str>, Arc<[u8]>>,
    pub publications: &'a Publications,
}

impl HasData for View<'static> {
    type Data<'a> = View<'a>;
}

impl Host for View<'_> {
    fn publish(&mut self, name: String, data: Vec<u8>) -> Result<(), String> {
        if self.role != Role::Control {
            return Err("only control instances can publish".to_owned());
        }
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(format!("a name must have 1 to {LONGEST_NAME} bytes"));
        }
        if data.len() > LONGEST {
            return Err(format!("more than {LONGEST} bytes"));
        }
        if self.sources.iter().any(|source| *source.definition().name == *name) {
            return Err(format!("`{name}` is a data source of the configuration"));
        }
        let staged = &mut *self.staged;
        let known = staged.contains_key(&*name) || self.publications.takes(&name);
        if !known || staged.len() >= NAMES {
            return Err(format!("more than {NAMES} names"));
        }
        staged.insert(name.into(), data.into());
        Ok(())
    }
}
