//! Checks which room of `host/src` imports which, against the table in `tests/rooms/rooms.txt`.
//!
//! A room is a file or folder of `host/src`, or of `host/src/policy`. Tests inside of files are left
//! out, for they may look anywhere.

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use imports::{File, circles};

const TABLE: &str = include_str!("../rooms.txt");
/// Crates that only some rooms may name.
const KEPT_APART: [(&str, &str); 3] =
    [("wasmtime", "policy"), ("wasmtime_wasi", "policy"), ("redis", "share")];

fn main() -> ExitCode {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../host/src");
    let files = read(&source);
    let wrong = wrong(&files, TABLE);
    for line in &wrong {
        eprintln!("{line}");
    }
    if !wrong.is_empty() {
        eprintln!("the rooms and what they may import: tests/rooms/rooms.txt");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// What breaks the rules, a line each.
fn wrong(files: &[File], table: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut allowed: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (room, others) = line.split_once(':').unwrap_or((line, ""));
        for other in others.split_whitespace() {
            // From the top floor down: so there is no way back up.
            if allowed.contains_key(other) {
                wrong
                    .push(format!("rooms.txt: {room} stands below {other}, and may not import it"));
            }
        }
        allowed.insert(room, others.split_whitespace().collect());
    }
    let mut used = BTreeSet::new();
    for file in files.iter().filter(|file| !file.module.is_empty()) {
        let room = room(&file.module);
        let Some(may) = allowed.get(&*room) else {
            wrong.push(format!("{}: the room {room} is not in rooms.txt", file.path));
            continue;
        };
        for import in &file.imports {
            let other = self::room(&import.module);
            if other == room || other.is_empty() {
                continue;
            }
            used.insert((room.clone(), other.clone()));
            if !may.contains(&*other) {
                let (path, line) = (&file.path, import.line);
                wrong.push(format!("{path}:{line}: {room} may not import {other}"));
            }
        }
        for (name, home) in KEPT_APART {
            if let Some(line) = file.names(name)
                && file.module.first().is_none_or(|room| room != home)
            {
                wrong.push(format!("{}:{line}: only {home} may name {name}", file.path));
            }
        }
    }
    for (room, others) in &allowed {
        for other in others {
            if !used.contains(&((*room).to_owned(), (*other).to_owned())) {
                wrong.push(format!("rooms.txt: {room} no longer imports {other}"));
            }
        }
    }
    for circle in circles(files) {
        wrong.push(format!("these files import each other in a circle: {}", circle.join(", ")));
    }
    wrong
}

/// The room of a module: its first name, and within `policy` its second.
fn room(module: &[String]) -> String {
    let names = if module.first().is_some_and(|name| name == "policy") { 2 } else { 1 };
    module[..module.len().min(names)].join("/")
}

/// All files below a folder, in the order of their paths.
fn read(source: &Path) -> Vec<File> {
    let mut paths = Vec::new();
    let mut folders = vec![source.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    let module = |path: &PathBuf| -> Vec<String> {
        let path = path.strip_prefix(source).expect("it is below").with_extension("");
        let mut names: Vec<_> =
            path.iter().map(|name| name.to_string_lossy().into_owned()).collect();
        names.pop_if(|name| matches!(&**name, "mod" | "lib"));
        names
    };
    let modules: BTreeSet<_> = paths.iter().map(module).collect();
    let file = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("a text");
        let shown = path.strip_prefix(source).expect("it is below").display();
        File::parse(format!("host/src/{shown}"), module(path), &text, &modules)
    };
    paths.iter().map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(table: &str, files: &[(&str, &str)]) -> Vec<String> {
        let module = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
        let modules = files.iter().map(|(path, _)| module(path)).collect();
        let parse = |(path, text): &(&str, &str)| {
            File::parse((*path).to_owned(), module(path), text, &modules)
        };
        wrong(&files.iter().map(parse).collect::<Vec<_>>(), table)
    }

    #[test]
    fn an_arrow_that_is_not_in_the_table_is_refused() {
        let files = [("a", "use crate::b::B;"), ("b", "use std::fmt;")];
        assert_eq!(check("a: b\nb:", &files), [""; 0]);
        assert_eq!(check("a:\nb:", &files), ["a:1: a may not import b"]);
        let back = [("a", "use crate::b::B;"), ("b", "fn f() {\n    crate::a::g()\n}")];
        assert_eq!(
            check("a: b\nb:", &back),
            ["b:2: b may not import a", "these files import each other in a circle: a, b"]
        );
    }

    #[test]
    fn the_table_has_no_way_back_up_and_nothing_too_much() {
        let files = [("a", ""), ("b", "use crate::a;")];
        assert_eq!(
            check("a: b\nb: a", &files),
            [
                "rooms.txt: b stands below a, and may not import it",
                "rooms.txt: a no longer imports b"
            ]
        );
        assert_eq!(check("a:", &files[..1]), [""; 0]);
        assert_eq!(check("", &files[..1]), ["a: the room a is not in rooms.txt"]);
    }

    #[test]
    fn super_and_nested_lists_are_followed() {
        let files = [
            ("policy/chain", "use super::{shared::x, supply};\nuse crate::{b::{C, d}, e};"),
            ("policy/shared/x", ""),
            ("policy/supply", ""),
            ("b", ""),
            ("e", ""),
        ];
        let table =
            "policy/chain: policy/shared policy/supply b e\npolicy/shared:\npolicy/supply:\nb:\ne:";
        assert_eq!(check(table, &files), [""; 0]);
    }

    #[test]
    fn tests_and_comments_may_name_anything() {
        let text = "// crate::b and wasmtime\n#[cfg(test)]\nmod tests {\n    use crate::b::B;\n}";
        assert_eq!(check("a:\nb:", &[("a", text), ("b", "")]), [""; 0]);
        let text = format!("#[cfg(test)]\nmod c;\n{text}\nuse crate::b::C;");
        let found = check("a:\nb:", &[("a", &text), ("b", "")]);
        assert_eq!(found, ["a:8: a may not import b"], "behind the tests");
        let text = "fn f(_: wasmtime::Engine) {}";
        assert_eq!(check("a:", &[("a", text)]), ["a:1: only policy may name wasmtime"]);
    }

    #[test]
    fn a_circle_within_a_room_is_found() {
        let files = [("a/b", "use super::c::C;"), ("a/c", "use crate::a::b::B;")];
        let found = check("a:", &files);
        assert_eq!(found, ["these files import each other in a circle: a/b, a/c"]);
    }
}
