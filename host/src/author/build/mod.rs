//! `karuta plugin build`: builds a component from a project. Generates bindings and componentises
//! here, so that authors need only the language's own compiler.

mod c;
mod component;
mod go;
mod javascript;
mod python;
mod rust;
mod tool;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::project::{Language, Project, SUPPLIED};
use super::{Failure, inspect, sdk};
use crate::policy::Component;

/// Builds the project in a folder, and writes the component there or to `output`.
pub fn build(folder: &Path, output: Option<&Path>) -> Result<PathBuf, Failure> {
    let start = Instant::now();
    let project = Project::open(folder)?;
    let fail = |what: &Path, error: std::io::Error| {
        Failure::Failed(format!("{}: {error}", what.display()))
    };
    sdk::supply(folder, project.language).map_err(|error| fail(folder, error))?;
    let component = match project.language {
        Language::Rust => rust::build(&project),
        Language::Go => go::build(&project),
        Language::Python => python::build(&project),
        Language::Javascript => javascript::build(&project),
        Language::C => c::build(&project),
    }?;
    Component::recognise(&component)
        .map_err(|refusal| Failure::Failed(format!("the result of the build {refusal}")))?;
    let target = output.map_or_else(|| project.component(), Path::to_owned);
    // Renamed into place, for a daemon that watches it; not touched if nothing has changed.
    if !fs::read(&target).is_ok_and(|known| known == component) {
        let new = target.with_extension("wasm.new");
        fs::write(&new, &component)
            .and_then(|()| fs::rename(&new, &target))
            .map_err(|error| fail(&target, error))?;
    }
    println!(
        "{}: {}, built in {:.1} s",
        target.display(),
        inspect::size(component.len()),
        start.elapsed().as_secs_f64()
    );
    Ok(target)
}

/// A compiler's output for the rest of a build; deleted on drop.
struct Core(PathBuf);

impl Core {
    fn new(project: &Project) -> Result<Self, Failure> {
        let path = project.folder.join(SUPPLIED).join("core.wasm");
        let path = std::path::absolute(&path);
        path.map(Self).map_err(|error| Failure::Failed(error.to_string()))
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn read(&self) -> Result<Vec<u8>, Failure> {
        fs::read(&self.0).map_err(|error| Failure::Failed(format!("{}: {error}", self.0.display())))
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        // There is none if the build failed.
        let _ = fs::remove_file(&self.0);
    }
}
