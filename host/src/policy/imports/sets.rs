//! `karuta:policy/sets`: lookups in the policy's data sources. A handle is a source's position
//! among those of the policy.

use wasmtime::component::HasData;

use crate::data::{Content, Sources};
use crate::policy::contract::bindings::imports::sets::{Address, Host, InfoHash};
use crate::policy::contract::values;

/// The policy's data sources.
pub struct View<'a> {
    pub sources: &'a Sources,
}

impl HasData for View<'static> {
    type Data<'a> = View<'a>;
}

impl View<'_> {
    /// Looks into the newest good version. Returns `None` if there is no such set, or if it has no
    /// data yet.
    fn look<T>(&self, set: u32, look: impl FnOnce(&Content) -> Option<T>) -> Option<T> {
        let source = self.sources.get(usize::try_from(set).ok()?)?;
        let current = source.current();
        look(&current.as_ref()?.content)
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
        let found = self.look(set, |content| match content {
            Content::InfoHashes(set) => Some(set.contains(&values::from_info_hash(info_hash).0)),
            _ => None,
        });
        found.unwrap_or(false)
    }

    fn has_string(&mut self, set: u32, value: String) -> bool {
        let found = self.look(set, |content| match content {
            Content::Strings(set) => Some(set.contains(&value)),
            _ => None,
        });
        found.unwrap_or(false)
    }

    fn match_address(&mut self, set: u32, address: Address) -> Option<u64> {
        self.look(set, |content| match content {
            Content::Addresses(set) => set.find(values::ip(address)),
            _ => None,
        })
    }

    fn size(&mut self, set: u32) -> u64 {
        self.look(set, |content| Some(content.entries() as u64)).unwrap_or(0)
    }

    fn sources(&mut self) -> Vec<(String, String)> {
        let name = |source: &std::sync::Arc<crate::data::DataSource>| {
            let definition = source.definition();
            (definition.name.to_string(), definition.format.name().to_owned())
        };
        self.sources.iter().map(name).collect()
    }

    fn refresh(&mut self, name: String) {
        if let Some(source) = self.sources.iter().find(|source| *source.definition().name == *name)
        {
            source.refresh();
        }
    }
}
