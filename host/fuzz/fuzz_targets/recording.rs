//! A recording, damaged in any way or made up; and a record in one that is whole.
#![no_main]

use karuta::recording::{Record, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = read(bytes, |record, bytes| assert_eq!(Record::read(bytes).as_ref(), Some(record)));
    let Some(record) = Record::read(bytes) else { return };
    let mut written = Vec::new();
    record.write(&mut written);
    let again = Record::read(&written).expect("it was written");
    assert_eq!((again.time, again.request), (record.time, record.request));
});
