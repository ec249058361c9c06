//! What one instance takes of the host's memory.

use wasmtime::ResourceLimiter;

/// Counts and bounds what one instance takes: its linear memory and its tables, and what the engine
/// keeps for it beside.
pub struct Memory {
    /// Bytes.
    pub limit: usize,
    /// Bytes in use.
    pub used: usize,
    /// The call under way wanted more than the limit.
    pub refused: bool,
}

/// A table entry is a pointer and a type in the host.
pub const TABLE_ENTRY: usize = 16;

impl Memory {
    /// Begins with the `used` bytes that do not grow.
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
