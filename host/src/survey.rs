//! Describes a component without compiling it.

use std::collections::BTreeMap;

use wasmparser::{KnownCustom, Parser, Payload};
use wit_component::DecodedWasm;
use wit_parser::{Resolve, WorldItem};

use crate::policy::{Component, WIT};

/// What is known of a component.
#[derive(Default)]
pub struct Survey {
    /// By name, such as `karuta:policy/request@0.1.0`; each with the functions that are used.
    pub imports: BTreeMap<String, Vec<String>>,
    pub exports: BTreeMap<String, Vec<String>>,
    /// The tools that made it, by kind: `language`, `processed-by`, `sdk`.
    pub producers: BTreeMap<String, Vec<String>>,
}

impl Survey {
    /// # Errors
    ///
    /// Why it is not a component, and how to fix that.
    pub fn of(bytes: &[u8]) -> Result<Self, String> {
        Component::recognise(bytes).map_err(|refusal| refusal.to_string())?;
        let (resolve, world) = match wit_component::decode(bytes) {
            Ok(DecodedWasm::Component(resolve, world)) => (resolve, world),
            Ok(DecodedWasm::WitPackage(..)) => {
                return Err("is a WIT package, not a component".into());
            }
            Err(error) => return Err(format!("is not a valid component: {error:#}")),
        };
        let world = &resolve.worlds[world];
        let list = |items: &wit_parser::IndexMap<_, _>| {
            items.iter().map(|(key, item)| named(&resolve, key, item)).collect()
        };
        let mut survey = Self {
            imports: list(&world.imports),
            exports: list(&world.exports),
            ..Self::default()
        };
        survey.find_producers(bytes);
        Ok(survey)
    }

    /// Reads those of the component and of all its modules. Skips unreadable ones.
    fn find_producers(&mut self, bytes: &[u8]) {
        for payload in Parser::new(0).parse_all(bytes).map_while(Result::ok) {
            let Payload::CustomSection(section) = payload else { continue };
            let KnownCustom::Producers(fields) = section.as_known() else { continue };
            for field in fields.into_iter().filter_map(Result::ok) {
                let list = self.producers.entry(field.name.to_owned()).or_default();
                for tool in field.values.into_iter().filter_map(Result::ok) {
                    let tool = format!("{} {}", tool.name, tool.version).trim().to_owned();
                    if !list.contains(&tool) {
                        list.push(tool);
                    }
                }
            }
        }
    }

    /// Returns the hooks that it exports, without their package.
    pub fn hooks(&self) -> Vec<&str> {
        self.exports.keys().filter_map(|name| ours(name)).map(|(interface, _)| interface).collect()
    }

    /// Returns the versions of the contract that it was built against.
    pub fn versions(&self) -> Vec<&str> {
        let names = self.imports.keys().chain(self.exports.keys());
        let mut versions: Vec<_> =
            names.filter_map(|name| ours(name)).map(|(_, version)| version).collect();
        versions.sort_unstable();
        versions.dedup();
        versions
    }

    /// Returns the functions that it imports from one of our interfaces; none if it does not import
    /// it.
    pub fn uses(&self, interface: &str) -> &[String] {
        let found = self
            .imports
            .iter()
            .find(|(name, _)| ours(name).is_some_and(|(known, _)| known == interface));
        found.map_or(&[], |(_, functions)| functions)
    }

    /// Returns the smallest world of the contract that has all its imports and exports.
    pub fn world(&self) -> Option<String> {
        let mut resolve = Resolve::default();
        let package = resolve.push_source("policy.wit", WIT).ok()?;
        let worlds = resolve.packages[package].worlds.values();
        let fits = worlds.map(|world| &resolve.worlds[*world]).filter(|world| {
            let names = |items: &wit_parser::IndexMap<_, WorldItem>| -> Vec<String> {
                items.keys().map(|key| plain(&resolve.name_world_key(key))).collect()
            };
            let (imports, exports) = (names(&world.imports), names(&world.exports));
            let ours = |name: &&String| ours(name).is_some();
            self.imports.keys().filter(ours).all(|name| imports.contains(&plain(name)))
                && self.exports.keys().filter(ours).all(|name| exports.contains(&plain(name)))
                && !exports.is_empty()
        });
        let smallest = fits.min_by_key(|world| world.exports.len() + world.imports.len());
        smallest.map(|world| world.name.clone())
    }
}

fn named(resolve: &Resolve, key: &wit_parser::WorldKey, item: &WorldItem) -> (String, Vec<String>) {
    let functions = match item {
        WorldItem::Interface { id, .. } => {
            resolve.interfaces[*id].functions.keys().cloned().collect()
        }
        WorldItem::Function(_) | WorldItem::Type { .. } => Vec::new(),
    };
    (resolve.name_world_key(key), functions)
}

/// Returns the interface and version of a name such as `karuta:policy/request@0.1.0`.
fn ours(name: &str) -> Option<(&str, &str)> {
    let rest = name.strip_prefix("karuta:policy/")?;
    Some(rest.split_once('@').unwrap_or((rest, "without a version")))
}

/// Returns a name without its version.
fn plain(name: &str) -> String {
    name.split('@').next().unwrap_or_default().to_owned()
}

/// Returns the contract's worlds that a component can be built for.
pub fn worlds() -> Vec<String> {
    let mut resolve = Resolve::default();
    let Ok(package) = resolve.push_source("policy.wit", WIT) else { return Vec::new() };
    let worlds = resolve.packages[package].worlds.iter();
    let usable = worlds.filter(|(_, world)| !resolve.worlds[**world].exports.is_empty());
    usable.map(|(name, _)| name.clone()).collect()
}
