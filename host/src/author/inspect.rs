//! `karuta plugin inspect`: describes a component.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::Failure;
use super::needs::needs;
use crate::policy::Component;
use crate::survey::Survey;
use crate::text::{Escaped, cut};

pub fn inspect(file: &Path) -> Result<(), Failure> {
    let fail = |reason: String| format!("{}: {reason}", file.display());
    let bytes = Component::read(file).map_err(fail)?;
    let survey = Survey::of(&bytes).map_err(fail)?;
    println!("{}", file.display());
    print(&bytes, &survey);
    Ok(())
}

/// Prints what is known of a component, one line per fact.
pub fn print(bytes: &[u8], survey: &Survey) {
    let line = |name: &str, text: &str| {
        if !text.is_empty() {
            println!("  {name:<10} {}", Escaped(cut(text.to_owned())));
        }
    };
    line("size", &size(bytes.len()));
    line("sha256", &hex::encode(Sha256::digest(bytes)));
    // `language` is often that of an interpreter.
    for (field, name) in [("processed-by", "made with"), ("sdk", "sdk")] {
        line(name, &survey.producers.get(field).map(|tools| tools.join(", ")).unwrap_or_default());
    }
    line("contract", &survey.versions().join(", "));
    line("world", &survey.world().unwrap_or_default());
    line("hooks", &survey.hooks().join(", "));
    let ours = survey.imports.iter().filter_map(|(name, functions)| {
        let name = name.strip_prefix("karuta:policy/")?.split('@').next()?;
        let list = functions.join(", ");
        (!list.is_empty()).then(|| format!("{name} ({list})"))
    });
    for (at, import) in ours.enumerate() {
        line(if at == 0 { "calls" } else { "" }, &import);
    }
    line("WASI", &wasi(survey));
    let foreign = |names: std::collections::btree_map::Keys<'_, String, Vec<String>>| {
        let foreign =
            names.filter(|name| !name.starts_with("karuta:policy/") && !name.starts_with("wasi:"));
        foreign.cloned().collect::<Vec<_>>().join(", ")
    };
    line("imports", &foreign(survey.imports.keys()));
    line("exports", &foreign(survey.exports.keys()));
    line("needs", &needs(survey).iter().map(|need| need.text()).collect::<Vec<_>>().join(", "));
}

fn wasi(survey: &Survey) -> String {
    let mut packages: Vec<String> = Vec::new();
    for name in survey.imports.keys() {
        let Some((package, rest)) = name.split_once('/').filter(|(p, _)| p.starts_with("wasi:"))
        else {
            continue;
        };
        let version = rest.split_once('@').map_or("", |(_, version)| version);
        let package = format!("{} {version}", &package["wasi:".len()..]);
        if !packages.contains(&package) {
            packages.push(package);
        }
    }
    packages.join(", ")
}

/// Formats a number of bytes.
pub fn size(bytes: usize) -> String {
    match bytes {
        0..10_240 => format!("{bytes} B"),
        10_240..10_485_760 => format!("{} KiB", bytes / 1024),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}
