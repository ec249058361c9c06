//! The bindings that `bindgen!` generates from the contract in `wit/`: one world with every import
//! and every hook.
//!
//! No component exports this world. A component's hooks are found interface by interface (see
//! [`crate::policy::instance::plugin`]).

wasmtime::component::bindgen!({
    path: "../wit",
    inline: "
        package karuta:host;
        world everything {
            include karuta:policy/accounting-policy@0.1.0;
            export karuta:policy/peer-ranker@0.1.0;
        }
    ",
    world: "karuta:host/everything",
    ownership: Borrowing { duplicate_if_necessary: true },
});

pub use self::exports::karuta::policy as hooks;
pub use self::karuta::policy as imports;
