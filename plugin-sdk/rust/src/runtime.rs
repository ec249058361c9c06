//! What [`export!`](crate::export) expands to: one policy for each component instance, created by
//! `init`, and an adapter for each hook.

use std::{
    cell::RefCell,
    thread::LocalKey,
    time::{Duration, SystemTime},
};

use crate::{
    Announce, AnnounceFilter, Candidate, Context, DataSink, Observer, Outcome, PeerRanker, Policy,
    Scrape, ScrapeFilter, Ticker, Verdict,
    bindings::{imports::types, lifecycle, observer, peer_ranker},
    config,
};

/// Holds the policy from `init` on.
pub type Slot<P> = RefCell<Option<P>>;

/// `lifecycle.init`
pub fn init<P: Policy>(
    slot: &'static LocalKey<Slot<P>>,
    context: lifecycle::Context,
) -> Result<(), String> {
    let lifecycle::Context { name, config, role, worker, workers } = context;
    let policy = config::parse(&config)
        .and_then(|config| P::init(config, &Context { name, role, worker, workers }))
        .map_err(String::from)?;
    slot.set(Some(policy));
    Ok(())
}

/// `announce-filter.on-announce`
pub fn on_announce<P: AnnounceFilter>(
    slot: &'static LocalKey<Slot<P>>,
    announce: types::Announce,
) -> Verdict {
    call(slot, |policy| policy.on_announce(&Announce(announce)))
}

/// `scrape-filter.on-scrape`
pub fn on_scrape<P: ScrapeFilter>(
    slot: &'static LocalKey<Slot<P>>,
    scrape: types::Scrape,
) -> Verdict {
    call(slot, |policy| policy.on_scrape(&Scrape(scrape)))
}

/// `data-sink.on-data`
pub fn on_data<P: DataSink>(
    slot: &'static LocalKey<Slot<P>>,
    name: &str,
    version: u64,
    data: &[u8],
) -> Result<(), String> {
    call(slot, |policy| policy.on_data(name, version, data)).map_err(String::from)
}

/// `peer-ranker.rank`
pub fn rank<P: PeerRanker>(
    slot: &'static LocalKey<Slot<P>>,
    announce: types::Announce,
    candidates: Vec<peer_ranker::Candidate>,
) -> Vec<u32> {
    let candidates: Vec<_> = candidates.into_iter().map(Candidate).collect();
    call(slot, |policy| policy.rank(&Announce(announce), &candidates))
}

/// `observer.observe`
pub fn observe<P: Observer>(
    slot: &'static LocalKey<Slot<P>>,
    batch: Vec<observer::Outcome>,
) -> Result<(), String> {
    let batch: Vec<_> = batch.into_iter().map(Outcome).collect();
    call(slot, |policy| policy.observe(&batch)).map_err(String::from)
}

/// `ticker.tick`
pub fn tick<P: Ticker>(slot: &'static LocalKey<Slot<P>>, unix_ms: u64) -> Result<(), String> {
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(unix_ms);
    call(slot, |policy| policy.tick(now)).map_err(String::from)
}

fn call<P, R>(slot: &'static LocalKey<Slot<P>>, hook: impl FnOnce(&mut P) -> R) -> R {
    slot.with_borrow_mut(|policy| hook(policy.as_mut().expect("a hook is called after init")))
}

/// Exports a policy as a component: `export!(TYPE: HOOK, …)`, where the hooks are `announce`
/// ([`AnnounceFilter`]), `scrape` ([`ScrapeFilter`]), `rank` ([`PeerRanker`]), `observe`
/// ([`Observer`]), `data` ([`DataSink`]) and `tick` ([`Ticker`]).
///
/// The component exports exactly these hooks, and the host calls no others. Use it once per crate.
#[macro_export]
macro_rules! export {
    ($policy:ty: $($hook:ident),+ $(,)?) => {
        const _: () = {
            ::std::thread_local! {
                static POLICY: $crate::runtime::Slot<$policy> =
                    const { $crate::runtime::Slot::new(None) };
            }

            struct Component;

            impl $crate::bindings::lifecycle::Guest for Component {
                fn init(
                    context: $crate::bindings::lifecycle::Context,
                ) -> ::std::result::Result<(), ::std::string::String> {
                    $crate::runtime::init(&POLICY, context)
                }
            }

            // Nothing is exported on other targets; without this the policy would be unused code.
            #[cfg(not(target_family = "wasm"))]
            const _: fn(
                $crate::bindings::lifecycle::Context,
            ) -> ::std::result::Result<(), ::std::string::String> =
                <Component as $crate::bindings::lifecycle::Guest>::init;

            #[cfg(target_family = "wasm")]
            $crate::bindings::lifecycle::export!(
                Component with_types_in $crate::bindings::lifecycle
            );
            $($crate::export_hook!($hook, Component, POLICY);)+
        };
    };
}

/// One hook of [`export!`](crate::export).
#[doc(hidden)]
#[macro_export]
macro_rules! export_hook {
    (announce, $component:ident, $policy:ident) => {
        impl $crate::bindings::announce_filter::Guest for $component {
            fn on_announce(
                announce: $crate::bindings::imports::types::Announce,
            ) -> $crate::Verdict {
                $crate::runtime::on_announce(&$policy, announce)
            }
        }

        #[cfg(not(target_family = "wasm"))]
        const _: fn($crate::bindings::imports::types::Announce) -> $crate::Verdict =
            <$component as $crate::bindings::announce_filter::Guest>::on_announce;

        #[cfg(target_family = "wasm")]
        $crate::bindings::announce_filter::export!(
            $component with_types_in $crate::bindings::announce_filter
        );
    };
    (scrape, $component:ident, $policy:ident) => {
        impl $crate::bindings::scrape_filter::Guest for $component {
            fn on_scrape(scrape: $crate::bindings::imports::types::Scrape) -> $crate::Verdict {
                $crate::runtime::on_scrape(&$policy, scrape)
            }
        }

        #[cfg(not(target_family = "wasm"))]
        const _: fn($crate::bindings::imports::types::Scrape) -> $crate::Verdict =
            <$component as $crate::bindings::scrape_filter::Guest>::on_scrape;

        #[cfg(target_family = "wasm")]
        $crate::bindings::scrape_filter::export!(
            $component with_types_in $crate::bindings::scrape_filter
        );
    };
    (data, $component:ident, $policy:ident) => {
        impl $crate::bindings::data_sink::Guest for $component {
            fn on_data(
                name: ::std::string::String,
                version: u64,
                data: ::std::vec::Vec<u8>,
            ) -> ::std::result::Result<(), ::std::string::String> {
                $crate::runtime::on_data(&$policy, &name, version, &data)
            }
        }

        #[cfg(not(target_family = "wasm"))]
        const _: fn(
            ::std::string::String,
            u64,
            ::std::vec::Vec<u8>,
        ) -> ::std::result::Result<(), ::std::string::String> =
            <$component as $crate::bindings::data_sink::Guest>::on_data;

        #[cfg(target_family = "wasm")]
        $crate::bindings::data_sink::export!(
            $component with_types_in $crate::bindings::data_sink
        );
    };
    (rank, $component:ident, $policy:ident) => {
        impl $crate::bindings::peer_ranker::Guest for $component {
            fn rank(
                announce: $crate::bindings::imports::types::Announce,
                candidates: ::std::vec::Vec<$crate::bindings::peer_ranker::Candidate>,
            ) -> ::std::vec::Vec<u32> {
                $crate::runtime::rank(&$policy, announce, candidates)
            }
        }

        #[cfg(not(target_family = "wasm"))]
        const _: fn(
            $crate::bindings::imports::types::Announce,
            ::std::vec::Vec<$crate::bindings::peer_ranker::Candidate>,
        ) -> ::std::vec::Vec<u32> = <$component as $crate::bindings::peer_ranker::Guest>::rank;

        #[cfg(target_family = "wasm")]
        $crate::bindings::peer_ranker::export!($component with_types_in $crate::bindings::peer_ranker);
    };
    (observe, $component:ident, $policy:ident) => {
        impl $crate::bindings::observer::Guest for $component {
            fn observe(
                batch: ::std::vec::Vec<$crate::bindings::observer::Outcome>,
            ) -> ::std::result::Result<(), ::std::string::String> {
                $crate::runtime::observe(&$policy, batch)
            }
        }

        #[cfg(not(target_family = "wasm"))]
        const _: fn(::std::vec::Vec<$crate::bindings::observer::Outcome>) -> ::std::result::Result<(), ::std::string::String> = <$component as $crate::bindings::observer::Guest>::observe;

        #[cfg(target_family = "wasm")]
        $crate::bindings::observer::export!($component with_types_in $crate::bindings::observer);
    };
    (tick, $component:ident, $policy:ident) => {
        impl $crate::bindings::ticker::Guest for $component {
            fn tick(unix_ms: u64) -> ::std::result::Result<(), ::std::string::String> {
                $crate::runtime::tick(&$policy, unix_ms)
            }
        }

        #[cfg(not(target_family = "wasm"))]
        const _: fn(u64) -> ::std::result::Result<(), ::std::string::String> = <$component as $crate::bindings::ticker::Guest>::tick;

        #[cfg(target_family = "wasm")]
        $crate::bindings::ticker::export!($component with_types_in $crate::bindings::ticker);
    };
    ($hook:ident, $component:ident, $policy:ident) => {
        ::std::compile_error!(::std::concat!(
            "there is no hook `",
            ::std::stringify!($hook),
            "`, expected announce, scrape, rank, observe, data or tick"
        ));
    };
}
