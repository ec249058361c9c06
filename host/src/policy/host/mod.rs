//! The host functions of the contract, one module for each interface.

pub mod http;
pub mod keyvalue;
pub mod locality;
pub mod log;
pub mod metrics;
mod publisher;
pub mod request;
mod response;
mod sets;
pub mod signatures;
mod swarm;

use wasmtime::component::{HasSelf, Linker};

use super::bindings::imports;
use super::state::State;

/// Links every interface that this host offers.
pub fn link(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    imports::request::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    imports::response::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    imports::swarm::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    imports::locality::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    imports::sets::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    imports::signatures::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    imports::keyvalue::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    imports::log::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    imports::metrics::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    imports::http::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    imports::publisher::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    super::wasi::link(linker)
}
