//! The body of a tap's answer: decisions as they come, until it ends by itself.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::time::{Interval, Sleep, interval, sleep};

use super::access::Access;
use crate::decisions::Tap;

/// The body of a tap's answer.
pub struct Tapping {
    tap: Tap,
    /// Lines until the end.
    left: u64,
    end: Pin<Box<Sleep>>,
    sign: Interval,
    /// Who may ask, and the version of it when this tap was allowed; `None` for a socket file, which
    /// needs no token.
    access: Option<(Arc<Access>, u64)>,
}

/// How long a tap stays open.
const LONGEST: Duration = Duration::from_secs(600);
/// How often an empty line shows that it is open, and finds out whether its reader is there.
const SIGN: Duration = Duration::from_secs(15);

impl Tapping {
    pub fn new(tap: Tap, count: u64, access: Option<Arc<Access>>) -> Self {
        let access = access.map(|access| (access.clone(), access.version()));
        let end = Box::pin(sleep(LONGEST));
        Self { tap, left: count, end, sign: interval(SIGN), access }
    }

    /// Returns whether somebody may have lost a right since it was opened.
    fn is_outdated(&self) -> bool {
        self.access.as_ref().is_some_and(|(access, version)| access.version() != *version)
    }
}

impl Body for Tapping {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 || self.is_outdated() || self.end.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(line) = self.tap.lines.poll_recv(context) {
            self.left -= 1;
            return Poll::Ready(line.map(|line| Ok(Frame::data(line))));
        }
        // The first one comes at once, so that the reader knows that the tap is open.
        match self.sign.poll_tick(context) {
            Poll::Ready(_) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"\n"))))),
            Poll::Pending => Poll::Pending,
        }
    }
}
