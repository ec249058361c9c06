//! Log lines that a plugin writes during a call.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, Registry};

/// Runs `work`, and returns the lines that plugins logged meanwhile, as `LEVEL: TEXT`.
pub fn capture<R>(work: impl FnOnce() -> R) -> (R, Vec<String>) {
    let lines = Lines::default();
    let subscriber = Registry::default().with(lines.clone());
    let result = tracing::subscriber::with_default(subscriber, work);
    let lines = std::mem::take(&mut *lines.0.lock());
    (result, lines)
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == "plugin" {
            let mut message = Message(String::new());
            event.record(&mut message);
            let level = event.metadata().level().as_str().to_ascii_lowercase();
            self.0.lock().push(format!("{level}: {}", message.0));
        }
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}");
        }
    }
}
