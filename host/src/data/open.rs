//! Opens data sources, and starts their threads.

use std::io;
use std::sync::mpsc::channel;
use std::sync::{Arc, Weak};

use super::definition::{Definition, Origin};
use super::fetcher::Fetcher;
use super::source::DataSource;
use super::{Sources, file};
use crate::config::EditMode;
use crate::edits::Journals;
use crate::state_dir::StateDir;
use crate::watch;

/// Options for opening sources.
#[derive(Clone, Default)]
pub struct Opening {
    /// Where fetched data is cached.
    pub kept: Option<Arc<StateDir>>,
    /// Where edits of lists are kept; `None`: lists cannot be edited.
    pub journals: Option<Arc<Journals>>,
    pub fetch: Fetch,
}

/// When URLs are first fetched.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub enum Fetch {
    #[default]
    Never,
    /// Never; what an earlier process has fetched is used.
    Kept,
    /// On its own thread, in the background.
    Soon,
    /// Before anything else; required data must exist afterwards.
    Now,
}

impl Opening {
    /// Uses what another process has fetched into its state folder, if there is one. Changes nothing.
    pub fn of_other(state: Option<&StateDir>) -> Self {
        let kept = state.and_then(|state| state.existing_folder("data").ok().flatten());
        let kept = kept.map(Arc::new);
        Self { kept, journals: None, fetch: Fetch::Kept }
    }

    /// Caches fetched data in the state folder, and keeps the edits of lists there.
    pub fn new(state: Option<&StateDir>, fetch: Fetch) -> io::Result<Self> {
        let kept = state.map(|state| state.folder("data").map(Arc::new)).transpose()?;
        let journals = state.map(|state| Journals::new(state).map(Arc::new)).transpose()?;
        Ok(Self { kept, journals, fetch })
    }
}

/// Opens sources. Sources of `earlier` with the same definition are reused, with their data.
///
/// # Errors
///
/// The name of the first source that cannot be used, and why.
pub fn open(
    definitions: &[Definition],
    opening: &Opening,
    earlier: &[Arc<DataSource>],
) -> Result<Sources, (Arc<str>, String)> {
    let open = |definition: &Definition| {
        let same = earlier.iter().find(|source| source.definition() == definition);
        same.map_or_else(|| begin(definition.clone(), opening), |same| Ok(same.clone()))
            .map_err(|reason| (definition.name.clone(), reason))
    };
    definitions.iter().map(open).collect()
}

/// What the edits of shared lists have in place of a policy: no policy has such a name.
const SITE: &str = "site_";

/// Reads the file and watches it; or loads the cached data of a URL or a query, and fetches as
/// `opening` says.
///
/// # Errors
///
/// A file that is unusable, or missing required data: no file or, if it is fetched now, no data
/// from this or any earlier fetch.
fn begin(definition: Definition, opening: &Opening) -> Result<Arc<DataSource>, String> {
    let edits = match &opening.journals {
        Some(journals) if definition.edits != EditMode::Off => {
            let (policy, name) = match &definition.origin {
                Origin::Site(name) => (&SITE.into(), name),
                _ => (&definition.policy, &definition.name),
            };
            Some(journals.edits(policy, name, definition.format)?)
        }
        _ => None,
    };
    let source = Arc::new(DataSource::new(definition, edits));
    if let Some(edits) = source.edits() {
        let weak: Weak<DataSource> = Arc::downgrade(&source);
        edits.add_base(weak);
    }
    let Definition { policy, name: data, required, max_size, .. } = source.definition();
    match &source.definition().origin {
        Origin::File(file) => {
            let stamp = match watch::read(file, *max_size) {
                Ok((stamp, bytes)) => {
                    source.take(&bytes)?;
                    Some(stamp)
                }
                Err(watch::Unread::Gone) if !required => {
                    let file = file.display();
                    tracing::warn!(%policy, %data, %file, "data file does not exist; source is empty");
                    None
                }
                Err(unread) => return Err(unread.reason(file)),
            };
            file::follow(&source, file.clone(), stamp).map_err(|error| error.to_string())?;
        }
        Origin::Site(_) => source.take(b"")?,
        Origin::Url(remote) => {
            fetch(&source, Fetcher::of_url(remote.clone(), opening.kept.clone()), opening.fetch)?;
        }
        Origin::Query(query) => {
            fetch(&source, Fetcher::of_query(query.clone(), opening.kept.clone()), opening.fetch)?;
        }
    }
    Ok(source)
}

/// Loads the cached data of a source, and fetches as told.
fn fetch(source: &Arc<DataSource>, mut fetcher: Fetcher, when: Fetch) -> Result<(), String> {
    if when == Fetch::Never {
        return Ok(());
    }
    fetcher.take_up(source);
    if when == Fetch::Kept {
        return Ok(());
    }
    if when == Fetch::Now
        && let Err(reason) = fetcher.fetch(source)
        && source.is_missing()
    {
        return Err(reason);
    }
    let (wake, woken) = channel();
    source.set_wake(wake);
    let begin = move |source| fetcher.work(&source, &woken);
    source.spawn(begin).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::DataFormat;

    const A: &str = "a94a8fe5ccb19ba61c4c0873d391e987982fbbd3";

    fn definition(file: PathBuf, required: bool) -> Definition {
        let (format, origin) = (DataFormat::InfoHashes, Origin::File(file));
        Definition {
            policy: "p".into(),
            name: "d".into(),
            origin,
            format,
            max_size: 1000,
            required,
            edits: EditMode::Off,
        }
    }

    #[test]
    fn a_broken_version_never_replaces_a_good_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("list");
        std::fs::write(&file, A).unwrap();
        let source = begin(definition(file, true), &Opening::default()).unwrap();
        assert_eq!((source.number(), source.entries(), source.errors()), (1, 1, 0));
        source.offer(b"\nnonsense").unwrap_err();
        source.refuse("whatever");
        assert_eq!((source.number(), source.entries(), source.errors()), (1, 1, 2));
        source.offer(b"# nobody\n").unwrap();
        assert_eq!((source.number(), source.entries(), source.errors()), (2, 0, 2));
    }

    #[test]
    fn a_wrong_version_at_the_start_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("list");
        let open = |required| begin(definition(file.clone(), required), &Opening::default());
        let source = open(false).unwrap();
        assert_eq!((source.number(), source.age()), (0, None));
        assert!(open(true).err().unwrap().starts_with("no such file: "));
        std::fs::write(&file, format!("{A}\n{A}0\n")).unwrap();
        for required in [false, true] {
            let reason = open(required).err().unwrap();
            assert!(reason.starts_with("line 2: "), "{reason}");
        }
    }
}
