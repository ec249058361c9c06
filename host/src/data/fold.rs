//! Writes the edits of a list into its file.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;
use std::time::SystemTime;

use tempfile::Builder;

use super::definition::Origin;
use super::source::DataSource;
use crate::edits::Edits;
use crate::entry::{self, Entry};
use crate::file;
use crate::text;
use crate::watch;

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Folded {
    /// Edits that are in the file now.
    pub edits: usize,
    /// Edits that are not, because they end by themselves.
    pub left: usize,
}

impl DataSource {
    /// Replaces the file by one with the edits; comments and other lines stay. Edits that end by
    /// themselves are left out: in the file, they would not. Takes its time. The edits end when the
    /// new file is read.
    ///
    /// # Errors
    ///
    /// Why the file stays as it is.
    pub fn fold(&self) -> Result<Folded, String> {
        let Some(edits) = self.edits() else { return Err("`edits` is off".to_owned()) };
        let Origin::File(path) = &self.definition().origin else {
            return Err("the list is not one of a file, and not ours to write".to_owned());
        };
        let _one_at_a_time = self.folding.lock();
        if path.is_symlink() {
            return Err(format!("`{}` is a symbolic link, expected a file", path.display()));
        }
        let max_size = self.definition().max_size;
        let changed = || format!("`{}` was just changed", path.display());
        let (stamp, bytes) = match watch::read(path, max_size) {
            // Its writer may not be at the end.
            Ok((stamp, _)) if !stamp.is_still(SystemTime::now()) => return Err(changed()),
            Ok((stamp, bytes)) => (Some(stamp), bytes),
            Err(watch::Unread::Gone) => match self.current().as_ref() {
                Some(version) if version.content.entries() > 0 => {
                    let (path, entries) = (path.display(), version.content.entries());
                    return Err(format!(
                        "`{path}` is gone, and {entries} entries of it are in use"
                    ));
                }
                _ => (None, Vec::new()),
            },
            Err(unread) => return Err(unread.reason(path)),
        };
        let old = text::decode(&bytes).map_err(|error| error.to_string())?;
        let (new, folded) = self.folded(old, edits);
        if folded.edits > 0 && new.len() as u64 > max_size {
            let (size, path) = (new.len(), path.display());
            return Err(format!(
                "`{path}` would have {size} bytes, more than `max_size` ({max_size})"
            ));
        }
        if folded.edits > 0 {
            let unchanged = || match watch::read(path, max_size) {
                Ok((now, _)) => Some(now) == stamp,
                Err(watch::Unread::Gone) => stamp.is_none(),
                Err(_) => false,
            };
            match replace(path, &new, unchanged) {
                Ok(true) => {}
                Ok(false) => return Err(changed()),
                Err(error) => return Err(format!("cannot write `{}`: {error}", path.display())),
            }
        }
        Ok(folded)
    }

    /// Returns the text of a file with the edits.
    fn folded(&self, old: &str, edits: &Edits) -> (String, Folded) {
        let mut lasting = edits.all();
        let all = lasting.len();
        lasting.retain(|(_, edit)| edit.until.is_none());
        let folded = Folded { edits: lasting.len(), left: all - lasting.len() };
        lasting.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        let format = self.definition().format;
        let is_edited = |line: &str| {
            let entry = Entry::read(format, entry::bare(line));
            let position = |entry: Entry| lasting.binary_search_by(|(key, _)| key.cmp(&entry.key));
            entry.is_ok_and(|entry| position(entry).is_ok())
        };
        let mut new = String::with_capacity(old.len() + 64 * lasting.len());
        for line in text::lines(old).filter(|line| !is_edited(line)) {
            new.push_str(line);
            new.push('\n');
        }
        for (key, edit) in lasting {
            if let Some(value) = edit.says {
                new.push_str(&Entry { key, value }.to_string());
                new.push('\n');
            }
        }
        (new, folded)
    }
}

/// Replaces a file by one of the same mode and owner, unless it has changed meanwhile. Returns
/// whether it has not.
fn replace(path: &Path, text: &str, is_unchanged: impl FnOnce() -> bool) -> io::Result<bool> {
    let known = fs::metadata(path).ok();
    let mode = known.as_ref().map_or(0o644, |known| known.permissions().mode());
    let permissions = Permissions::from_mode(mode & 0o7777);
    let folder = file::folder(path);
    let mut fresh = Builder::new().permissions(permissions.clone()).tempfile_in(folder)?;
    fresh.write_all(text.as_bytes())?;
    let made = fresh.as_file().metadata()?;
    if let Some(known) = known
        && (known.uid(), known.gid()) != (made.uid(), made.gid())
    {
        fchown(fresh.as_file(), Some(known.uid()), Some(known.gid()))?;
        // Another owner may take bits of it away.
        fresh.as_file().set_permissions(permissions)?;
    }
    fresh.as_file().sync_all()?;
    if !is_unchanged() {
        return Ok(false);
    }
    fresh.persist(path)?;
    File::open(folder)?.sync_all()?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::mpsc::channel;
    use std::sync::{Arc, Weak};
    use std::time::Duration;

    use super::*;
    use crate::config::{DataFormat, EditMode};
    use crate::data::Definition;
    use crate::edits::{Change, Journals};
    use crate::state_dir::StateDir;

    const LIST: &str = "# ours\nold\ngone\n";

    /// Folds a list of at most `max_size` bytes, from which `gone` was removed, and to which `new`
    /// was added. `prepare` may change its file before. Returns the text and the mode of the file.
    fn fold(max_size: u64, prepare: impl FnOnce(&Path)) -> (Result<Folded, String>, String, u32) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        fs::write(&path, LIST).unwrap();
        age(&path);
        let state = StateDir::open(Some(&folder.path().join("state"))).unwrap();
        let definition = Definition {
            policy: "p".into(),
            name: "d".into(),
            origin: Origin::File(path.clone()),
            format: DataFormat::Strings,
            max_size,
            required: false,
            edits: EditMode::On,
        };
        let journals = Journals::new(&state).unwrap();
        let edits = journals.edits(&"p".into(), &"d".into(), DataFormat::Strings).unwrap();
        let source = Arc::new(DataSource::new(definition, Some(edits.clone())));
        let base: Weak<DataSource> = Arc::downgrade(&source);
        edits.add_base(base);
        edits.keep();
        source.take(LIST.as_bytes()).unwrap();
        let read = |text| Entry::read(DataFormat::Strings, text).unwrap();
        let (add, remove) = (vec![read("new")], vec![read("gone").key]);
        let (ttl, if_version, note) = (None, None, None);
        let (done, finished) = channel();
        let change = Change { add, remove, ttl, if_version, who: "test".into(), note };
        edits.change(change, Box::new(move |result| drop(done.send(result))));
        finished.recv().unwrap().unwrap();
        prepare(&path);
        let folded = source.fold();
        (folded, fs::read_to_string(&path).unwrap(), fs::metadata(&path).unwrap().mode() & 0o777)
    }

    /// Makes a file one that was changed a minute ago.
    fn age(path: &Path) {
        let then = SystemTime::now() - Duration::from_mins(1);
        File::options().append(true).open(path).unwrap().set_modified(then).unwrap();
    }

    #[test]
    fn a_fold_keeps_other_lines_and_the_mode() {
        let (folded, text, mode) = fold(1000, |path| {
            fs::set_permissions(path, Permissions::from_mode(0o640)).unwrap();
        });
        assert_eq!(folded, Ok(Folded { edits: 2, left: 0 }));
        assert_eq!((&*text, mode), ("# ours\nold\nnew\n", 0o640));
    }

    #[test]
    fn a_file_that_is_still_written_is_not_folded() {
        let (folded, text, _) = fold(1000, |path| fs::write(path, "half").unwrap());
        assert!(folded.unwrap_err().ends_with("was just changed"));
        assert_eq!(text, "half");
    }

    #[test]
    fn a_fold_makes_no_file_that_cannot_be_read() {
        let (folded, text, _) = fold(15, |path| {
            fs::write(path, "# our\nold\ngo\n").unwrap();
            age(path);
        });
        assert!(folded.unwrap_err().ends_with("would have 17 bytes, more than `max_size` (15)"));
        assert_eq!(text, "# our\nold\ngo\n");
    }

    #[test]
    fn a_symbolic_link_is_not_replaced() {
        let (folded, ..) = fold(1000, |path| {
            fs::rename(path, path.with_extension("elsewhere")).unwrap();
            symlink(path.with_extension("elsewhere"), path).unwrap();
        });
        assert!(folded.unwrap_err().ends_with("is a symbolic link, expected a file"));
    }
}
