//! What a control instance hands to the workers.

use crate::control::publisher;

/// Hands `data` to the [`DataSink`](crate::DataSink) of every worker, in place of what was published
/// under this name before. It is handed on once the call under way has returned without an error
/// or a trap, at most once a second, and after a fresh instance has taken it.
///
/// # Errors
///
/// Elsewhere than on a control instance, for the name of a data source, and beyond the host's
/// bounds; in words for the log.
pub fn publish(name: &str, data: &[u8]) -> Result<(), String> {
    publisher::publish(name, data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_is_seen_by_a_test() {
        publish("list", b"1").unwrap();
        publish("list", b"2").unwrap();
        assert_eq!(crate::testing::published(), [("list".to_owned(), b"2".to_vec())]);
    }
}
