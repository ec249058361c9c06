//! The body of a tap's answer: decisions as they come, until it ends by itself.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::time::{Interval, Sleep, interval, sleep};

use super::access::Admission;
use crate::decisions::Tap;

/// The body of a tap's answer.
pub struct Tapping {
    tap: Tap,
    /// Lines until the end.
    left: u64,
    end: Pin<Box<Sleep>>,
    sign: Interval,
    admission: Admission,
}

/// How long a tap stays open.
const LONGEST: Duration = Duration::from_secs(600);
/// How often an empty line shows that it is open, and finds out whether its reader is there.
const SIGN: Duration = Duration::from_secs(15);

impl Tapping {
    pub fn new(tap: Tap, count: u64, admission: Admission) -> Self {
        let end = Box::pin(sleep(LONGEST));
        Self { tap, left: count, end, sign: interval(SIGN), admission }
    }
}

impl Body for Tapping {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let is_over = self.left == 0 || self.admission.has_ended();
        if is_over || self.end.as_mut().poll(context).is_ready() {
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
