//! Go: the standard compiler makes a core module for WASI 0.1.

use wit_bindgen_go::{Format, Opts};

use super::component;
use super::tool::Tool;
use crate::author::Failure;
use crate::author::project::{Project, SUPPLIED};

const GO: Tool = Tool { name: "go", get: "install Go 1.25 or newer from https://go.dev/dl" };

pub fn build(project: &Project) -> Result<Vec<u8>, Failure> {
    let options = Opts {
        format: Format::False,
        pkg_name: Some(format!("{SUPPLIED}/bindings")),
        export_pkg_name: Some(format!("{SUPPLIED}/exports")),
        ..Opts::default()
    };
    let folder = project.folder.join(SUPPLIED).join("bindings");
    component::bindings(project, options.build(), &folder)?;
    let core = super::Core::new(project)?;
    let mut go = GO.command(&project.folder);
    go.envs([("GOOS", "wasip1"), ("GOARCH", "wasm"), ("GOWORK", "off"), ("GOFLAGS", "-mod=mod")]);
    go.args(["build", "-buildmode=c-shared", "-ldflags=-s -w -checklinkname=0", "-o"]);
    GO.run(go.arg(core.path()).arg("."))?;
    let mut module = core.read()?;
    component::embed(project, &mut module)?;
    component::encode(&module)
}
