//! The file that keeps the edits of a list: a line for each change, with its checksum.
//!
//! A line is the CRC-32C of the rest in 8 hexadecimal digits, a blank, and JSON. The first one says
//! which list it is. A change is one line, so that it is there as a whole or not at all; lines need
//! no padding, and an operator can read them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
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
    format: String,
    version: u64,
}

/// The journal of one list.
pub struct Journal {
    folder: Arc<StateDir>,
    name: String,
    format: DataFormat,
    /// `None`: it has to be written anew before the next change.
    file: Option<File>,
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
    /// Reads a journal, and writes it anew without what is over. What is damaged is set aside, after
    /// the edits before the damage were read.
    ///
    /// # Errors
    ///
    /// It holds edits of a list in another format, or cannot be read.
    pub fn open(
        folder: Arc<StateDir>,
        name: String,
        format: DataFormat,
        now: u64,
    ) -> Result<(Self, Found), String> {
        let mut journal =
            Self { folder, name, format, file: None, length: 0, records: 0, most: RECORDS };
        let mut found = journal.read()?;
        if let Some(damage) = &found.damage {
            let aside = format!("{}.damaged-{now}", journal.name);
            let path = |name| journal.folder.path().join(name);
            let moved = fs::rename(path(&journal.name), path(&aside));
            let moved = moved.map_or_else(|error| error.to_string(), |()| "renamed".to_owned());
            tracing::error!(
                file = aside,
                moved,
                damage,
                edits = found.book.len(),
                "journal of edits is damaged; taking those before the damage"
            );
        }
        let over: Vec<Key> = found.book.over(now).cloned().collect();
        over.iter().for_each(|key| found.book.set(key, None, now));
        if let Err(error) = journal.rewrite(&found.book, found.version) {
            let path = journal.folder.path().join(&journal.name);
            tracing::error!(%error, path = %path.display(), "cannot write journal of edits");
        }
        Ok((journal, found))
    }

    fn read(&self) -> Result<Found, String> {
        let path = self.folder.path().join(&self.name);
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
                1 => self.begin(whole).map(|version| found.version = version),
                _ => found.take(self.format, whole),
            };
            match taken {
                Ok(()) => {}
                // It has no edits.
                Err(Wrong::Format(_)) if reader.fill_buf().is_ok_and(<[u8]>::is_empty) => break,
                Err(Wrong::Format(format)) => {
                    return Err(format!(
                        "{} holds edits of a list in the format `{format}`; remove it to drop them",
                        path.display()
                    ));
                }
                Err(Wrong::Damage(reason)) => {
                    found.damage = Some(format!("line {number}: {reason}"));
                    found.version = later_version(&mut reader).max(found.version);
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Reads the first line.
    fn begin(&self, line: &[u8]) -> Result<u64, Wrong> {
        let head: Head = checked(line)?;
        match head {
            Head { journal: 1, format, version } if format == self.format.name() => Ok(version),
            Head { journal: 1, format, .. } => Err(Wrong::Format(format)),
            Head { journal, .. } => Err(Wrong::Damage(format!("version {journal} of journals"))),
        }
    }

    /// Writes changes, and returns when they are on the disk.
    ///
    /// # Errors
    ///
    /// Why they cannot be written. None of them is there then.
    pub fn append(&mut self, records: &[Record], book: &Book, version: u64) -> io::Result<()> {
        if self.file.is_none() || self.records > self.most {
            self.rewrite(book, version)?;
        }
        let mut lines = Vec::new();
        records.iter().try_for_each(|record| write_line(&mut lines, record))?;
        let Some(file) = &mut self.file else { return Err(io::Error::other("no file")) };
        match file.write_all(&lines).and_then(|()| file.sync_data()) {
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
    fn rewrite(&mut self, book: &Book, version: u64) -> io::Result<()> {
        let fresh = self.folder.path().join(format!("{}{UNFINISHED}", self.name));
        let head = Head { journal: 1, format: self.format.name().to_owned(), version };
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
            fs::rename(&fresh, self.folder.path().join(&self.name))?;
            File::open(self.folder.path())?.sync_all()?;
            Ok(file)
        };
        let written: io::Result<File> = write();
        if written.is_err() {
            let _ = fs::remove_file(&fresh);
        }
        self.file = Some(written?);
        self.length = lines.len() as u64;
        self.most = records.len() * 2 + RECORDS;
        self.records = records.len();
        Ok(())
    }
}

/// Why a line cannot be used.
enum Wrong {
    Damage(String),
    /// The list has another format.
    Format(String),
}

impl Found {
    fn take(&mut self, format: DataFormat, line: &[u8]) -> Result<(), Wrong> {
        let Record { version, at, until, who, note, add, remove, forget } = checked(line)?;
        let read = |texts: Vec<String>| {
            let entries = texts.iter().map(|text| Entry::read(format, text));
            entries.collect::<Result<Vec<_>, _>>().map_err(Wrong::Damage)
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

fn checked<'l, T: Deserialize<'l>>(line: &'l [u8]) -> Result<T, Wrong> {
    let parts = line.split_first_chunk::<9>();
    let sum = parts.and_then(|(sum, _)| str::from_utf8(sum.strip_suffix(b" ")?).ok());
    let sum = sum.and_then(|sum| u32::from_str_radix(sum, 16).ok());
    match (sum, parts) {
        (Some(sum), Some((_, json))) if crc32c::crc32c(json) == sum => {
            serde_json::from_slice(json).map_err(|error| Wrong::Damage(error.to_string()))
        }
        _ => Err(Wrong::Damage("wrong checksum".to_owned())),
    }
}
