//! Generates the bindings for a core module, and turns it into a component.

use std::path::Path;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_bindgen_core::{Files, WorldGenerator};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{Resolve, WorldId};

use crate::author::project::Project;
use crate::author::{Failure, sdk};
use crate::policy::WIT;

/// Returns the world that a project is written for.
pub fn world(project: &Project) -> Result<(Resolve, WorldId), Failure> {
    let mut resolve = Resolve::default();
    let world = resolve
        .push_source("policy.wit", WIT)
        .and_then(|package| resolve.select_world(&[package], Some(&project.world)));
    let world = world.map_err(|error| Failure::Failed(format!("the contract: {error:#}")))?;
    Ok((resolve, world))
}

/// Generates bindings into a folder.
pub fn bindings(
    project: &Project,
    mut generator: Box<dyn WorldGenerator>,
    folder: &Path,
) -> Result<(), Failure> {
    let (mut resolve, world) = world(project)?;
    let mut files = Files::default();
    generator
        .generate(&mut resolve, world, &mut files)
        .map_err(|error| Failure::Failed(format!("the bindings: {error:#}")))?;
    for (name, bytes) in files.iter() {
        let path = folder.join(name);
        sdk::write(&path, bytes)
            .map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
    }
    Ok(())
}

/// Records in a core module the world for which it was compiled.
pub fn embed(project: &Project, module: &mut Vec<u8>) -> Result<(), Failure> {
    let (resolve, world) = world(project)?;
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8)
        .map_err(|error| Failure::Failed(format!("the compiler's output: {error:#}")))
}

/// Makes a component from a core module that imports WASI 0.1, or no WASI.
pub fn encode(module: &[u8]) -> Result<Vec<u8>, Failure> {
    let encode = || {
        ComponentEncoder::default()
            .validate(true)
            .module(module)?
            .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)?
            .encode()
    };
    encode().map_err(|error| {
        Failure::Failed(format!(
            "the compiler's output is not a component of this world: {error:#}; does the code \
             define every function of the world's exports?"
        ))
    })
}
