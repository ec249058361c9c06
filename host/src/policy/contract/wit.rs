//! The parsed contract, for comparison with components.

use std::fmt::Write as _;
use std::sync::LazyLock;

use wasmtime::Engine;
use wasmtime::component::types::{self, ComponentFunc, ComponentInstance, ComponentItem};
use wit_parser::{Function, InterfaceId, Resolve, TypeDefKind, WorldItem};

/// The text of the contract.
pub const WIT: &str = include_str!("../../../../wit/policy.wit");

/// The version of the contract that this host offers.
pub const VERSION: &str = "0.1.0";

/// The contract, parsed.
pub struct Contract {
    resolve: Resolve,
    /// The interfaces that the host implements for plugins, and those that it calls.
    offered: Vec<InterfaceId>,
    called: Vec<InterfaceId>,
}

static CONTRACT: LazyLock<Contract> = LazyLock::new(|| {
    let mut resolve = Resolve::default();
    let package = resolve.push_source("policy.wit", WIT).expect("the contract is WIT");
    let (mut offered, mut called) = (Vec::new(), Vec::new());
    for world in resolve.packages[package].worlds.values() {
        let world = &resolve.worlds[*world];
        for (items, list) in [(&world.imports, &mut offered), (&world.exports, &mut called)] {
            list.extend(items.values().filter_map(|item| match item {
                WorldItem::Interface { id, .. } => Some(*id),
                WorldItem::Function(_) | WorldItem::Type { .. } => None,
            }));
        }
    }
    Contract { resolve, offered, called }
});

impl Contract {
    pub fn get() -> &'static Self {
        &CONTRACT
    }

    /// Returns whether the host implements an interface of that name for plugins.
    pub fn offers(&self, interface: &str) -> bool {
        self.find(&self.offered, interface).is_some()
    }

    /// Returns whether the host calls an interface of that name.
    pub fn calls(&self, interface: &str) -> bool {
        self.find(&self.called, interface).is_some()
    }

    /// Describes the first function of an import that differs from this contract.
    pub fn strange_import(
        &self,
        engine: &Engine,
        interface: &str,
        instance: &ComponentInstance,
    ) -> Option<String> {
        let known = &self.resolve.interfaces[self.find(&self.offered, interface)?];
        let wanted = instance.exports(engine).filter_map(|(name, item)| match item.ty {
            ComponentItem::ComponentFunc(function) => Some((name, function)),
            _ => None,
        });
        wanted.into_iter().find_map(|(name, function)| match known.functions.get(name) {
            None => Some(format!("imports {interface}.{name}, which this host does not offer")),
            Some(known) => self
                .difference(known, &function)
                .map(|difference| format!("imports {interface}.{name} {difference}")),
        })
    }

    /// Describes the first function of an export that is missing or differs from this contract.
    pub fn strange_export(
        &self,
        engine: &Engine,
        interface: &str,
        instance: &ComponentInstance,
    ) -> Option<String> {
        let known = &self.resolve.interfaces[self.find(&self.called, interface)?];
        known.functions.iter().find_map(|(name, known)| {
            match instance.get_export(engine, name).map(|found| found.ty) {
                Some(ComponentItem::ComponentFunc(found)) => {
                    let difference = self.difference(known, &found)?;
                    Some(format!("exports {interface}.{name} {difference}"))
                }
                _ => Some(format!("exports {interface} without its function {name}")),
            }
        })
    }

    fn find(&self, interfaces: &[InterfaceId], name: &str) -> Option<InterfaceId> {
        let is = |id: &&InterfaceId| self.resolve.interfaces[**id].name.as_deref() == Some(name);
        interfaces.iter().find(is).copied()
    }

    fn difference(&self, known: &Function, found: &ComponentFunc) -> Option<String> {
        if found.async_() {
            return Some("as an async function".to_owned());
        }
        let (expected, given) = (known.params.len(), found.params().len());
        if expected != given {
            return Some(format!("with {given} parameters, where the contract has {expected}"));
        }
        let different = |found: &str, known: &str| {
            let shown = found.get(..48).map_or(found.into(), |start| format!("{start}…"));
            format!("as {shown}, where the contract has {known}")
        };
        for (known, (name, found)) in known.params.iter().zip(found.params()) {
            let (found, shape) = (found_shape(&found), self.shape(&known.ty));
            if found != shape {
                let rest = different(&found, &self.short(&known.ty));
                return Some(format!("with the parameter `{name}` {rest}"));
            }
        }
        let found = found.results().next().map(|found| found_shape(&found)).unwrap_or_default();
        let shape = known.result.as_ref().map(|known| self.shape(known)).unwrap_or_default();
        (found != shape).then(|| {
            let nothing = || "nothing".to_owned();
            let short = known.result.as_ref().map_or_else(nothing, |known| self.short(known));
            let found = if found.is_empty() { nothing() } else { found };
            format!("with a result {}", different(&found, &short))
        })
    }

    /// Returns the name of a type, or its shape if it has no name.
    fn short(&self, of: &wit_parser::Type) -> String {
        match of {
            wit_parser::Type::Id(id) => match &self.resolve.types[*id].name {
                Some(name) => format!("`{name}`"),
                None => self.shape(of),
            },
            _ => self.shape(of),
        }
    }

    /// Returns the shape of a type, in the form of [`found_shape`].
    fn shape(&self, of: &wit_parser::Type) -> String {
        use wit_parser::Type;
        let id = match of {
            Type::Bool => return "bool".into(),
            Type::U8 => return "u8".into(),
            Type::U16 => return "u16".into(),
            Type::U32 => return "u32".into(),
            Type::U64 => return "u64".into(),
            Type::S8 => return "s8".into(),
            Type::S16 => return "s16".into(),
            Type::S32 => return "s32".into(),
            Type::S64 => return "s64".into(),
            Type::F32 => return "f32".into(),
            Type::F64 => return "f64".into(),
            Type::Char => return "char".into(),
            Type::String => return "string".into(),
            Type::ErrorContext => return "error-context".into(),
            Type::Id(id) => *id,
        };
        let some = |of: &Option<Type>| of.as_ref().map(|of| self.shape(of));
        match &self.resolve.types[id].kind {
            TypeDefKind::Type(of) => self.shape(of),
            TypeDefKind::List(of) => format!("list<{}>", self.shape(of)),
            TypeDefKind::Option(of) => format!("option<{}>", self.shape(of)),
            TypeDefKind::Result(of) => result_shape(some(&of.ok), some(&of.err)),
            TypeDefKind::Tuple(of) => {
                listed("tuple<", of.types.iter().map(|of| self.shape(of)), ">")
            }
            TypeDefKind::Record(of) => {
                let fields = of.fields.iter();
                let fields =
                    fields.map(|field| format!("{}: {}", field.name, self.shape(&field.ty)));
                listed("record { ", fields, " }")
            }
            TypeDefKind::Enum(of) => {
                listed("enum { ", of.cases.iter().map(|case| case.name.clone()), " }")
            }
            TypeDefKind::Flags(of) => {
                listed("flags { ", of.flags.iter().map(|flag| flag.name.clone()), " }")
            }
            other => other.as_str().to_owned(),
        }
    }
}

/// The most types and characters of names in a shape. The contract's own shapes have far fewer.
const LONGEST: usize = 4096;

/// Returns a component's type as the contract would write it, with aliases resolved. A type that is
/// larger than anything in the contract is not written out: a few nested types can expand without
/// end.
fn found_shape(of: &types::Type) -> String {
    match spend(of, &mut { LONGEST }) {
        Some(()) => shape_of(of),
        None => "a type that is too long to show".into(),
    }
}

/// Subtracts the types and characters of a shape from `left`. Returns `None` if `left` is too
/// small.
fn spend(of: &types::Type, left: &mut usize) -> Option<()> {
    use types::Type;
    let mut take = |count: usize| left.checked_sub(count).map(|rest| *left = rest);
    take(1)?;
    match of {
        Type::List(of) => spend(&of.ty(), left),
        Type::Option(of) => spend(&of.ty(), left),
        Type::Result(of) => of.ok().iter().chain(&of.err()).try_for_each(|of| spend(of, left)),
        Type::Tuple(of) => of.types().try_for_each(|of| spend(&of, left)),
        Type::Record(of) => of.fields().try_for_each(|field| {
            *left = left.checked_sub(field.name.len())?;
            spend(&field.ty, left)
        }),
        Type::Enum(of) => of.names().try_for_each(|name| take(name.len())),
        Type::Flags(of) => of.names().try_for_each(|name| take(name.len())),
        _ => Some(()),
    }
}

fn shape_of(of: &types::Type) -> String {
    use types::Type;
    match of {
        Type::Bool => "bool".into(),
        Type::U8 => "u8".into(),
        Type::U16 => "u16".into(),
        Type::U32 => "u32".into(),
        Type::U64 => "u64".into(),
        Type::S8 => "s8".into(),
        Type::S16 => "s16".into(),
        Type::S32 => "s32".into(),
        Type::S64 => "s64".into(),
        Type::Float32 => "f32".into(),
        Type::Float64 => "f64".into(),
        Type::Char => "char".into(),
        Type::String => "string".into(),
        Type::ErrorContext => "error-context".into(),
        Type::List(of) => format!("list<{}>", shape_of(&of.ty())),
        Type::Option(of) => format!("option<{}>", shape_of(&of.ty())),
        Type::Result(of) => {
            result_shape(of.ok().as_ref().map(shape_of), of.err().as_ref().map(shape_of))
        }
        Type::Tuple(of) => listed("tuple<", of.types().map(|of| shape_of(&of)), ">"),
        Type::Record(of) => {
            let field =
                |field: types::Field<'_>| format!("{}: {}", field.name, shape_of(&field.ty));
            listed("record { ", of.fields().map(field), " }")
        }
        Type::Enum(of) => listed("enum { ", of.names().map(str::to_owned), " }"),
        Type::Flags(of) => listed("flags { ", of.names().map(str::to_owned), " }"),
        Type::Variant(_) => "variant".into(),
        Type::Map(_) => "map".into(),
        Type::FixedLengthList(_) => "fixed-length list".into(),
        Type::Own(_) => "own".into(),
        Type::Borrow(_) => "borrow".into(),
        Type::Future(_) => "future".into(),
        Type::Stream(_) => "stream".into(),
    }
}

fn result_shape(ok: Option<String>, err: Option<String>) -> String {
    match (ok, err) {
        (None, None) => "result".into(),
        (Some(ok), None) => format!("result<{ok}>"),
        (ok, Some(err)) => format!("result<{}, {err}>", ok.as_deref().unwrap_or("_")),
    }
}

fn listed(open: &str, items: impl Iterator<Item = String>, close: &str) -> String {
    let mut text = open.to_owned();
    for (at, item) in items.enumerate() {
        let _ = write!(text, "{}{item}", if at == 0 { "" } else { ", " });
    }
    text + close
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_knows_its_own_contract() {
        let contract = Contract::get();
        assert!(WIT.contains(&format!("package karuta:policy@{VERSION};")));
        for interface in ["types", "request", "response", "http", "publisher", "keyvalue"] {
            assert!(contract.offers(interface) && !contract.calls(interface), "{interface}");
        }
        for interface in ["lifecycle", "announce-filter", "peer-ranker", "observer", "ticker"] {
            assert!(contract.calls(interface) && !contract.offers(interface), "{interface}");
        }
        assert!(!contract.offers("teleport"));
    }
}
