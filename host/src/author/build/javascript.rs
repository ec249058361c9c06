//! JavaScript: componentize-js brings the engine, and makes components itself.

use super::tool::Tool;
use crate::author::Failure;
use crate::author::project::{Project, WIT};

const TOOL: Tool = Tool {
    name: "componentize-js",
    // The second is a dependency that the first does not declare.
    get: "`npm install --global @bytecodealliance/componentize-js@0.23.0 \
          @bytecodealliance/preview2-shim@0.25.0`",
};

pub fn build(project: &Project) -> Result<Vec<u8>, Failure> {
    let core = super::Core::new(project)?;
    let mut tool = TOOL.command(&project.folder);
    tool.args(["--wit", WIT, "--world-name", &project.world]);
    // They would import wasi:http, which no policy is given.
    tool.args(["-d", "http", "fetch-event", "-o"]);
    TOOL.run(tool.arg(core.path()).arg("policy.js"))?;
    core.read()
}
