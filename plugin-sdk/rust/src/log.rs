//! Lines in the host's log, under the policy's name. A line that the host would not show is not
//! even formatted.
//!
//! ```
//! karuta_plugin::log::info!("{} entries", 3);
//! ```

use std::fmt;

pub use crate::bindings::imports::log::Level;
use crate::host::log;

/// Returns whether the host shows lines of that level.
#[must_use]
pub fn enabled(level: Level) -> bool {
    log::enabled(level)
}

/// Writes a line, if the host shows its level.
pub fn write(level: Level, message: fmt::Arguments<'_>) {
    if enabled(level) {
        match message.as_str() {
            Some(message) => log::write(level, message),
            None => log::write(level, &message.to_string()),
        }
    }
}

#[doc(hidden)]
#[macro_export]
macro_rules! log_trace {
    ($($line:tt)+) => { $crate::log::write($crate::log::Level::Trace, ::std::format_args!($($line)+)) };
}
#[doc(hidden)]
#[macro_export]
macro_rules! log_debug {
    ($($line:tt)+) => { $crate::log::write($crate::log::Level::Debug, ::std::format_args!($($line)+)) };
}
#[doc(hidden)]
#[macro_export]
macro_rules! log_info {
    ($($line:tt)+) => { $crate::log::write($crate::log::Level::Info, ::std::format_args!($($line)+)) };
}
#[doc(hidden)]
#[macro_export]
macro_rules! log_warn {
    ($($line:tt)+) => { $crate::log::write($crate::log::Level::Warn, ::std::format_args!($($line)+)) };
}
#[doc(hidden)]
#[macro_export]
macro_rules! log_error {
    ($($line:tt)+) => { $crate::log::write($crate::log::Level::Error, ::std::format_args!($($line)+)) };
}

pub use crate::{
    log_debug as debug, log_error as error, log_info as info, log_trace as trace, log_warn as warn,
};
