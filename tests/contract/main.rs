//! The released contract in `wit/` stays. Within 0.1.x it may grow by functions of imported
//! interfaces and by new interfaces. Nothing that is there may change or go.

use std::collections::BTreeMap;
use std::path::Path;

use karuta_tests::root;
use wit_parser::{
    Function, FunctionKind, InterfaceId, Resolve, Type, TypeDefKind, TypeId, World, WorldItem,
    WorldKey,
};

/// The parts of a package that can be compared: each item with its text.
#[derive(Clone, Default, Debug)]
struct Contract {
    /// `interface/type` or `interface/function`
    items: BTreeMap<String, String>,
    /// The interfaces of each world.
    imports: BTreeMap<String, Vec<String>>,
    exports: BTreeMap<String, Vec<String>>,
}

impl Contract {
    fn parse(name: &str, text: &str) -> Self {
        let mut resolve = Resolve::default();
        let package = resolve.push_str(name, text).expect("the contract is WIT");
        let package = &resolve.packages[package];
        assert_eq!((&*package.name.namespace, &*package.name.name), ("karuta", "policy"));
        let mut contract = Self::default();
        for (name, interface) in &package.interfaces {
            for (item, written) in items(&resolve, *interface) {
                contract.items.insert(format!("{name}/{item}"), written);
            }
        }
        for (name, world) in &package.worlds {
            let world: &World = &resolve.worlds[*world];
            let names = |items: &wit_parser::IndexMap<WorldKey, WorldItem>| {
                items.keys().map(|key| resolve.name_world_key(key)).collect::<Vec<_>>()
            };
            let bare = |names: Vec<String>| {
                let bare = names.iter().map(|name| bare(name).to_owned());
                bare.collect::<Vec<_>>()
            };
            contract.imports.insert(name.clone(), bare(names(&world.imports)));
            contract.exports.insert(name.clone(), bare(names(&world.exports)));
        }
        contract
    }

    /// Returns what a later contract breaks.
    fn broken_by(&self, later: &Self) -> Vec<String> {
        let mut broken = Vec::new();
        for (item, written) in &self.items {
            match later.items.get(item) {
                None => broken.push(format!("{item} is gone")),
                Some(other) if other != written => {
                    broken.push(format!("{item} was\n  {written}\nand is\n  {other}"));
                }
                Some(_) => {}
            }
        }
        // A component without it could not be called.
        let exported = |interface: &str| self.exports.values().flatten().any(|e| e == interface);
        for item in later.items.keys().filter(|item| !self.items.contains_key(*item)) {
            let interface = item.split('/').next().unwrap_or_default();
            if exported(interface) {
                broken.push(format!("{item} is new in an interface that plugins export"));
            }
        }
        for (world, imports) in &self.imports {
            let now = later.imports.get(world);
            let gone = imports.iter().filter(|name| !now.is_some_and(|now| now.contains(name)));
            broken.extend(gone.map(|name| format!("{world} no longer imports {name}")));
        }
        for (world, exports) in &self.exports {
            if later.exports.get(world) != Some(exports) {
                broken.push(format!("{world} exports other interfaces than {exports:?}"));
            }
        }
        broken
    }
}

/// Returns a name such as `karuta:policy/request@0.1.0` without its package and version.
fn bare(name: &str) -> &str {
    let name = name.rsplit('/').next().unwrap_or(name);
    name.split('@').next().unwrap_or(name)
}

fn items(resolve: &Resolve, interface: InterfaceId) -> Vec<(String, String)> {
    let interface = &resolve.interfaces[interface];
    let types = interface.types.iter().map(|(name, id)| (name.clone(), definition(resolve, *id)));
    let functions = interface
        .functions
        .iter()
        .map(|(name, function)| (name.clone(), signature(resolve, function)));
    types.chain(functions).collect()
}

fn signature(resolve: &Resolve, function: &Function) -> String {
    assert_eq!(function.kind, FunctionKind::Freestanding, "{}", function.name);
    let parameters: Vec<String> = function
        .params
        .iter()
        .map(|parameter| format!("{}: {}", parameter.name, written(resolve, &parameter.ty)))
        .collect();
    let result = function.result.as_ref().map_or("nothing".into(), |ty| written(resolve, ty));
    format!("func({}) -> {result}", parameters.join(", "))
}

/// Writes a type as it is used: by its name, if it has one.
fn written(resolve: &Resolve, ty: &Type) -> String {
    match ty {
        Type::Id(id) => match &resolve.types[*id].name {
            Some(name) => name.clone(),
            None => definition(resolve, *id),
        },
        simple => format!("{simple:?}").to_lowercase(),
    }
}

fn definition(resolve: &Resolve, id: TypeId) -> String {
    let of = |ty: &Type| written(resolve, ty);
    let optional = |ty: &Option<Type>| ty.as_ref().map_or("_".into(), of);
    match &resolve.types[id].kind {
        TypeDefKind::Record(record) => {
            let fields =
                record.fields.iter().map(|field| format!("{}: {}", field.name, of(&field.ty)));
            format!("record {{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
        TypeDefKind::Enum(cases) => {
            let cases: Vec<&str> = cases.cases.iter().map(|case| &*case.name).collect();
            format!("enum {{ {} }}", cases.join(", "))
        }
        TypeDefKind::Flags(flags) => {
            let flags: Vec<&str> = flags.flags.iter().map(|flag| &*flag.name).collect();
            format!("flags {{ {} }}", flags.join(", "))
        }
        TypeDefKind::Tuple(tuple) => {
            format!("tuple<{}>", tuple.types.iter().map(of).collect::<Vec<_>>().join(", "))
        }
        TypeDefKind::Option(ty) => format!("option<{}>", of(ty)),
        TypeDefKind::List(ty) => format!("list<{}>", of(ty)),
        TypeDefKind::Result(result) => {
            format!("result<{}, {}>", optional(&result.ok), optional(&result.err))
        }
        TypeDefKind::Type(ty) => of(ty),
        other => panic!("the contract has no {other:?} yet: say here how it is compared"),
    }
}

fn current() -> String {
    read(&root().join("wit/policy.wit"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn everything_that_was_released_is_still_there() {
    let now = Contract::parse("policy.wit", &current());
    let mut releases = 0;
    for entry in std::fs::read_dir(root().join("wit/released")).expect("the released contracts") {
        let path = entry.expect("an entry").path().join("policy.wit");
        let released = Contract::parse("released.wit", &read(&path));
        let broken = released.broken_by(&now);
        assert!(broken.is_empty(), "{}:\n{}", path.display(), broken.join("\n"));
        releases += 1;
    }
    assert!(releases > 0);
}

#[test]
fn growth_is_told_from_breakage() {
    let text = current();
    let released = Contract::parse("policy.wit", &text);
    let after = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        released.broken_by(&Contract::parse("policy.wit", &text.replacen(from, to, 1)))
    };
    let left = "left: func() -> u64;";
    assert!(after(left, &format!("corrupt: func() -> u64;\n{left}")).is_empty());
    let worlds = "world imports {";
    assert!(after(worlds, &format!("interface later {{ f: func(); }}\n{worlds}")).is_empty());
    let breaks = [
        (left, "", "request/left is gone"),
        (left, "left: func() -> u32;", "request/left was"),
        (
            "query-param: func(name: string)",
            "query-param: func(key: string)",
            "request/query-param was",
        ),
        ("started, stopped", "stopped, started", "types/event was"),
        ("num-want: u32,", "num-want: u32, age: u32,", "types/announce was"),
        ("tuple<u32, u32>;", "tuple<u32, u32, u32>;", "types/client was"),
        (
            "tick: func(unix-ms: u64)",
            "tock: func();\n  tick: func(unix-ms: u64)",
            "ticker/tock is new",
        ),
        ("  import swarm;\n", "", "announce-policy no longer imports swarm"),
        ("  export announce-filter;\n", "", "announce-policy exports other interfaces"),
    ];
    for (from, to, message) in breaks {
        let broken = after(from, to);
        assert!(broken.iter().any(|text| text.starts_with(message)), "{from}: {broken:?}");
    }
}
