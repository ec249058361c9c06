//! Data that a control instance hands to the workers.

use crate::{Error, control::publisher};

/// Hands `data` to the [`DataSink`](crate::DataSink) of every worker, replacing what was published
/// under this name before.
///
/// The host hands it on once the current call has returned without an error or a trap, and a fresh
/// instance has accepted it; at most once a second.
///
/// # Errors
///
/// Fails on any instance that is not a control instance, for the name of a data source, and beyond
/// the host's limits.
pub fn publish(name: &str, data: &[u8]) -> Result<(), Error> {
    Ok(publisher::publish(name, data)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Data};

    #[test]
    fn what_is_published_is_seen_by_a_test() {
        publish("list", b"1").unwrap();
        publish("list", b"2").unwrap();
        assert_eq!(testing::published(), [("list".to_owned(), b"2".to_vec())]);
    }

    #[test]
    fn a_wrong_name_is_refused_as_by_the_host() {
        testing::set_data("users", Data::Raw);
        let refused = |name: &str| publish(name, b"").unwrap_err().to_string();
        assert_eq!(refused("users"), "`users` is a data source of the configuration");
        for name in ["", &"x".repeat(65)] {
            assert_eq!(refused(name), "a name must have 1 to 64 bytes");
        }
    }
}
