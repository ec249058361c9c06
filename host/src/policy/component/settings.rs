//! The settings of the engine, by which components are compiled and run.

use wasmtime::{Config, OptLevel};

/// Bytes of stack that WebAssembly may use; threads that call policies need more than that.
const WASM_STACK: usize = 512 * 1024;

/// How components are compiled, and run.
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
