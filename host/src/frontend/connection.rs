//! One HTTP connection: how long it may idle, and how long a request may take to arrive.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// What a connection is doing, as its stream and its service see it.
#[derive(Clone)]
pub struct Activity(Rc<Cell<Phase>>);

#[derive(Clone, Copy)]
enum Phase {
    /// No request is under way since then.
    Idle(Instant),
    /// The first bytes of a request came then, or, where nobody has asked yet, just now: most requests
    /// arrive whole, and need no clock.
    Arriving(Option<Instant>),
    /// A request is being answered.
    Working,
}

/// How long a connection may stay in a phase.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Between two requests.
    pub keep_alive: Duration,
    /// From the first byte of a request to the end of its header.
    pub header: Duration,
}

impl Activity {
    /// A connection that is new: its first request must come as soon as a header must.
    pub fn new() -> Self {
        Self(Rc::new(Cell::new(Phase::Arriving(None))))
    }

    pub fn working(&self) {
        self.0.set(Phase::Working);
    }

    pub fn idle(&self, now: Instant) {
        self.0.set(Phase::Idle(now));
    }

    fn arriving(&self) {
        if let Phase::Idle(_) = self.0.get() {
            self.0.set(Phase::Arriving(None));
        }
    }

    /// When to look again, or, where that is past, to close the connection.
    pub fn deadline(&self, timeouts: Timeouts) -> Instant {
        match self.0.get() {
            Phase::Idle(since) => since + timeouts.keep_alive,
            Phase::Arriving(since) => {
                let since = since.unwrap_or_else(Instant::now);
                self.0.set(Phase::Arriving(Some(since)));
                since + timeouts.header
            }
            Phase::Working => Instant::now() + timeouts.header,
        }
    }
}

/// A stream that notes when a request begins to arrive, and that can be written to when nobody is
/// there to read any more.
///
/// A client that leaves does not wait for answers. What it sent before counts all the same, a
/// `stopped` above all, and a failed write would end the reading. What can still be read then is what
/// has arrived already.
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
        result
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
                Poll::Ready(Err(error)) => {
                    tracing::debug!(%error, "answering a client that has gone");
                    self.is_gone = true;
                }
                result => return result,
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
