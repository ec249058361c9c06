//! `karuta:policy/sets`: lookups in the policy's data sources. A handle is a source's position
//! among those of the policy.

use std::sync::Arc;

use wasmtime::component::HasData;

use crate::data::{DataSource, Sources};
use crate::policy::contract::bindings::imports::sets::{Address, Host, InfoHash};
use crate::policy::contract::values;

/// The policy's data sources.
pub struct View<'a> {
    pub sources: &'a Sources,
    /// Whether sources are fetched that the policy wants to be fresh.
    pub fetches: bool,
}

impl HasData for View<'static> {
    type Data<'a> = View<'a>;
}

impl View<'_> {
    fn set(&self, set: u32) -> Option<&DataSource> {
        self.sources.get(usize::try_from(set).ok()?).map(|source| &**source)
    }
}

impl Host for View<'_> {
    fn open(&mut self, name: String) -> Result<u32, String> {
        match self.sources.iter().position(|source| *source.definition().name == *name) {
            Some(at) if self.sources[at].is_raw() => {
                Err(format!("`{name}` is raw data, not a set"))
            }
            Some(at) => u32::try_from(at).map_err(|error| error.to_string()),
            None => Err(format!("no data source `{name}`")),
        }
    }

    fn has_info_hash(&mut self, set: u32, info_hash: InfoHash) -> bool {
        let info_hash = values::from_info_hash(info_hash).0;
        self.set(set).is_some_and(|set| set.has_info_hash(&info_hash))
    }

    fn has_string(&mut self, set: u32, value: String) -> bool {
        self.set(set).is_some_and(|set| set.has_string(&value))
    }

    fn match_address(&mut self, set: u32, address: Address) -> Option<u64> {
        self.set(set)?.find_address(values::ip(address)).map(|(_, value)| value)
    }

    fn size(&mut self, set: u32) -> u64 {
        self.set(set).map_or(0, |set| set.entries() as u64)
    }

    fn sources(&mut self) -> Vec<(String, String)> {
        let name = |source: &Arc<DataSource>| {
            let definition = source.definition();
            (definition.name.to_string(), definition.format.name().to_owned())
        };
        self.sources.iter().map(name).collect()
    }

    fn refresh(&mut self, name: String) {
        let mut sources = self.sources.iter();
        if let Some(source) = sources.find(|source| *source.definition().name == *name)
            && self.fetches
        {
            source.refresh();
        }
    }
}
