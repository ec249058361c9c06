//! JavaScript: componentize-qjs brings QuickJS, and makes components itself.

use super::tool::Tool;
use crate::author::Failure;
use crate::author::project::{Project, WIT};

const TOOL: Tool =
    Tool { name: "componentize-qjs", get: "`npm install --global componentize-qjs@0.4.5`" };

pub fn build(project: &Project) -> Result<Vec<u8>, Failure> {
    let core = super::Core::new(project)?;
    let mut tool = TOOL.command(&project.folder);
    // Its other runtime is an async one, which the tracker does without.
    tool.args(["--sync", "--wit", WIT, "--world", &project.world]);
    // The root is where `./karuta/index.js` is looked for.
    tool.args(["--js", "policy.js", "--module-root", ".", "-o"]);
    TOOL.run(tool.arg(core.path()))?;
    core.read()
}
