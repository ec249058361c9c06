//! The files that the program contains for each language: a helper package and a project template.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};

use super::project::{Language, SUPPLIED, WIT};

static SDK: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/../plugin-sdk");

/// The folder of a language's project template.
const TEMPLATE: &str = "template";

/// Writes the contract and the helper package into a project; does not touch files that are up to
/// date.
pub fn supply(folder: &Path, language: Language) -> io::Result<()> {
    let contract = folder.join(WIT);
    fs::create_dir_all(&contract)?;
    write(&contract.join(super::wit::FILE), crate::policy::WIT.as_bytes())?;
    let root = Path::new(language.name());
    let target = folder.join(SUPPLIED);
    for (path, bytes) in files(language) {
        let Ok(path) = path.strip_prefix(root) else { continue };
        let place = match language {
            _ if path.starts_with(TEMPLATE) || is_test(path) => continue,
            Language::Rust => Some(Path::new("rust").join(path)),
            Language::Python => path.strip_prefix(SUPPLIED).ok().map(Path::to_owned),
            Language::Go | Language::Javascript | Language::C => Some(path.to_owned()),
        };
        if let Some(place) = place {
            write(&target.join(renamed(&place)), bytes)?;
        }
    }
    Ok(())
}

/// Writes the files of a new project, with its name in place of `__NAME__` and `__NAME_SNAKE__`;
/// returns `false` if there is no template.
pub fn begin(folder: &Path, language: Language, name: &str) -> io::Result<bool> {
    let root = Path::new(language.name()).join(TEMPLATE);
    let snake = name.replace('-', "_");
    let fill = |text: &str| text.replace("__NAME_SNAKE__", &snake).replace("__NAME__", name);
    let mut any = false;
    for (path, bytes) in files(language) {
        let Ok(path) = path.strip_prefix(&root) else { continue };
        let path = PathBuf::from(fill(&path.to_string_lossy()));
        let text = std::str::from_utf8(bytes).map(fill);
        write(&folder.join(renamed(&path)), text.as_deref().map_or(bytes, str::as_bytes))?;
        any = true;
    }
    Ok(any)
}

/// Writes a file and its parent folders, unless it already has that content.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|known| known == bytes) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, bytes)
}

fn files(language: Language) -> Vec<(&'static Path, &'static [u8])> {
    fn collect(dir: &Dir<'static>, into: &mut Vec<(&'static Path, &'static [u8])>) {
        let rubbish = |path: &Path| path.ends_with("__pycache__") || path.ends_with("node_modules");
        into.extend(dir.files().map(|file| (file.path(), file.contents())));
        dir.dirs().filter(|dir| !rubbish(dir.path())).for_each(|dir| collect(dir, into));
    }
    let mut list = Vec::new();
    if let Some(dir) = SDK.get_dir(language.name()) {
        collect(dir, &mut list);
    }
    list
}

/// Returns whether a file tests the helper package; a project has its own tests.
fn is_test(path: &Path) -> bool {
    let name = path.to_string_lossy();
    name.ends_with("_test.go") || name.ends_with(".test.js")
}

/// Returns the name that a file has in a project. In this repository, tools would mistake that name
/// for a part of it.
fn renamed(path: &Path) -> PathBuf {
    match path.file_name().map(|name| name.to_string_lossy()) {
        Some(name) if name == "gitignore" => path.with_file_name(".gitignore"),
        Some(name) => match name.strip_suffix(".in") {
            Some(plain) => path.with_file_name(plain),
            None => path.to_owned(),
        },
        None => path.to_owned(),
    }
}
