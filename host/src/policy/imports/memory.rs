//! The host memory of an instance.

use wasmtime::ResourceLimiter;

/// Counts and limits the memory of an instance: its linear memory, its tables, and what the engine
/// keeps for it.
pub struct Memory {
    /// The limit, in bytes.
    pub limit: usize,
    /// The bytes in use.
    pub used: usize,
    /// The current call wanted more than the limit.
    pub refused: bool,
}

/// The size of a table entry in bytes: a pointer and a type in the host.
pub const TABLE_ENTRY: usize = 16;

impl Memory {
    /// Starts with the `used` bytes that do not grow.
    pub fn new(limit: usize, used: usize) -> Self {
        Self { limit, used, refused: false }
    }

    fn grow(&mut self, current: usize, desired: usize) -> bool {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        if used > self.limit {
            self.refused = true;
            return false;
        }
        self.used = used;
        true
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(current, desired))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.grow(current.saturating_mul(TABLE_ENTRY), desired.saturating_mul(TABLE_ENTRY)))
    }
}
