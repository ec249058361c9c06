//! Computes what an instance of a component takes from the host, by reading the component's
//! sections before any of it is compiled.

use std::fmt;

use wasmparser::{
    ComponentAlias, ComponentExternalKind, ComponentInstance, ComponentOuterAliasKind,
    ComponentTypeRef, ElementItems, Encoding, Instance, Parser, Payload,
};

use crate::policy::imports::memory::TABLE_ENTRY;

/// Limits for a component. A component from a language's tools has 3 to 15 core instances, one
/// memory and a few tables.
const MODULES: u64 = 128;
const INSTANCES: u64 = 128;
const TABLES: u64 = 128;
/// Each memory reserves 4 GiB of address space, so that its code needs no bounds checks.
const MEMORIES: u64 = 8;
/// Nested components, their instances, and the depth of nesting.
const COMPONENTS: u64 = 128;
const DEPTH: u64 = 16;
/// Indices of one kind; the validator's limit.
const INDICES: u64 = 1000;
/// Functions of all core modules.
const FUNCTIONS: u64 = 200_000;

/// The largest size at which a function counts, in bytes. Larger ones are rare, and a compiler
/// takes very long only over a single function.
const LARGEST: u64 = 64 * 1024;
/// The bytes that even an empty function counts for.
const SMALLEST: u64 = 32;

/// The bytes that the engine keeps for each instance: at least the size of its `VMContext`.
const INSTANCE: u64 = 1024;
const GLOBAL: u64 = 16;
const IMPORT: u64 = 32;
/// A reference to a function. Only exported functions and those in tables have one.
const FUNCTION: u64 = 40;
const MEMORY: u64 = 256;
const TABLE: u64 = 256;
const SEGMENT: u64 = 40;
/// An entry of an element segment.
const ELEMENT: u64 = 16;
/// A function that crosses a component's boundary.
const CROSSING: u64 = 128;
const PAGE: u64 = 64 * 1024;

/// The sizes of a component.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// The functions of its core modules.
    pub functions: u64,
    /// The bytes of their code, [`SMALLEST`] to [`LARGEST`] for each function.
    pub code: u64,
    pub footprint: Footprint,
}

/// What each instance of a component takes before it runs.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Footprint {
    pub core_instances: u64,
    /// Instances of nested components.
    pub instances: u64,
    pub memories: u64,
    pub tables: u64,
    /// The initial size of the linear memories, in bytes.
    pub linear: u64,
    /// The initial size of the tables, in bytes.
    pub entries: u64,
    /// What the engine keeps besides, in bytes: globals, function references, segments.
    pub kept: u64,
}

/// Why a component is not examined further.
#[derive(Debug)]
pub enum Unfit {
    /// It cannot be read.
    Unreadable(wasmparser::BinaryReaderError),
    /// It exceeds a limit.
    TooMany { what: &'static str, most: u64 },
    /// It instantiates something that it does not contain, so its footprint is unknown.
    HandedOver,
}

impl From<wasmparser::BinaryReaderError> for Unfit {
    fn from(error: wasmparser::BinaryReaderError) -> Self {
        Self::Unreadable(error)
    }
}

impl Footprint {
    /// Returns the bytes that a new instance counts for.
    pub fn bytes(&self) -> u64 {
        self.linear.saturating_add(self.entries).saturating_add(self.kept)
    }

    fn add(&mut self, other: &Self) {
        let Self { core_instances, instances, memories, tables, linear, entries, kept } = other;
        let sums = [
            (&mut self.core_instances, core_instances),
            (&mut self.instances, instances),
            (&mut self.memories, memories),
            (&mut self.tables, tables),
            (&mut self.linear, linear),
            (&mut self.entries, entries),
            (&mut self.kept, kept),
        ];
        for (sum, more) in sums {
            *sum = sum.saturating_add(*more);
        }
    }

    fn keep(&mut self, count: u64, each: u64) {
        self.kept = self.kept.saturating_add(count.saturating_mul(each));
    }
}

/// A component whose sections are being read.
#[derive(Default)]
struct Open {
    /// The footprint of an instance of each core module and component, by index; `None`: the
    /// component does not contain it.
    modules: Vec<Option<Footprint>>,
    components: Vec<Option<Footprint>>,
    /// The footprint of an instance of the component itself.
    own: Footprint,
}

impl Sizes {
    /// Reads the sections of a component. Only indices are followed, so the time is that of one
    /// pass.
    ///
    /// # Errors
    ///
    /// Why the component is not worth compiling.
    pub fn of(component: &[u8]) -> Result<Self, Unfit> {
        let mut sizes = Self::default();
        let mut open: Vec<Open> = Vec::new();
        let mut module = None;
        let (mut modules, mut components) = (0, 0);
        for payload in Parser::new(0).parse_all(component) {
            let payload = payload?;
            match (&payload, &mut module, open.last_mut()) {
                (Payload::Version { encoding: Encoding::Module, .. }, ..) => {
                    modules += 1;
                    at_most("core modules", modules, MODULES)?;
                    let mut own = Footprint { core_instances: 1, ..Footprint::default() };
                    own.keep(1, INSTANCE);
                    module = Some(own);
                }
                (Payload::Version { encoding: Encoding::Component, .. }, ..) => {
                    components += 1;
                    at_most("components within each other", components, COMPONENTS)?;
                    at_most("levels of components", open.len() as u64, DEPTH)?;
                    open.push(Open::default());
                }
                (Payload::End(_), Some(footprint), Some(outer)) => {
                    outer.modules.push(Some(*footprint));
                    module = None;
                }
                (Payload::End(_), None, Some(closed)) => {
                    sizes.footprint = closed.own;
                    open.pop();
                    if let Some(outer) = open.last_mut() {
                        outer.components.push(Some(sizes.footprint));
                    }
                }
                (_, Some(footprint), _) => sizes.count(footprint, payload)?,
                (_, None, Some(_)) => count_in_component(&mut open, payload)?,
                (_, _, None) => {}
            }
        }
        Ok(sizes)
    }

    /// Counts a section of a core module.
    fn count(&mut self, footprint: &mut Footprint, section: Payload) -> Result<(), Unfit> {
        match section {
            Payload::ImportSection(imports) => {
                let count = imports.into_imports().try_fold(0, |sum, one| one.map(|_| sum + 1))?;
                footprint.keep(count, IMPORT + FUNCTION);
            }
            Payload::FunctionSection(functions) => {
                self.functions += u64::from(functions.count());
                at_most("functions", self.functions, FUNCTIONS)?;
                footprint.keep(functions.count().into(), FUNCTION);
            }
            Payload::TableSection(tables) => {
                for table in tables {
                    footprint.tables += 1;
                    footprint.keep(1, TABLE);
                    let entries = table?.ty.initial.saturating_mul(TABLE_ENTRY as u64);
                    footprint.entries = footprint.entries.saturating_add(entries);
                }
            }
            Payload::MemorySection(memories) => {
                for memory in memories {
                    footprint.memories += 1;
                    footprint.keep(1, MEMORY);
                    let bytes = memory?.initial.saturating_mul(PAGE);
                    footprint.linear = footprint.linear.saturating_add(bytes);
                }
            }
            Payload::GlobalSection(globals) => footprint.keep(globals.count().into(), GLOBAL),
            Payload::TagSection(tags) => footprint.keep(tags.count().into(), GLOBAL),
            Payload::DataSection(data) => footprint.keep(data.count().into(), SEGMENT),
            Payload::ElementSection(segments) => {
                for segment in segments {
                    let entries = match segment?.items {
                        ElementItems::Functions(items) => items.count(),
                        ElementItems::Expressions(_, items) => items.count(),
                    };
                    footprint.keep(1, SEGMENT);
                    footprint.keep(entries.into(), ELEMENT);
                }
            }
            Payload::CodeSectionEntry(body) => {
                self.code += (body.range().len() as u64).clamp(SMALLEST, LARGEST);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Counts a section of the innermost open component.
fn count_in_component(open: &mut [Open], section: Payload) -> Result<(), Unfit> {
    let Some((inner, outer)) = open.split_last_mut() else { return Ok(()) };
    match section {
        Payload::InstanceSection(instances) => {
            for instance in instances {
                if let Instance::Instantiate { module_index, .. } = instance? {
                    inner.own.add(&known(&inner.modules, module_index)?);
                }
                inner.own.check()?;
            }
        }
        Payload::ComponentInstanceSection(instances) => {
            for instance in instances {
                if let ComponentInstance::Instantiate { component_index, .. } = instance? {
                    inner.own.add(&known(&inner.components, component_index)?);
                    inner.own.add(&Footprint {
                        instances: 1,
                        kept: INSTANCE,
                        ..Footprint::default()
                    });
                }
                inner.own.check()?;
            }
        }
        Payload::ComponentAliasSection(aliases) => {
            for alias in aliases {
                match alias? {
                    ComponentAlias::InstanceExport { kind, .. } => inner.name(kind, None)?,
                    ComponentAlias::Outer { kind, count, index } => {
                        let mut scopes = outer.iter().rev();
                        let scope = match count.checked_sub(1) {
                            None => Some(&*inner),
                            Some(above) => scopes.nth(above as usize),
                        };
                        let of = |list: fn(&Open) -> &Vec<Option<Footprint>>| {
                            scope.and_then(|scope| list(scope).get(index as usize).copied()?)
                        };
                        match kind {
                            ComponentOuterAliasKind::CoreModule => {
                                let module = of(|scope| &scope.modules);
                                inner.name(ComponentExternalKind::Module, module)?;
                            }
                            ComponentOuterAliasKind::Component => {
                                let component = of(|scope| &scope.components);
                                inner.name(ComponentExternalKind::Component, component)?;
                            }
                            ComponentOuterAliasKind::CoreType | ComponentOuterAliasKind::Type => {}
                        }
                    }
                    ComponentAlias::CoreInstanceExport { .. } => {}
                }
            }
        }
        Payload::ComponentImportSection(imports) => {
            for import in imports {
                let kind = match import?.ty {
                    ComponentTypeRef::Module(_) => ComponentExternalKind::Module,
                    ComponentTypeRef::Component(_) => ComponentExternalKind::Component,
                    _ => continue,
                };
                inner.name(kind, None)?;
            }
        }
        // An export gets an index of its own, which later sections can use.
        Payload::ComponentExportSection(exports) => {
            for export in exports {
                let export = export?;
                let index = export.index as usize;
                let list = match export.kind {
                    ComponentExternalKind::Module => &inner.modules,
                    ComponentExternalKind::Component => &inner.components,
                    _ => continue,
                };
                let exported = list.get(index).copied().flatten();
                inner.name(export.kind, exported)?;
            }
        }
        Payload::ComponentCanonicalSection(functions) => {
            inner.own.keep(functions.count().into(), CROSSING);
        }
        _ => {}
    }
    Ok(())
}

impl Open {
    /// Assigns the next index of this kind.
    fn name(
        &mut self,
        kind: ComponentExternalKind,
        footprint: Option<Footprint>,
    ) -> Result<(), Unfit> {
        let (list, what) = match kind {
            ComponentExternalKind::Module => (&mut self.modules, "names of core modules"),
            ComponentExternalKind::Component => (&mut self.components, "names of components"),
            _ => return Ok(()),
        };
        list.push(footprint);
        at_most(what, list.len() as u64, INDICES)
    }
}

impl Footprint {
    /// Rejects more than any component needs.
    fn check(&self) -> Result<(), Unfit> {
        at_most("core instances", self.core_instances, INSTANCES)?;
        at_most("instances of components within it", self.instances, COMPONENTS)?;
        at_most("memories", self.memories, MEMORIES)?;
        at_most("tables", self.tables, TABLES)
    }
}

/// Returns the footprint at an index. An index out of range takes nothing: such a component is
/// never compiled.
fn known(list: &[Option<Footprint>], index: u32) -> Result<Footprint, Unfit> {
    match list.get(index as usize) {
        Some(footprint) => footprint.ok_or(Unfit::HandedOver),
        None => Ok(Footprint::default()),
    }
}

fn at_most(what: &'static str, count: u64, most: u64) -> Result<(), Unfit> {
    if count > most { Err(Unfit::TooMany { what, most }) } else { Ok(()) }
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [linear, entries, kept] =
            [self.linear, self.entries, self.kept].map(|bytes| bytes.div_ceil(1024));
        write!(
            f,
            "{} core instances begin with {linear} KiB of linear memory, {entries} KiB of tables and \
             {kept} KiB of globals and references to functions",
            self.core_instances
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(wat: &str) -> Result<Sizes, Unfit> {
        Sizes::of(&wat::parse_str(wat).expect("WAT"))
    }

    fn footprint(wat: &str) -> Footprint {
        sizes(wat).expect("a footprint").footprint
    }

    /// Compares with the engine's own count.
    #[track_caller]
    fn agrees(wat: &str) -> Footprint {
        let ours = footprint(wat);
        let engine = wasmtime::Engine::default();
        let component = wasmtime::component::Component::new(&engine, wat::parse_str(wat).unwrap())
            .expect("a component");
        let theirs = component.resources_required().expect("nothing is handed over");
        assert_eq!(ours.memories, u64::from(theirs.num_memories));
        assert_eq!(ours.tables, u64::from(theirs.num_tables));
        ours
    }

    #[test]
    fn every_instance_of_a_module_counts() {
        let once = agrees(
            "(component
                (core module $m
                    (memory (export \"m\") 3) (table 10 funcref) (global i32 (i32.const 0))
                    (func) (func))
                (core instance (instantiate $m)))",
        );
        assert_eq!((once.core_instances, once.linear), (1, 3 * PAGE));
        assert_eq!(once.entries, 10 * TABLE_ENTRY as u64);
        assert_eq!(once.kept, INSTANCE + MEMORY + TABLE + GLOBAL + 2 * FUNCTION);
        let thrice = agrees(
            "(component
                (core module $m
                    (memory (export \"m\") 3) (table 10 funcref) (global i32 (i32.const 0))
                    (func) (func))
                (core instance (instantiate $m))
                (core instance (instantiate $m))
                (core module $empty)
                (core instance (export \"nothing\" (memory 0 \"m\")))
                (core instance (instantiate $m)))",
        );
        assert_eq!((thrice.linear, thrice.kept), (3 * once.linear, 3 * once.kept));
    }

    #[test]
    fn components_within_components_multiply() {
        let counted = agrees(
            "(component
                (core module $outside (memory 1))
                (component $outer
                    (component $inner
                        (alias outer 2 $outside (core module $m))
                        (core instance (instantiate $m))
                        (core instance (instantiate $m)))
                    (component $middle
                        (alias outer 1 $inner (component $c))
                        (instance (instantiate $c))
                        (instance (instantiate $c)))
                    (export $again \"middle\" (component $middle))
                    (instance (instantiate $middle))
                    (instance (instantiate $again)))
                (instance (instantiate $outer)))",
        );
        assert_eq!((counted.core_instances, counted.memories, counted.instances), (8, 8, 7));
    }

    #[test]
    fn modules_from_outside_cannot_be_counted() {
        let imported = "(import \"m\" (core module $m))";
        assert_eq!(footprint(&format!("(component {imported})")), Footprint::default());
        let made = format!("(component {imported} (core instance (instantiate $m)))");
        assert!(matches!(sizes(&made), Err(Unfit::HandedOver)));
        let from_an_instance = "(component
            (component $c (core module $m (memory 1)) (export \"m\" (core module $m)))
            (instance $i (instantiate $c))
            (alias export $i \"m\" (core module $m))
            (core instance (instantiate $m)))";
        assert!(matches!(sizes(from_an_instance), Err(Unfit::HandedOver)));
    }

    #[test]
    fn more_than_any_component_needs_is_refused() {
        let instances = |module: &str, count: usize| {
            let made = "(core instance (instantiate $m))".repeat(count);
            sizes(&format!("(component (core module $m {module}) {made})"))
        };
        assert!(instances("", INSTANCES as usize).is_ok());
        let refused = |refused: Result<Sizes, Unfit>, of: &str| {
            assert!(
                matches!(&refused, Err(Unfit::TooMany { what, .. }) if *what == of),
                "{refused:?}"
            );
        };
        refused(instances("", INSTANCES as usize + 1), "core instances");
        assert!(instances("(memory 0) (memory 0)", 4).is_ok());
        refused(instances("(memory 0) (memory 0) (memory 0)", 3), "memories");
        refused(instances("(table 0 funcref)(table 0 funcref)(table 0 funcref)", 50), "tables");
        refused(sizes(&format!("(component {})", "(core module)".repeat(129))), "core modules");
        let deep = "(component ".repeat(18) + &")".repeat(18);
        refused(sizes(&deep), "levels of components");
        // Each level doubles the number of instances.
        let doubled = (0..12).fold(
            "(core module $m) (core instance (instantiate $m))".to_owned(),
            |inner, _| {
                format!(
                    "(component $c {inner}) (instance (instantiate $c)) (instance (instantiate $c))"
                )
            },
        );
        refused(sizes(&format!("(component {doubled})")), "instances of components within it");
    }

    #[test]
    fn no_bytes_panic() {
        let whole = wat::parse_str(
            "(component (core module $m (memory 1) (func)) (core instance (instantiate $m)))",
        )
        .unwrap();
        for at in 0..whole.len() {
            let _ = Sizes::of(&whole[..at]);
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                let _ = Sizes::of(&damaged);
            }
        }
    }
}
