//! The engine settings that components are compiled and run with.

use wasmtime::{Config, OptLevel};

/// The stack size for WebAssembly, in bytes. Threads that call policies need more than that.
const WASM_STACK: usize = 512 * 1024;

/// Returns the settings for compiling and running components.
pub fn settings(fuel: bool) -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .epoch_interruption(true)
        .consume_fuel(fuel)
        .max_wasm_stack(WASM_STACK)
        .wasm_memory64(false)
        .cranelift_opt_level(OptLevel::Speed);
    config
}
