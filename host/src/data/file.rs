//! Files that are watched for new data.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use super::source::DataSource;
use crate::watch::{POLL, Stamp, Unread, Watch, read};

/// Starts the thread that offers each new content of the file to the source. `known` is the content
/// that the source already has.
pub fn follow(source: &Arc<DataSource>, path: PathBuf, known: Option<Stamp>) -> io::Result<()> {
    source.spawn(move |source| work(Watch::new(path, known), &source))
}

fn work(mut watch: Watch, source: &Weak<DataSource>) {
    loop {
        std::thread::sleep(POLL);
        let Some(source) = source.upgrade() else { return };
        let found = match watch.look() {
            Ok(Some(found)) => found,
            Ok(None) => {
                source.set_gone(!watch.path().exists());
                continue;
            }
            Err(reason) => {
                source.refuse(&reason);
                continue;
            }
        };
        match read(watch.path(), source.definition().max_size) {
            Ok((stamp, bytes)) => {
                watch.settle(stamp);
                let _ = source.offer(&bytes);
            }
            Err(Unread::Gone | Unread::Changing) => watch.forget(),
            Err(Unread::Unusable(reason)) => {
                watch.settle(found);
                source.refuse(&reason);
            }
        }
    }
}
