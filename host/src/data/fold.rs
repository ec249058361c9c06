//! Writes the edits of a list into its file.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

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
            return Err("the list is fetched from a URL, and not ours to write".to_owned());
        };
        let _one_at_a_time = self.folding.lock();
        let (stamp, bytes) = match watch::read(path, self.definition().max_size) {
            Ok((stamp, bytes)) => (Some(stamp), bytes),
            Err(watch::Unread::Gone) => (None, Vec::new()),
            Err(unread) => return Err(unread.reason(path)),
        };
        let old = text::decode(&bytes).map_err(|error| error.to_string())?;
        let (new, folded) = self.folded(old, edits);
        if folded.edits > 0 {
            let unchanged = || match watch::read(path, self.definition().max_size) {
                Ok((now, _)) => Some(now) == stamp,
                Err(watch::Unread::Gone) => stamp.is_none(),
                Err(_) => false,
            };
            replace(path, &new, unchanged)
                .map_err(|reason| format!("{}: {reason}", path.display()))?;
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

/// Replaces a file, unless it has changed meanwhile.
fn replace(path: &Path, text: &str, is_unchanged: impl FnOnce() -> bool) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let mode = std::fs::metadata(path).map_or(0o644, |known| known.permissions().mode());
    let permissions = Permissions::from_mode(mode & 0o7777);
    let fresh = Builder::new().permissions(permissions).tempfile_in(file::folder(path));
    let mut fresh = fresh.map_err(failed)?;
    fresh.write_all(text.as_bytes()).map_err(failed)?;
    fresh.as_file().sync_all().map_err(failed)?;
    if !is_unchanged() {
        return Err("the file has just been changed".to_owned());
    }
    fresh.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
