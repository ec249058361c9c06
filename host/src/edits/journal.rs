//! The file that keeps the edits of a list: a line for each change, with its checksum.
//!
//! A line is the CRC-32C of the rest in 8 hexadecimal digits, a blank, and JSON. The first one says
//! which list it is. A change is one line, so that it is there as a whole or not at all; lines need
//! no padding, and an operator can read them.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::book::{Book, Edit};
use crate::config::DataFormat;
use crate::entry::{Entry, Key};
use crate::state_dir::{Miss, StateDir, UNFINISHED};

/// A change. Its entries are as in a file.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Record {
    /// The version of the list from then on.
    pub version: u64,
    /// Milliseconds since 1970.
    pub at: u64,
    /// When it ends by itself, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    pub who: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// What is not edited any more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forget: Vec<String>,
}

/// The first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    /// The version of this notation: 1.
    journal: u32,
    /// Of the list.
    format: DataFormat,
    version: u64,
}

/// The journal of one list.
pub struct Journal {
    folder: Arc<StateDir>,
    name: String,
    format: DataFormat,
    /// `None`: it has to be written anew before the next change.
    file: Option<File>,
    /// The name under which a damaged journal stays when it is written anew.
    aside: Option<String>,
    /// Of what is written, in bytes and in records.
    length: u64,
    records: usize,
    /// Records after which it is written anew, so that it does not grow for ever.
    most: usize,
}

/// What was read.
#[derive(Default)]
pub struct Found {
    pub book: Book,
    /// Of the list, 0 if it never had one.
    pub version: u64,
    format: Option<DataFormat>,
    /// What is wrong in the middle of it.
    damage: Option<String>,
}

/// The longest line in bytes: far above the largest change.
const LINE: u64 = 64 << 20;
/// How many bytes of entries go into a line that replaces others.
const CHUNK: usize = 4 << 20;
/// How many records a journal may have before it is written anew.
const RECORDS: usize = 10_000;

impl Journal {
    pub fn new(folder: Arc<StateDir>, name: String, format: DataFormat) -> Self {
        Self { folder, name, format, file: None, aside: None, length: 0, records: 0, most: RECORDS }
    }

    pub fn format(&self) -> DataFormat {
        self.format
    }

    /// Reads what is in force. Of a damaged journal, that is what is before the damage. Nothing is
    /// written.
    ///
    /// # Errors
    ///
    /// It holds edits of a list in another format, or cannot be read.
    pub fn open(&mut self, now: u64) -> Result<Found, String> {
        let mut found = self.read()?;
        let over: Vec<Key> = found.book.over(now).cloned().collect();
        over.iter().for_each(|key| found.book.set(key, None, now));
        if let Some(other) = found.format.filter(|other| *other != self.format)
            && found.book.len() > 0
        {
            return Err(format!(
                "{} holds edits of a list in the format `{}`; remove it to drop them",
                self.path().display(),
                other.name()
            ));
        }
        if let Some(damage) = &found.damage {
            let aside = format!("{}.damaged-{now}", self.name);
            tracing::error!(
                file = aside,
                damage,
                edits = found.book.len(),
                "journal of edits is damaged; taking those before the damage"
            );
            self.aside = Some(aside);
        }
        Ok(found)
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(&self.name)
    }

    fn read(&self) -> Result<Found, String> {
        let path = self.path();
        let file = match self.folder.open_own(&self.name) {
            Ok(file) => file,
            Err(Miss::Absent) => return Ok(Found::default()),
            Err(Miss::Unfit(reason)) => return Err(format!("{}: {reason}", path.display())),
        };
        let unreadable = |error: io::Error| format!("{}: {error}", path.display());
        let (mut reader, mut line) = (BufReader::new(file), Vec::new());
        let mut found = Found::default();
        for number in 1.. {
            line.clear();
            reader.by_ref().take(LINE).read_until(b'\n', &mut line).map_err(unreadable)?;
            if line.is_empty() {
                break;
            }
            let Some(whole) = line.strip_suffix(b"\n") else {
                // It was never answered, or is longer than any.
                if line.len() as u64 == LINE {
                    found.damage = Some(format!("line {number}: too long"));
                }
                break;
            };
            let taken = match number {
                1 => found.begin(whole),
                _ => found.take(whole),
            };
            match taken {
                Ok(()) => {}
                Err(reason) => {
                    found.damage = Some(format!("line {number}: {reason}"));
                    found.version = later_version(&mut reader).max(found.version);
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Writes changes, and returns when they are on the disk.
    ///
    /// # Errors
    ///
    /// Why they cannot be written. None of them is there then.
    pub fn append(&mut self, records: &[Record], book: &Book, version: u64) -> io::Result<()> {
        let path = self.path();
        self.file.take_if(|file| self.records > self.most || !is_at(file, &path));
        if self.file.is_none() {
            self.rewrite(book, version)?;
        }
        let mut lines = Vec::new();
        records.iter().try_for_each(|record| write_line(&mut lines, record))?;
        let Some(file) = &mut self.file else { return Err(io::Error::other("no file")) };
        match file.write_all(&lines).and_then(|()| file.sync_data()) {
            Ok(()) if !is_at(file, &path) => {
                self.file = None;
                Err(io::Error::other("it was moved or replaced meanwhile"))
            }
            Ok(()) => {
                self.length += lines.len() as u64;
                self.records += records.len();
                Ok(())
            }
            Err(error) => {
                // Nothing may be left of what is refused.
                let _ = file.set_len(self.length).and_then(|()| file.sync_data());
                self.file = None;
                Err(error)
            }
        }
    }

    /// Replaces the file with one that has only what is in force.
    ///
    /// # Errors
    ///
    /// Why it cannot be written. It is as before then.
    pub fn rewrite(&mut self, book: &Book, version: u64) -> io::Result<()> {
        let path = self.path();
        let fresh = self.folder.path().join(format!("{}{UNFINISHED}", self.name));
        let head = Head { journal: 1, format: self.format, version };
        let mut lines = Vec::new();
        write_line(&mut lines, &head)?;
        let records = records(book, version);
        records.iter().try_for_each(|record| write_line(&mut lines, record))?;
        let _ = fs::remove_file(&fresh);
        let write = || {
            let mut file =
                OpenOptions::new().append(true).create_new(true).mode(0o600).open(&fresh)?;
            file.write_all(&lines)?;
            file.sync_all()?;
            if let Some(aside) = &self.aside {
                let aside = self.folder.path().join(aside);
                match fs::hard_link(&path, &aside) {
                    Ok(()) => {}
                    // From an earlier attempt; or there is nothing any more.
                    Err(error)
                        if matches!(
                            error.kind(),
                            ErrorKind::AlreadyExists | ErrorKind::NotFound
                        ) => {}
                    // Not every file system has links.
                    Err(_) => drop(fs::copy(&path, &aside)?),
                }
            }
            fs::rename(&fresh, &path)?;
            File::open(self.folder.path())?.sync_all()?;
            Ok(file)
        };
        let written: io::Result<File> = write();
        if written.is_err() {
            let _ = fs::remove_file(&fresh);
        }
        self.file = Some(written?);
        self.aside = None;
        self.length = lines.len() as u64;
        self.most = records.len() * 2 + RECORDS;
        self.records = records.len();
        Ok(())
    }
}

impl Found {
    /// No edits of a list of this version.
    pub fn none(version: u64) -> Self {
        Self { version, ..Self::default() }
    }

    /// Takes the first line.
    fn begin(&mut self, line: &[u8]) -> Result<(), String> {
        let Head { journal, format, version } = checked(line)?;
        if journal != 1 {
            return Err(format!("version {journal} of journals"));
        }
        (self.format, self.version) = (Some(format), version);
        Ok(())
    }

    fn take(&mut self, line: &[u8]) -> Result<(), String> {
        let Some(format) = self.format else { return Err("no first line".to_owned()) };
        let Record { version, at, until, who, note, add, remove, forget } = checked(line)?;
        let read = |texts: Vec<String>| {
            let entries = texts.iter().map(|text| Entry::read(format, text));
            entries.collect::<Result<Vec<_>, _>>()
        };
        let (add, remove, forget) = (read(add)?, read(remove)?, read(forget)?);
        let (who, note): (Arc<str>, _) = (who.into(), note.map(Arc::from));
        let make = |says| Edit { says, since: at, until, who: who.clone(), note: note.clone() };
        for Entry { key, value } in add {
            self.book.set(&key, Some(make(Some(value))), at);
        }
        for Entry { key, .. } in remove {
            self.book.set(&key, Some(make(None)), at);
        }
        for Entry { key, .. } in forget {
            self.book.set(&key, None, at);
        }
        self.version = self.version.max(version);
        Ok(())
    }
}

/// Returns whether an open file is the one at a path, which the next start reads.
fn is_at(open: &File, path: &Path) -> bool {
    let id = |file: Metadata| (file.dev(), file.ino());
    let (open, found) = (open.metadata().ok(), fs::symlink_metadata(path).ok());
    open.is_some() && open.map(id) == found.map(id)
}

/// Returns the newest version of the lines that are left.
fn later_version(reader: &mut impl BufRead) -> u64 {
    let (mut line, mut version) = (Vec::new(), 0);
    loop {
        line.clear();
        let read = reader.by_ref().take(LINE).read_until(b'\n', &mut line);
        if !read.is_ok_and(|read| read > 0) {
            return version;
        }
        if let Ok(record) = checked::<Record>(line.trim_ascii_end()) {
            version = version.max(record.version);
        }
    }
}

/// Returns records that make these edits.
fn records(book: &Book, version: u64) -> Vec<Record> {
    let mut edits: Vec<_> = book.iter().collect();
    let about = |edit: &Edit| (edit.since, edit.until, edit.who.clone(), edit.note.clone());
    edits.sort_unstable_by_key(|(key, edit)| (about(edit), (*key).clone()));
    let (mut records, mut bytes) = (Vec::<Record>::new(), 0);
    for (key, edit) in edits {
        let (at, until, who, note) = about(edit);
        let is_same = |last: &&mut Record| {
            let same_note = last.note.as_deref() == note.as_deref();
            bytes < CHUNK && (last.at, last.until) == (at, until) && *last.who == *who && same_note
        };
        let text = match edit.says {
            Some(value) => Entry { key: key.clone(), value }.to_string(),
            None => key.to_string(),
        };
        if records.last_mut().filter(is_same).is_none() {
            let (who, note) = (who.to_string(), note.map(|note| note.to_string()));
            records.push(Record { version, at, until, who, note, ..Record::default() });
            bytes = 0;
        }
        bytes += text.len();
        if let Some(record) = records.last_mut() {
            if edit.says.is_some() { &mut record.add } else { &mut record.remove }.push(text);
        }
    }
    records
}

fn write_line(to: &mut Vec<u8>, line: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_vec(line)?;
    write!(to, "{:08x} ", crc32c::crc32c(&json))?;
    to.extend(json);
    to.push(b'\n');
    Ok(())
}

fn checked<'l, T: Deserialize<'l>>(line: &'l [u8]) -> Result<T, String> {
    let parts = line.split_first_chunk::<9>();
    let sum = parts.and_then(|(sum, _)| str::from_utf8(sum.strip_suffix(b" ")?).ok());
    let sum = sum.and_then(|sum| u32::from_str_radix(sum, 16).ok());
    match (sum, parts) {
        (Some(sum), Some((_, json))) if crc32c::crc32c(json) == sum => {
            serde_json::from_slice(json).map_err(|error| error.to_string())
        }
        _ => Err("wrong checksum".to_owned()),
    }
}
