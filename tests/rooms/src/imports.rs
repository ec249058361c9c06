//! What a file imports, read from its text: paths that begin with `crate`, `super` or `self`.

use std::collections::{BTreeMap, BTreeSet};

/// One source file.
pub struct File {
    pub path: String,
    /// The names of its module below the crate.
    pub module: Vec<String>,
    pub imports: Vec<Import>,
    /// The lines of code, without comments and tests.
    lines: Vec<String>,
}

/// A path to another module of the crate.
pub struct Import {
    /// Counted from 1.
    pub line: usize,
    /// The names of the innermost module on the path.
    pub module: Vec<String>,
}

impl File {
    /// Reads a text; `modules` are all there are.
    pub fn parse(
        path: String,
        module: Vec<String>,
        text: &str,
        modules: &BTreeSet<Vec<String>>,
    ) -> Self {
        let lines = code(text);
        let mut imports = Vec::new();
        let text = lines.join("\n");
        for (at, _) in text.match_indices("crate::").chain(text.match_indices("super::")) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | ':')) {
                continue;
            }
            let line = text[..at].matches('\n').count() + 1;
            for path in paths(&text[at..]) {
                let mut names = &path[..];
                let mut found = match names.split_first() {
                    Some((first, rest)) if first == "crate" => {
                        names = rest;
                        Vec::new()
                    }
                    _ => module.clone(),
                };
                while let Some((first, rest)) = names.split_first().filter(|(n, _)| *n == "super") {
                    let _ = first;
                    found.pop();
                    names = rest;
                }
                for name in names {
                    found.push(name.clone());
                    if !modules.contains(&found) && !modules.iter().any(|m| m.starts_with(&found)) {
                        found.pop();
                        break;
                    }
                }
                if found != module {
                    imports.push(Import { line, module: found });
                }
            }
        }
        Self { path, module, imports, lines }
    }

    /// The line that names something of a crate, where there is one.
    pub fn names(&self, name: &str) -> Option<usize> {
        let path = format!("{name}::");
        let names = |line: &String| {
            line.match_indices(&path)
                .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        };
        self.lines.iter().position(names).map(|at| at + 1)
    }
}

/// The lines of a file without comments and tests, as many as it has.
fn code(text: &str) -> Vec<String> {
    let mut in_tests = false;
    let code = text.lines().map(|line| {
        in_tests |= line == "#[cfg(test)]";
        let kept = if in_tests { "" } else { line.split("//").next().unwrap_or("") };
        // rustfmt puts the end of an item at the margin.
        in_tests &= !(line == "}" || line.ends_with(';') && !line.starts_with(' '));
        kept.to_owned()
    });
    code.collect()
}

/// The paths that begin a text, of which there are several where braces list them.
fn paths(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    walk(text, &[], &mut found);
    found
}

/// Reads one path, or one list in braces, and returns how many bytes that took.
fn walk(text: &str, before: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut names = before.to_vec();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        if rest.starts_with('{') {
            at += 1;
            loop {
                at += text[at..].len() - text[at..].trim_start().len();
                if text[at..].is_empty() || text[at..].starts_with('}') {
                    return at + 1;
                }
                at += walk(&text[at..], &names, found);
                let next = text[at..].find([',', '}']).unwrap_or(text[at..].len());
                at += next;
                if text[at..].starts_with(',') {
                    at += 1;
                }
            }
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        if end > 0 {
            names.push(rest[..end].to_owned());
        }
        at += end;
        if !text[at..].starts_with("::") {
            found.push(names);
            return at;
        }
        at += 2;
    }
}

/// Files that import each other in a circle. A module and the files of its folder are one noun in
/// several files: between those nothing is counted.
pub fn circles(files: &[File]) -> Vec<Vec<String>> {
    let of_module: BTreeMap<_, _> = files.iter().map(|file| (&file.module, file)).collect();
    let arrows = |file: &File| -> Vec<&File> {
        let is_family = |a: &[String], b: &[String]| a.split_last().is_some_and(|(_, up)| up == b);
        let others = file.imports.iter().filter(|other| {
            !is_family(&file.module, &other.module) && !is_family(&other.module, &file.module)
        });
        others.filter_map(|other| of_module.get(&other.module).copied()).collect()
    };
    let reach = |file: &File| -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut next = arrows(file);
        while let Some(file) = next.pop() {
            if seen.insert(file.path.clone()) {
                next.extend(arrows(file));
            }
        }
        seen
    };
    let reached: BTreeMap<_, _> = files.iter().map(|file| (&file.path, reach(file))).collect();
    let mut found = BTreeSet::new();
    for (path, others) in reached.iter().filter(|(path, others)| others.contains(**path)) {
        let circle = others.iter().filter(|other| reached[other].contains(*path));
        found.insert(circle.cloned().collect::<Vec<_>>());
    }
    found.into_iter().collect()
}
