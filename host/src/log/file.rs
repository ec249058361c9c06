//! A log file that is rotated at a size, and followed when another program renames or removes it.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use super::queue::{Output, count};
use super::stderr::Reader;
use crate::config;

/// For the owner to write and its group to read.
const MODE: u32 = 0o640;

/// The log file and what limits it.
pub struct LogFile {
    settings: config::LogFile,
    file: File,
    /// Its device and its inode.
    identity: (u64, u64),
    /// Its size in bytes.
    size: u64,
    /// Who is told when it cannot be written.
    stderr: Reader,
    /// Whether that has been said.
    told: bool,
}

impl LogFile {
    /// Opens the file, and creates it if it is missing.
    pub fn open(settings: &config::LogFile, stderr: Reader) -> io::Result<Self> {
        let file = open(&settings.path)?;
        let found = file.metadata()?;
        Ok(Self {
            settings: settings.clone(),
            file,
            identity: (found.dev(), found.ino()),
            size: found.len(),
            stderr,
            told: false,
        })
    }

    /// Opens the file anew if it has another name by now, or none. Its size may have changed too.
    fn follow(&mut self) -> io::Result<()> {
        let identity = |found: &fs::Metadata| (found.dev(), found.ino());
        match fs::symlink_metadata(&self.settings.path) {
            Ok(found) if identity(&found) == self.identity => self.size = found.len(),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(_) | Err(_) => self.replace()?,
        }
        Ok(())
    }

    fn replace(&mut self) -> io::Result<()> {
        let Self { file, identity, size, .. } = Self::open(&self.settings, self.stderr)?;
        (self.file, self.identity, self.size) = (file, identity, size);
        Ok(())
    }

    /// Renames this file and the older ones, and begins a new one. If there is no room for that one,
    /// nothing has changed.
    fn rotate(&mut self) -> io::Result<()> {
        let next = self.beside("next");
        open(&next)?;
        for number in (1..self.settings.keep).rev() {
            rename(&self.older(number), &self.older(number + 1))?;
        }
        rename(&self.settings.path, &self.older(1))?;
        rename(&next, &self.settings.path)?;
        self.replace()
    }

    /// Returns the name of an older file; 1 is the youngest.
    fn older(&self, number: u32) -> PathBuf {
        self.beside(&number.to_string())
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = OsString::from(&self.settings.path);
        name.push(format!(".{ending}"));
        name.into()
    }

    /// Returns how many bytes of the lines go into this file: whole lines, and at least one if it is
    /// empty.
    fn room(&self, lines: &[u8]) -> usize {
        if self.settings.max_size == 0 {
            return lines.len();
        }
        let left = self.settings.max_size.saturating_sub(self.size);
        let left = usize::try_from(left).unwrap_or(usize::MAX).min(lines.len());
        match memchr::memrchr(b'\n', &lines[..left]) {
            Some(end) => end + 1,
            None if self.size > 0 => 0,
            None => memchr::memchr(b'\n', lines).map_or(lines.len(), |end| end + 1),
        }
    }

    /// Appends lines. If only a part of a line can be written, it is removed again. Returns the
    /// number of bytes that stay.
    fn append(&mut self, lines: &[u8]) -> Result<usize, (usize, io::Error)> {
        let mut written = 0;
        while written < lines.len() {
            let error = match self.file.write(&lines[written..]) {
                Ok(0) => ErrorKind::WriteZero.into(),
                Ok(more) => {
                    written += more;
                    self.size += more as u64;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            let whole = memchr::memrchr(b'\n', &lines[..written]).map_or(0, |end| end + 1);
            self.shorten((written - whole) as u64);
            return Err((whole, error));
        }
        Ok(written)
    }

    /// Removes the last bytes, with the best of intentions.
    fn shorten(&mut self, bytes: u64) {
        let cut = |found: fs::Metadata| self.file.set_len(found.len().saturating_sub(bytes));
        if bytes > 0 && self.file.metadata().and_then(cut).is_ok() {
            self.size = self.size.saturating_sub(bytes);
        }
    }

    /// Says on standard error what fails, until it works again.
    fn check<T, E: Display>(&mut self, what: &str, done: Result<T, E>) -> Option<T> {
        done.inspect_err(|error| {
            if !std::mem::replace(&mut self.told, true) {
                let path = self.settings.path.display();
                self.stderr.complain(format_args!("cannot {what} the log file {path}: {error}"));
            }
        })
        .ok()
    }
}

impl Output for LogFile {
    fn write(&mut self, mut lines: &[u8]) -> u64 {
        if lines.is_empty() {
            return 0;
        }
        let followed = self.follow();
        let mut fine = self.check("reopen", followed).is_some();
        while !lines.is_empty() {
            let mut room = self.room(lines);
            if room == 0 {
                let rotated = self.rotate();
                fine &= self.check("rotate", rotated).is_some();
                room = match self.room(lines) {
                    // Rather too long a file than no lines.
                    0 => lines.len(),
                    room => room,
                };
            }
            match self.append(&lines[..room]) {
                Ok(written) => lines = &lines[written..],
                Err((written, error)) => {
                    self.check::<(), _>("write", Err(error));
                    return count(&lines[written..]);
                }
            }
        }
        self.told &= !fine;
        0
    }

    fn reopen(&mut self) {
        let followed = self.follow();
        self.check("reopen", followed);
    }
}

/// Creates the file for another user, if it is missing.
pub fn create_for(path: &Path, user: u32, group: u32) -> io::Result<()> {
    match OpenOptions::new().append(true).create_new(true).mode(MODE).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        file => fchown(file?, Some(user), Some(group)),
    }
}

/// Opens a regular file for appending, without following a link or waiting for a pipe.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut options = OpenOptions::new();
    let file =
        options.append(true).create(true).mode(MODE).custom_flags(flags.bits()).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("not a regular file")),
    }
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    use tempfile::TempDir;

    use super::*;
    use crate::log::queue::Queue;

    fn settings(folder: &TempDir, max_size: u64, keep: u32) -> config::LogFile {
        config::LogFile { path: folder.path().join("karuta.log"), max_size, keep }
    }

    fn log(settings: &config::LogFile) -> LogFile {
        LogFile::open(settings, Reader::Other).unwrap()
    }

    /// Returns the content of the files, the oldest first, and their names.
    fn files(folder: &TempDir) -> Vec<(String, String)> {
        let files = fs::read_dir(folder.path()).unwrap().map(|file| {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            (name, fs::read_to_string(file.path()).unwrap())
        });
        let mut files: Vec<_> = files.collect();
        let age = |name: &str| name.rsplit('.').next().unwrap().parse().unwrap_or(0u32);
        files.sort_by_key(|(name, _)| std::cmp::Reverse(age(name)));
        files
    }

    fn named(files: &[(&str, &str)]) -> Vec<(String, String)> {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn it_rotates_between_lines_and_keeps_so_many() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = log(&settings(&folder, 10, 2));
        assert_eq!(log.write(b"one\ntwo\nthree\nfour\n"), 0);
        assert_eq!(
            files(&folder),
            named(&[
                ("karuta.log.2", "one\ntwo\n"),
                ("karuta.log.1", "three\n"),
                ("karuta.log", "four\n")
            ])
        );
        assert_eq!(log.write(b"a line that is too long\nx\n"), 0);
        assert_eq!(
            files(&folder),
            named(&[
                ("karuta.log.2", "four\n"),
                ("karuta.log.1", "a line that is too long\n"),
                ("karuta.log", "x\n")
            ])
        );
        let mode = fs::metadata(folder.path().join("karuta.log")).unwrap().mode();
        assert_eq!(mode & 0o777, MODE);
    }

    #[test]
    fn it_continues_a_file_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&folder, 10, 1);
        log(&settings).write(b"one\ntwo\n");
        log(&settings).write(b"three\n");
        assert_eq!(
            files(&folder),
            named(&[("karuta.log.1", "one\ntwo\n"), ("karuta.log", "three\n")])
        );
    }

    #[test]
    fn it_follows_renames_removal_and_truncation() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&folder, 0, 1);
        let mut log = log(&settings);
        log.write(b"one\n");
        fs::rename(&settings.path, folder.path().join("karuta.log.9")).unwrap();
        log.write(b"two\n");
        fs::rename(&settings.path, folder.path().join("karuta.log.8")).unwrap();
        fs::write(&settings.path, "").unwrap();
        log.write(b"three\n");
        fs::rename(&settings.path, folder.path().join("karuta.log.7")).unwrap();
        log.reopen();
        assert!(settings.path.exists(), "before there is a line");
        log.write(b"four\n");
        // As `copytruncate` does.
        File::create(&settings.path).unwrap();
        log.write(b"five\n");
        assert_eq!(
            files(&folder),
            named(&[
                ("karuta.log.9", "one\n"),
                ("karuta.log.8", "two\n"),
                ("karuta.log.7", "three\n"),
                ("karuta.log", "five\n")
            ])
        );
        fs::remove_file(&settings.path).unwrap();
        log.write(b"six\n");
        assert_eq!(fs::read_to_string(&settings.path).unwrap(), "six\n");
    }

    #[test]
    fn what_is_no_regular_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&folder, 0, 1);
        let refused = || LogFile::open(&settings, Reader::Other).is_err();
        nix::unistd::mkfifo(&settings.path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(refused(), "a pipe");
        fs::remove_file(&settings.path).unwrap();
        let other = folder.path().join("other");
        fs::write(&other, "").unwrap();
        std::os::unix::fs::symlink(&other, &settings.path).unwrap();
        assert!(refused(), "a link");
        fs::remove_file(&settings.path).unwrap();
        fs::create_dir(&settings.path).unwrap();
        assert!(refused(), "a folder");
    }

    /// It cannot be renamed, so it grows.
    #[test]
    fn no_line_is_lost_if_it_cannot_rotate() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("karuta.log.1/a folder")).unwrap();
        let settings = settings(&folder, 10, 1);
        let mut log = log(&settings);
        assert_eq!(log.write(b"one\ntwo\nthree\nfour\n"), 0);
        assert_eq!(fs::read_to_string(&settings.path).unwrap(), "one\ntwo\nthree\nfour\n");
        assert!(log.told);
        fs::remove_dir_all(folder.path().join("karuta.log.1")).unwrap();
        log.write(b"five\n");
        assert!(!log.told, "it can be said again");
        assert_eq!(fs::read_to_string(&settings.path).unwrap(), "five\n");
    }

    #[test]
    fn what_does_not_fit_on_the_disk_is_counted_and_no_line_is_torn() {
        crate::process::outlive_large_files();
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&folder, 0, 1);
        let mut log = log(&settings);
        let (soft, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
        // The limit is that of all tests in this process, so it is far above what they write.
        let limit = 512 << 20;
        log.file.set_len(limit - 10).unwrap();
        setrlimit(Resource::RLIMIT_FSIZE, limit, hard).unwrap();
        let lost = log.write(b"\none\ntwo\nthree\n");
        setrlimit(Resource::RLIMIT_FSIZE, soft, hard).unwrap();
        assert_eq!(lost, 1);
        assert_eq!(fs::metadata(&settings.path).unwrap().len(), limit - 1);
        assert_eq!(log.write(b"four\n"), 0);
    }

    /// Threads log, files are rotated at their size, and another program renames them.
    #[test]
    fn no_line_is_lost_or_torn_while_files_rotate() {
        const THREADS: usize = 4;
        const LINES: usize = 4000;
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&folder, 10_000, 1000);
        let queue: &'static Queue = Box::leak(Box::new(Queue::new("log")));
        let log = log(&settings);
        thread::spawn(move || queue.work(log));
        thread::scope(|scope| {
            for number in 0..THREADS {
                scope.spawn(move || {
                    for line in 0..LINES {
                        let text = format!("{number} {line} {}\n", "x".repeat(line % 50));
                        queue.push("", text.as_bytes());
                        if line % 100 == 0 {
                            queue.flush(Duration::from_secs(20));
                        }
                    }
                });
            }
            for number in 2000..2050 {
                let _ =
                    fs::rename(&settings.path, folder.path().join(format!("karuta.log.{number}")));
                queue.reopen();
                queue.flush(Duration::from_secs(20));
            }
        });
        assert!(queue.flush(Duration::from_secs(20)));
        assert_eq!((queue.dropped(), queue.unwritten()), (0, 0));
        let files = files(&folder);
        assert!(files.len() > 40, "{}", files.len());
        let mut seen: Vec<String> =
            files.iter().flat_map(|(_, text)| text.lines().map(str::to_owned)).collect();
        let expected = (0..THREADS).flat_map(|number| {
            (0..LINES).map(move |line| format!("{number} {line} {}", "x".repeat(line % 50)))
        });
        let mut expected: Vec<String> = expected.collect();
        seen.sort();
        expected.sort();
        assert!(seen == expected, "{} lines of {}", seen.len(), expected.len());
    }
}
