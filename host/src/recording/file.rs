//! Writes and reads recordings.

use std::io::{self, Read, Seek, Write};
use std::time::Duration;

use karuta_blocks::{Block, END, Found, Header, NotReadable, Reader, Writer};

use super::bytes::take;
use super::hidden::Hidden;
use super::record::Record;
use super::redact::Redactor;
use super::ring::LONGEST;
use super::rings::Scene;

const MAGIC: [u8; 8] = *b"KARUTARC";
const FORMAT: u16 = 1;

const SCENE: (u16, bool) = (1, true);
const RECORDS: (u16, bool) = (2, true);
const MISSING: (u16, bool) = (3, false);

/// Writes a recording.
pub struct Recording<W> {
    writer: Writer<W>,
    records: u64,
    missing: u64,
    /// Of what was appended, in bytes.
    size: u64,
}

impl<W: Write> Recording<W> {
    /// Begins one at `created`, in milliseconds since 1970.
    ///
    /// # Errors
    ///
    /// Writing fails, here and below.
    pub fn create(to: W, created: u64, retain: Duration, hidden: Hidden) -> io::Result<Self> {
        let header = Header {
            magic: MAGIC,
            format: FORMAT,
            flags: hidden.flags(),
            created,
            parameter: u32::try_from(retain.as_secs()).unwrap_or(u32::MAX),
            file_id: rand::random(),
            writer: Header::writer(concat!("karuta ", env!("CARGO_PKG_VERSION"))),
        };
        Ok(Self { writer: Writer::create(to, &header)?, records: 0, missing: 0, size: 0 })
    }

    /// Returns how many records were appended.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Returns how large it is, about.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Says what serves from here on.
    pub fn scene(&mut self, scene: &Scene) -> io::Result<()> {
        let json = serde_json::to_vec(scene)?;
        self.writer.append(SCENE, json.len(), |_, block| block.extend_from_slice(&json))?;
        self.writer.seal()
    }

    /// Appends a record as [`Record::write`] has written it.
    pub fn record(&mut self, record: &[u8]) -> io::Result<()> {
        self.records += 1;
        self.size += 4 + record.len() as u64;
        self.writer.append(RECORDS, 4 + record.len(), |_, block| {
            block.extend_from_slice(&(record.len() as u32).to_le_bytes());
            block.extend_from_slice(record);
        })
    }

    /// Says that `count` records are missing here, and writes what was appended.
    pub fn missing(&mut self, count: u64) -> io::Result<()> {
        self.missing += count;
        self.writer.append(MISSING, 8, |_, block| block.extend_from_slice(&count.to_le_bytes()))?;
        self.writer.seal()
    }

    /// Ends it, and returns what it was written to.
    pub fn end(self) -> io::Result<W> {
        let counts = [self.records, self.missing].map(u64::to_le_bytes);
        Ok(self.writer.end(counts.as_flattened())?.0)
    }

    /// Writes what was appended, and leaves it without an end, so that it does not look whole.
    fn leave(self) -> io::Result<W> {
        self.writer.leave()
    }
}

/// What is in a recording.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contents {
    pub header: Header,
    /// What was hidden when it was made.
    pub hidden: Hidden,
    /// What served, the first one first.
    pub scenes: Vec<Scene>,
    pub records: u64,
    /// Records that the workers overwrote before they could be read.
    pub missing: u64,
    pub found: Found,
}

/// Why nothing of a file can be used.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    #[error("not a recording, or damaged: {0}")]
    Not(NotReadable),
    #[error(
        "a newer program wrote it: it has format {found}, and this program reads format {FORMAT}; \
         use at least the version of karuta that made it"
    )]
    Newer { found: u16 },
    #[error("a newer program wrote it: unknown flags {0:#x}")]
    Flags(u32),
    #[error("a newer program wrote it: unknown blocks of kind {0}")]
    Kind(u16),
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Contents {
    /// Returns until when it may be kept, in milliseconds since 1970.
    #[must_use]
    pub fn keep_until(&self) -> u64 {
        self.header.created.saturating_add(u64::from(self.header.parameter) * 1000)
    }
}

/// Reads a whole recording, and passes each record to `take`, with its bytes.
///
/// # Errors
///
/// It is not a recording that this program can use.
pub fn read(file: impl Read, mut take: impl FnMut(&Record, &[u8])) -> Result<Contents, Unreadable> {
    let mut reader = Reader::open(file, MAGIC, FORMAT).map_err(|error| match error {
        NotReadable::Format { found, expected } if found > expected => Unreadable::Newer { found },
        other => Unreadable::Not(other),
    })?;
    let header = *reader.header();
    let hidden = Hidden::of_flags(header.flags).ok_or(Unreadable::Flags(header.flags))?;
    let mut contents = Contents {
        header,
        hidden,
        scenes: Vec::new(),
        records: 0,
        missing: 0,
        found: Found::default(),
    };
    while let Some(Block { kind, essential, payload }) = reader.next_block()? {
        let is_whole = match kind {
            _ if kind == SCENE.0 => match serde_json::from_slice(payload) {
                Ok(scene) => {
                    contents.scenes.push(scene);
                    true
                }
                Err(_) => false,
            },
            _ if kind == RECORDS.0 => records(payload, |record, bytes| {
                contents.records += 1;
                take(record, bytes);
            }),
            _ if kind == MISSING.0 => match payload.try_into() {
                Ok(count) => {
                    let count = u64::from_le_bytes(count);
                    contents.missing = contents.missing.saturating_add(count);
                    true
                }
                Err(_) => false,
            },
            END => true,
            _ if essential => return Err(Unreadable::Kind(kind)),
            _ => {
                contents.found.unknown += 1;
                true
            }
        };
        contents.found.malformed += u32::from(!is_whole);
    }
    let Found { malformed, unknown, .. } = contents.found;
    Ok(Contents { found: Found { malformed, unknown, ..reader.found() }, ..contents })
}

/// Copies a recording, and hides something of it. What is missing and what served is said first. The copy
/// of one that is not whole has no end.
///
/// # Errors
///
/// It is not a recording that this program can use, or writing fails.
pub fn rewrite(
    mut file: impl Read + Seek,
    to: impl Write,
    hidden: Hidden,
) -> Result<Contents, Unreadable> {
    let contents = look(&mut file)?;
    file.rewind()?;
    let Contents { header, scenes, missing, .. } = &contents;
    let retain = Duration::from_secs(header.parameter.into());
    let all = contents.hidden.or(hidden);
    let mut recording = Recording::create(to, header.created, retain, all)?;
    for scene in scenes {
        recording.scene(scene)?;
    }
    recording.missing(*missing)?;
    let mut redactor = Redactor::new(hidden);
    redactor.set_routes(scenes.iter().flat_map(|scene| &scene.routes));
    let (mut bytes, mut failed) = (Vec::new(), None);
    read(file, |record, _| {
        bytes.clear();
        redactor.write(record, &mut bytes);
        failed = failed.take().or(recording.record(&bytes).err());
    })?;
    match failed {
        Some(error) => Err(error.into()),
        None => {
            let copied = match contents.found.is_whole() {
                true => recording.end(),
                false => recording.leave(),
            };
            copied?.flush()?;
            Ok(contents)
        }
    }
}

/// Reads a whole recording, and counts what is in it.
///
/// # Errors
///
/// It is not a recording that this program can use.
pub fn look(file: impl Read) -> Result<Contents, Unreadable> {
    read(file, |_, _| {})
}

/// Reads the records of a block; returns `false` at a malformed one.
fn records(payload: &[u8], mut each: impl FnMut(&Record, &[u8])) -> bool {
    let mut rest = payload;
    while !rest.is_empty() {
        let Some(len) = take(&mut rest).map(|len| u32::from_le_bytes(len) as usize) else {
            return false;
        };
        let Some((bytes, after)) = rest.split_at_checked(len).filter(|_| len <= LONGEST) else {
            return false;
        };
        let Some(record) = Record::read(bytes) else { return false };
        each(&record, bytes);
        rest = after;
    }
    true
}
