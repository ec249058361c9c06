//! JavaScript: componentize-qjs brings the engine, and makes components itself.

use super::tool::Tool;
use crate::author::Failure;
use crate::author::project::{Project, WIT};

const TOOL: Tool =
    Tool { name: "componentize-qjs", get: "`npm install --global componentize-qjs@0.4.5`" };

pub fn build(project: &Project) -> Result<Vec<u8>, Failure> {
    let core = super::Core::new(project)?;
    let mut tool = TOOL.command(&project.folder);
    // Without `--sync`, the component's functions would be asynchronous, which no policy has.
    tool.args(["--sync", "--wit", WIT, "--world", &project.world]);
    tool.args(["--module-root", ".", "--js", "policy.js", "--output"]);
    TOOL.run_quietly(tool.arg(core.path()))?;
    core.read()
}
