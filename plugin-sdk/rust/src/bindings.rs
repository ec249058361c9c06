//! What `wit-bindgen` generates from the contract in `wit/policy.wit`.
//!
//! The host functions are one world. Each hook is a world of its own, so that a component exports
//! only the hooks that [`export!`](crate::export) names.

#![allow(
    clippy::all,
    clippy::pedantic,
    missing_docs,
    reason = "generated code: the contract is documented where it is written"
)]

/// The host functions of control instances only.
pub mod control {
    wit_bindgen::generate!({
        inline: "package karuta:plugin; world control {
            import karuta:policy/http@0.1.0;
            import karuta:policy/publisher@0.1.0;
        }",
        path: "../../wit",
        generate_all,
    });
    pub use karuta::policy::*;
}

/// The host functions, and the types of all hooks.
pub mod imports {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "karuta:policy/imports",
        generate_unused_types: true,
    });
    pub use karuta::policy::*;
}

pub mod lifecycle {
    wit_bindgen::generate!({
        inline: "package karuta:plugin; world lifecycle { export karuta:policy/lifecycle@0.1.0; }",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export",
    });
    pub use exports::karuta::policy::lifecycle::*;
}

pub mod announce_filter {
    wit_bindgen::generate!({
        inline: "package karuta:plugin; world announce-filter { export karuta:policy/announce-filter@0.1.0; }",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export",
        with: { "karuta:policy/types@0.1.0": crate::bindings::imports::types },
    });
    pub use exports::karuta::policy::announce_filter::*;
}

pub mod data_sink {
    wit_bindgen::generate!({
        inline: "package karuta:plugin; world data-sink { export karuta:policy/data-sink@0.1.0; }",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export",
    });
    pub use exports::karuta::policy::data_sink::*;
}

pub mod scrape_filter {
    wit_bindgen::generate!({
        inline: "package karuta:plugin; world scrape-filter { export karuta:policy/scrape-filter@0.1.0; }",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export",
        with: { "karuta:policy/types@0.1.0": crate::bindings::imports::types },
    });
    pub use exports::karuta::policy::scrape_filter::*;
}

pub mod observer {
    wit_bindgen::generate!({
        inline: "package karuta:plugin; world observer { export karuta:policy/observer@0.1.0; }",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export",
        with: { "karuta:policy/types@0.1.0": crate::bindings::imports::types },
    });
    pub use exports::karuta::policy::observer::*;
}

pub mod peer_ranker {
    wit_bindgen::generate!({
        inline: "package karuta:plugin; world peer-ranker { export karuta:policy/peer-ranker@0.1.0; }",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export",
        with: { "karuta:policy/types@0.1.0": crate::bindings::imports::types },
    });
    pub use exports::karuta::policy::peer_ranker::*;
}

pub mod ticker {
    wit_bindgen::generate!({
        inline: "package karuta:plugin; world ticker { export karuta:policy/ticker@0.1.0; }",
        path: "../../wit",
        pub_export_macro: true,
        export_macro_name: "export",
    });
    pub use exports::karuta::policy::ticker::*;
}
