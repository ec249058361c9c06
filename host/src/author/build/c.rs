//! C: zig, which brings clang and wasi-libc, or a clang that has both.

use std::fs;
use std::path::Path;
use std::process::Command;

use wit_bindgen_c::Opts;

use super::component;
use super::tool::{Tool, works};
use crate::author::Failure;
use crate::author::project::{Project, SUPPLIED};

/// In the order in which they are tried.
const COMPILERS: [(Tool, &[&str]); 4] = [
    (Tool { name: "zig", get: GET }, &["cc"]),
    // The name of PyPI's package on the command line.
    (Tool { name: "python-zig", get: GET }, &["cc"]),
    (Tool { name: "python3", get: GET }, &["-m", "ziglang", "cc"]),
    (Tool { name: "clang", get: GET }, &[]),
];
const GET: &str = "install zig, with `pip install ziglang` or from https://ziglang.org/download";

pub fn build(project: &Project) -> Result<Vec<u8>, Failure> {
    let supplied = project.folder.join(SUPPLIED);
    component::bindings(project, Opts::default().build(), &supplied)?;
    let core = super::Core::new(project)?;
    let (tool, mut compiler) = compiler(&project.folder)?;
    compiler.args(["-target", "wasm32-wasi", "-mexec-model=reactor", "-O2", "-s"]);
    // zig's default is a stack of 16 MiB per instance.
    compiler.args(["-Wl,-z,stack-size=262144", "-Wall", "-Wextra", "-I", SUPPLIED]);
    compiler.args(sources(&project.folder)?);
    let world = project.world.replace('-', "_");
    compiler.arg(format!("{SUPPLIED}/{world}.c"));
    compiler.arg(format!("{SUPPLIED}/{world}_component_type.o"));
    tool.run(compiler.arg("-o").arg(core.path()))?;
    let module = core.read()?;
    component::encode(&module)
}

/// Returns the first compiler that is installed and supports WASI.
fn compiler(folder: &Path) -> Result<(Tool, Command), Failure> {
    for (tool, arguments) in COMPILERS {
        let probe = match tool.name {
            "clang" => clang_has_wasi(),
            "python3" => works("python3", &["-c", "import ziglang"]),
            zig => works(zig, &["version"]),
        };
        if probe {
            let mut command = tool.command(folder);
            command.args(arguments);
            return Ok((tool, command));
        }
    }
    Err(Failure::Failed(format!("no C compiler supports WASI: {GET}")))
}

/// Returns whether clang finds the headers of wasi-libc and can link for it.
fn clang_has_wasi() -> bool {
    let probe = ["-target", "wasm32-wasi", "-print-file-name=crt1-reactor.o"];
    let output = Command::new("clang").args(probe).output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).trim().contains('/'))
}

/// Lists all C files directly in the project's folder.
fn sources(folder: &Path) -> Result<Vec<String>, Failure> {
    let list = fs::read_dir(folder).and_then(|entries| {
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        names.collect::<std::io::Result<Vec<_>>>()
    });
    let mut list =
        list.map_err(|error| Failure::Failed(format!("{}: {error}", folder.display())))?;
    list.retain(|name| name.ends_with(".c"));
    list.sort();
    match list.is_empty() {
        true => Err(Failure::Failed(format!("{}: no .c files", folder.display()))),
        false => Ok(list),
    }
}
