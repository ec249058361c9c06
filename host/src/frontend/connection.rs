//! The phases of an HTTP connection and their timeouts.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::metrics::{ConnectionState, Connections, Presence};

/// The phase of a connection, shared by its stream and its service.
#[derive(Clone)]
pub struct Activity(Rc<Shown>);

/// A phase, and what the metrics show of it.
struct Shown {
    phase: Cell<Phase>,
    presence: Presence,
}

#[derive(Clone, Copy)]
enum Phase {
    /// No request is under way since this time.
    Idle(Instant),
    /// The first bytes of a request came at this time. `None` until the deadline is first asked
    /// for: most requests arrive whole, and need no clock.
    Arriving(Option<Instant>),
    /// A request is being answered.
    Working,
    /// A long answer is being sent since the last bytes of it could be, until `end`. Afterwards, it is
    /// as if the connection were idle.
    Sending { last: Instant, end: Instant },
}

/// How long a connection may stay in a phase.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Between two requests, and between two pieces of a long answer.
    pub keep_alive: Duration,
    /// From the first byte of a request to the end of its header.
    pub header: Duration,
}

impl Activity {
    /// Returns the state of a new connection: its first request has as long as a header.
    pub fn new(connections: &Arc<Connections>) -> Self {
        let presence = Presence::new(connections, ConnectionState::Reading);
        Self(Rc::new(Shown { phase: Cell::new(Phase::Arriving(None)), presence }))
    }

    pub fn working(&self) {
        self.0.phase.set(Phase::Working);
        self.0.presence.turn(ConnectionState::Answering);
    }

    pub fn idle(&self, now: Instant) {
        self.0.phase.set(Phase::Idle(now));
        self.0.presence.turn(ConnectionState::Idle);
    }

    /// A long answer is being sent, which the client must have read at `end`.
    pub fn sending(&self, now: Instant, end: Instant) {
        self.0.phase.set(Phase::Sending { last: now, end });
    }

    /// Notes that the client has taken some bytes.
    fn sent(&self) {
        if let Phase::Sending { end, .. } = self.0.phase.get() {
            self.0.phase.set(Phase::Sending { last: Instant::now(), end });
        }
    }

    fn is_sending(&self) -> bool {
        matches!(self.0.phase.get(), Phase::Sending { .. })
    }

    fn arriving(&self) {
        if let Phase::Idle(_) | Phase::Sending { .. } = self.0.phase.get() {
            self.0.phase.set(Phase::Arriving(None));
            self.0.presence.turn(ConnectionState::Reading);
        }
    }

    /// Returns whether a request is being answered, which takes no time of the client's.
    pub fn is_working(&self) -> bool {
        matches!(self.0.phase.get(), Phase::Working)
    }

    /// Returns when to check again. If that time has passed, the connection must close.
    pub fn deadline(&self, timeouts: Timeouts) -> Instant {
        match self.0.phase.get() {
            Phase::Idle(since) => since + timeouts.keep_alive,
            Phase::Arriving(since) => {
                let since = since.unwrap_or_else(Instant::now);
                self.0.phase.set(Phase::Arriving(Some(since)));
                since + timeouts.header
            }
            Phase::Sending { last, end } => end.min(last + timeouts.keep_alive),
            Phase::Working => Instant::now() + timeouts.header,
        }
    }
}

/// A stream that notes when a request begins to arrive, and that accepts writes after the client
/// has gone.
///
/// A client may end TLS without saying so. HTTP knows where a request ends, so this is an end like
/// any other.
///
/// A client that leaves does not wait for answers. The requests that it sent before still count,
/// above all a `stopped`, but a failed write would end reading. What can still be read then has
/// already arrived. Nothing is read after a long answer that cannot be written.
pub struct Watched<T> {
    stream: T,
    activity: Activity,
    is_gone: bool,
}

impl<T> Watched<T> {
    pub fn new(stream: T, activity: Activity) -> Self {
        Self { stream, activity, is_gone: false }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.activity.arriving();
        }
        match result {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Poll::Ready(Ok(()))
            }
            result => result,
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.is_gone {
            match Pin::new(&mut self.stream).poll_write(context, bytes) {
                Poll::Ready(Err(error)) if !self.activity.is_sending() => {
                    tracing::debug!(%error, "cannot write to client that has gone; reading the rest");
                    self.is_gone = true;
                }
                result => {
                    if matches!(result, Poll::Ready(Ok(_))) {
                        self.activity.sent();
                    }
                    return result;
                }
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn a_long_answer_may_take_as_long_as_its_reader_takes_some_of_it_up_to_an_end() {
        let metrics = Metrics::new(Default::default);
        let activity = Activity::new(&metrics.connections(([127, 0, 0, 1], 1).into()));
        let (seconds, now) = (Duration::from_secs, Instant::now());
        let timeouts = Timeouts { keep_alive: seconds(30), header: seconds(5) };
        let early = now - seconds(20);
        activity.sending(early, now + seconds(60));
        assert_eq!(activity.deadline(timeouts), early + seconds(30));
        activity.sent();
        assert!(activity.deadline(timeouts) >= now + seconds(30), "some was taken");
        activity.sending(now, now + seconds(10));
        activity.sent();
        assert_eq!(activity.deadline(timeouts), now + seconds(10));
        activity.idle(early);
        activity.sent();
        assert_eq!(
            activity.deadline(timeouts),
            early + seconds(30),
            "of short ones, nothing is noted"
        );
    }
}
