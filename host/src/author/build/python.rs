//! Python: componentize-py brings the interpreter, and makes components itself.

use super::tool::Tool;
use crate::author::Failure;
use crate::author::project::{Project, WIT};

const TOOL: Tool = Tool { name: "componentize-py", get: "`pip install componentize-py==0.25.1`" };

pub fn build(project: &Project) -> Result<Vec<u8>, Failure> {
    let core = super::Core::new(project)?;
    let mut tool = TOOL.command(&project.folder);
    tool.args(["-d", WIT, "-w", &project.world, "componentize", "policy", "-o"]);
    TOOL.run_quietly(tool.arg(core.path()))?;
    core.read()
}
