//! `/api/events`: a stream of what happens, second by second.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::Admin;
use super::caller::Peer;
use super::reply::{Reply, line, written};
use super::request::Request;
use super::streaming::{Stream, text};
use crate::history::{Mark, Sample};

/// Those who follow.
#[derive(Default)]
pub struct Events(Mutex<Vec<Follower>>);

struct Follower {
    events: mpsc::Sender<Bytes>,
    /// Whether it came over a socket file.
    is_local: bool,
    /// The version of the access rights with which it was admitted.
    admitted: u64,
    /// When it must ask again, so that a session that has ended does not follow on.
    until: Instant,
    seconds: u64,
}

/// The most streams to addresses, and to socket files: half of the connections, so that the other half
/// is left for everything else.
const MOST: usize = 32;
const MOST_LOCAL: usize = 8;
/// A reader that is this many seconds behind is not waited for.
const BEHIND: usize = 16;
/// How often a comment is sent, in seconds, which keeps proxies from closing the connection.
const COMMENT: u64 = 15;
/// How long a stream lasts. A client then comes back by itself, and misses nothing.
const LONGEST: Duration = Duration::from_secs(3600);
/// Answers with a stream, which begins with what came after the header `Last-Event-ID`.
pub fn events(admin: &Admin, request: &Request) -> Reply {
    let last = request.head.headers.get("last-event-id");
    let last = last.and_then(|id| id.to_str().ok()?.parse::<u64>().ok());
    let is_local = matches!(request.peer, Peer::Process { .. });
    let newest = admin.history.lock().newest().unwrap_or_default();
    let (sender, events) = mpsc::channel(BEHIND);
    let follower = Follower {
        events: sender,
        is_local,
        admitted: admin.access.version(),
        until: Instant::now() + LONGEST,
        seconds: 0,
    };
    if !admin.events.admit(follower) {
        return line(StatusCode::SERVICE_UNAVAILABLE, "too many streams of events");
    }
    let missed = (last.unwrap_or(newest), newest);
    let stream = Stream::new(missed, admin.history.clone(), events);
    let mut reply = Response::new(written(stream));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

impl Events {
    /// Adds a follower, unless there are too many.
    fn admit(&self, follower: Follower) -> bool {
        let mut followers = self.0.lock();
        followers.retain(|one| !one.events.is_closed());
        let most = if follower.is_local { MOST_LOCAL } else { MOST };
        let has_room =
            followers.iter().filter(|one| one.is_local == follower.is_local).count() < most;
        if has_room {
            followers.push(follower);
        }
        has_room
    }

    /// Tells all followers of a second. Ends the streams that are behind, too old, or were admitted
    /// with other rights than those of this version.
    pub fn tell(&self, sample: &Sample, marks: &[Mark], version: u64, now: Instant) {
        let mut followers = self.0.lock();
        if followers.is_empty() {
            return;
        }
        let text = Bytes::from(text(sample, marks));
        followers.retain_mut(|one| {
            one.seconds += 1;
            if one.seconds % COMMENT == 0
                && one.events.try_send(Bytes::from_static(b":\n\n")).is_err()
            {
                return false;
            }
            let may_stay = one.until > now && (one.is_local || one.admitted == version);
            may_stay && one.events.try_send(text.clone()).is_ok()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follower(is_local: bool) -> (Follower, mpsc::Receiver<Bytes>) {
        let (events, told) = mpsc::channel(BEHIND);
        let until = Instant::now() + LONGEST;
        (Follower { events, is_local, admitted: 1, until, seconds: 0 }, told)
    }

    fn sample(time: u64) -> Sample {
        Sample { time, values: Default::default() }
    }

    #[test]
    fn streams_leave_connections_for_others() {
        let events = Events::default();
        let mut told = Vec::new();
        let mut admit = |is_local| {
            let (follower, receiver) = follower(is_local);
            told.push(receiver);
            events.admit(follower)
        };
        for _ in 0..MOST {
            assert!(admit(false));
        }
        assert!(!admit(false));
        for _ in 0..MOST_LOCAL {
            assert!(admit(true));
        }
        assert!(!admit(true));
        told.clear();
        assert!(events.admit(follower(false).0), "all are gone");
    }

    #[test]
    fn a_reader_that_is_behind_is_not_waited_for() {
        let events = Events::default();
        let (slow, mut told) = follower(false);
        events.admit(slow);
        for time in 0..BEHIND as u64 + 5 {
            events.tell(&sample(time), &[], 1, Instant::now());
        }
        assert!(events.0.lock().is_empty());
        let mut count = 0;
        while told.try_recv().is_ok() {
            count += 1;
        }
        assert_eq!((count, told.is_closed()), (BEHIND, true));
    }

    #[test]
    fn streams_end_when_rights_change_or_they_are_old() {
        let events = Events::default();
        let [(local, _kept), (remote, _also), (mut old, _too)] =
            [follower(true), follower(false), follower(false)];
        old.until = Instant::now();
        for one in [local, remote, old] {
            events.admit(one);
        }
        events.tell(&sample(1), &[], 1, Instant::now());
        assert_eq!(events.0.lock().len(), 2);
        events.tell(&sample(2), &[], 2, Instant::now());
        assert_eq!(events.0.lock().len(), 1, "a socket file needs no token");
    }
}
