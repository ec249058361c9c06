//! The body of a stream of events.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::history::{History, Mark, Sample};

/// The body of an answer that goes on.
pub struct Stream {
    /// Samples between these times are told first: the client's last one, and the newest one when it
    /// asked.
    missed: (u64, u64),
    history: Arc<Mutex<History>>,
    /// What comes before anything else.
    begin: Option<Bytes>,
    events: mpsc::Receiver<Bytes>,
}

/// How soon a client comes back, in milliseconds.
const RETRY: &str = "retry: 2000\n\n";

/// Writes the changes of a second, and then its sample. Only that has an id, so that a break before it
/// has all of them told again.
pub fn text(sample: &Sample, marks: &[Mark]) -> String {
    let json = |value: serde_json::Result<String>| value.unwrap_or_default();
    let mut text = String::new();
    for mark in marks {
        let _ = write!(text, "event: change\ndata: {}\n\n", json(serde_json::to_string(mark)));
    }
    let data = json(serde_json::to_string(sample));
    let _ = write!(text, "event: sample\nid: {}\ndata: {data}\n\n", sample.time);
    text
}

impl Stream {
    /// `missed` are the times of the client's last sample and of the newest one.
    pub fn new(
        missed: (u64, u64),
        history: Arc<Mutex<History>>,
        events: mpsc::Receiver<Bytes>,
    ) -> Self {
        Self { missed, history, begin: Some(Bytes::from_static(RETRY.as_bytes())), events }
    }

    /// Returns the next of the samples that the client has missed.
    fn next_missed(&mut self) -> Option<Bytes> {
        let (last, newest) = self.missed;
        let next = (last < newest).then(|| self.history.lock().after(last)).flatten();
        let next = next.filter(|(sample, _)| sample.time <= newest);
        self.missed.0 = next.as_ref().map_or(newest, |(sample, _)| sample.time);
        next.map(|(sample, marks)| text(&sample, &marks).into())
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.begin.take().or_else(|| self.next_missed()) {
            Some(next) => Poll::Ready(Some(next)),
            None => self.events.poll_recv(context),
        };
        next.map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_comes_before_the_sample_in_which_it_was_seen() {
        let sample = Sample { time: 7, values: Default::default() };
        let mark = Mark { time: 7, kind: "reload", text: "line\nbreak".into() };
        assert_eq!(
            text(&sample, &[mark]),
            "event: change\ndata: {\"time\":7,\"kind\":\"reload\",\"text\":\"line\\nbreak\"}\n\n\
             event: sample\nid: 7\ndata: {\"time\":7,\"values\":{}}\n\n"
        );
    }
}
