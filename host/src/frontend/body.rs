//! The body of an answer, which may be large.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

/// Bytes that are handed over piece by piece, so that no more than a piece is copied at once. Those of a
/// short answer are one piece.
pub struct Body(Bytes);

/// In bytes.
const PIECE: usize = 32 * 1024;

impl Body {
    /// Returns whether it has several pieces.
    pub fn is_long(&self) -> bool {
        self.0.len() > PIECE
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Self(left) = &mut *self;
        let piece = left.split_to(left.len().min(PIECE));
        Poll::Ready((!piece.is_empty()).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}
