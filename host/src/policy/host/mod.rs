//! The host functions of the contract, one module for each interface.

pub mod log;
pub mod request;
mod response;
mod swarm;

use wasmtime::component::{HasSelf, Linker};

use super::bindings::imports;
use super::state::State;

/// Links every interface that this host offers.
pub fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    imports::request::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    imports::response::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    imports::swarm::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    imports::log::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    super::wasi::link(linker)
}
