//! `karuta:policy/publisher`: what a control instance hands to the workers. It is tried and handed
//! on once the call has returned (see `policy::control`).

use crate::policy::bindings::imports::publisher::Host;
use crate::policy::instance::Role;
use crate::policy::publications::{LONGEST, LONGEST_NAME, NAMES};
use crate::policy::state::State;

impl Host for State {
    fn publish(&mut self, name: String, data: Vec<u8>) -> Result<(), String> {
        if self.role != Role::Control {
            return Err("only control instances publish".to_owned());
        }
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(format!("a name has 1 to {LONGEST_NAME} bytes"));
        }
        if data.len() > LONGEST {
            return Err(format!("more than {LONGEST} bytes"));
        }
        if self.data.iter().any(|source| *source.definition().name == *name) {
            return Err(format!("`{name}` is a data source of the configuration"));
        }
        let staged = &mut self.staged;
        let known = staged.contains_key(&*name) || self.publications.takes(&name);
        if !known || staged.len() >= NAMES {
            return Err(format!("more than {NAMES} names"));
        }
        staged.insert(name.into(), data.into());
        Ok(())
    }
}
