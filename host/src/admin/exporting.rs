//! The body of an export, written while it is read.

use std::io::{self, ErrorKind, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::{Body, Frame};
use tokio::sync::OwnedSemaphorePermit;

use crate::process;

/// The body of an export.
pub struct Exporting {
    /// Writes the next part, and returns whether more may follow. `None`: nothing is left.
    parts: Option<Parts>,
    /// `None`: the bytes are sent as they are.
    gzip: Option<GzEncoder<Vec<u8>>>,
    /// When it is cut off.
    end: Instant,
    _turn: Option<OwnedSemaphorePermit>,
}

type Parts = Box<dyn FnMut(&mut Vec<u8>) -> bool + Send>;

/// How long an export may take, so that a slow reader does not keep others waiting for ever.
const LONGEST: Duration = Duration::from_secs(600);

impl Exporting {
    /// `turn` is given back at the end, or when the reader is gone.
    pub fn new(
        parts: impl FnMut(&mut Vec<u8>) -> bool + Send + 'static,
        gzip: bool,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let gzip = gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast()));
        Self { parts: Some(Box::new(parts)), gzip, end: Instant::now() + LONGEST, _turn: turn }
    }

    /// Does the next part of the work. `None`: nothing is left.
    fn advance(&mut self) -> Option<Vec<u8>> {
        let parts = self.parts.as_mut()?;
        let mut chunk = Vec::new();
        if !parts(&mut chunk) {
            self.parts = None;
        }
        // Writing into memory does not fail.
        if let Some(gzip) = &mut self.gzip {
            let _ = gzip.write_all(&chunk);
            if self.parts.is_none() {
                let _ = gzip.try_finish();
            }
            chunk = std::mem::take(gzip.get_mut());
        }
        Some(chunk)
    }
}

impl Body for Exporting {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        // The workers come first, and then what else this thread has to do.
        process::give_way();
        if Instant::now() > self.end {
            let error = io::Error::new(ErrorKind::TimedOut, "the reader of an export is too slow");
            return Poll::Ready(Some(Err(error)));
        }
        match self.advance() {
            None => Poll::Ready(None),
            Some(chunk) if chunk.is_empty() => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Some(chunk) => Poll::Ready(Some(Ok(Frame::data(chunk.into())))),
        }
    }
}
