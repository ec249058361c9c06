use karuta_bittorrent::{Counts, Event, InfoHash, PeerId, Peers};
use karuta_swarm::{Options, Sharing, Store as _, Update};

use super::super::stand_in::StandIn;
use super::*;

const TORRENT: InfoHash = InfoHash([7; 20]);

struct Node {
    common: Rc<Common<Rc<StandIn>>>,
    runner: Runner<Rc<StandIn>>,
    position: Option<Position>,
}

impl Node {
    fn new(engine: &Rc<StandIn>, number: u64) -> Self {
        Self::restored(engine, number, None)
    }

    fn restored(engine: &Rc<StandIn>, number: u64, restored: Option<Instant>) -> Self {
        let sharing = Sharing { node: number, parts: 1, queue: 1 << 20 };
        let (store, mut parts) = Shared::sharing(Options::default(), sharing);
        let share = Arc::new(Share::new("karuta", "single", 1));
        let (gate, _) = Gate::new(1);
        gate.open();
        let common = Rc::new(Common {
            engine: engine.clone(),
            store: Arc::new(store),
            share,
            gate,
            every: Duration::from_millis(20),
            lifetime: Duration::from_mins(45),
            start: Instant::now(),
            restored,
        });
        let runner = Runner::new(common.clone(), parts.remove(0));
        Self { common, runner, position: None }
    }

    fn announce(&self, port: u16, event: Event) {
        let update = Update {
            info_hash: TORRENT,
            peer: ([10, 0, 0, 1], port).into(),
            peer_id: PeerId([0; 20]),
            event,
            seeder: false,
            want: 0,
            only: None,
            locality: None,
            is_hidden: false,
            now: 0,
        };
        self.common.store.announce(&update, &mut rand::rng(), &mut Peers::default()).unwrap();
    }

    async fn send(&self) -> Result<Sent, Failure> {
        self.runner.send_next().await
    }

    /// Reads until the log ends.
    async fn read(&mut self) -> Result<(), Failure> {
        while !self.runner.read_next(&mut self.position).await? {}
        Ok(())
    }

    /// Looks where the log ends before it is read again.
    fn look_again(&self) {
        self.runner.is_in_doubt.set(true);
    }

    fn counts(&self) -> Option<Counts> {
        self.common.store.counts(TORRENT)
    }

    fn knows(&self, leechers: u32, seeders: u32, completed: u32) -> bool {
        self.counts().is_some_and(|counts| {
            (counts.leechers, counts.seeders, counts.completed) == (leechers, seeders, completed)
        })
    }

    fn series(&self) -> &PartSeries {
        &self.common.share.parts[0]
    }
}

#[tokio::test]
async fn what_one_node_sends_the_other_applies() {
    let engine = StandIn::new(1);
    let (mut one, mut two) = (Node::new(&engine, 1), Node::new(&engine, 2));
    one.announce(1, Event::Started);
    assert_eq!(one.send().await, Ok(Sent::Nothing), "before the log has been read");
    one.read().await.unwrap();
    two.read().await.unwrap();
    assert!(two.counts().is_none());
    assert_eq!(one.send().await, Ok(Sent::Little));
    one.announce(1, Event::Completed);
    assert_eq!(one.send().await, Ok(Sent::Little));
    assert!(one.series().waiting.load(Relaxed) > 0);
    one.read().await.unwrap();
    two.read().await.unwrap();
    assert!(one.knows(0, 1, 1) && two.knows(0, 1, 1), "{:?}", two.counts());
    let numbers = |node: &Node| {
        let series = node.series();
        [&series.sent, &series.applied, &series.waiting].map(|number| number.load(Relaxed))
    };
    assert_eq!((numbers(&one), numbers(&two)), ([2, 0, 0], [0, 2, 0]));
    let log = two.common.share.parts[0].log.load(Relaxed);
    assert_eq!(log, 0, "it has not been looked at since");
    two.look_again();
    two.read().await.unwrap();
    let size: usize = engine.logs.borrow()[0].iter().map(|entry| entry.batch.len()).sum();
    assert_eq!(two.series().log.load(Relaxed), size as u64);
}

#[tokio::test]
async fn what_may_be_lost_is_sent_again_and_counted_once() {
    let engine = StandIn::new(1);
    let (mut one, mut two) = (Node::new(&engine, 1), Node::new(&engine, 2));
    one.read().await.unwrap();
    one.announce(1, Event::Started);
    one.announce(1, Event::Completed);
    engine.loses_answer.set(true);
    one.send().await.unwrap_err();
    assert!(!one.series().is_connected());
    assert_eq!(one.send().await, Ok(Sent::Nothing), "before the log has been read again");
    // Nobody has lost it, and it is seen.
    one.read().await.unwrap();
    assert_eq!(one.send().await, Ok(Sent::Nothing));
    assert!(one.series().is_connected());
    two.read().await.unwrap();
    assert!(one.knows(0, 1, 1) && two.knows(0, 1, 1), "{:?}", two.counts());
    // An engine that takes nothing.
    *engine.failing.borrow_mut() = Some("OOM command not allowed");
    one.announce(2, Event::Started);
    one.send().await.unwrap_err();
    one.read().await.unwrap_err();
    let off = one.common.share.cut_off().unwrap();
    assert_eq!((&*off.reason, off.parts), ("OOM command not allowed", vec![0]));
    *engine.failing.borrow_mut() = None;
    one.read().await.unwrap();
    while one.send().await.unwrap() != Sent::Nothing {}
    two.read().await.unwrap();
    assert!(two.knows(1, 1, 1), "{:?}", two.counts());
    assert!(one.series().is_connected() && one.series().again.load(Relaxed) > 0);
}

#[tokio::test]
async fn a_log_that_has_lost_its_end_is_read_again_from_there() {
    let engine = StandIn::new(1);
    let mut nodes = [1, 2].map(|number| Node::new(&engine, number));
    for node in &mut nodes {
        node.read().await.unwrap();
    }
    let [one, two] = &mut nodes;
    engine.pass(60_000);
    one.announce(1, Event::Started);
    one.send().await.unwrap();
    one.read().await.unwrap();
    two.read().await.unwrap();
    // A replica takes over, which lacks the last entry, and whose clock is behind.
    engine.logs.borrow_mut()[0].clear();
    engine.now.set(engine.now.get() - 30_000);
    two.announce(2, Event::Started);
    two.send().await.unwrap();
    one.read().await.unwrap();
    assert!(one.knows(1, 0, 0), "it does not look there");
    for node in [&mut *one, &mut *two] {
        node.look_again();
        node.read().await.unwrap();
    }
    assert!(one.knows(2, 0, 0), "{:?}", one.counts());
    // What was lost is sent again, for those who have not read it.
    assert_eq!(one.send().await, Ok(Sent::Much));
    let mut three = Node::new(&engine, 3);
    three.read().await.unwrap();
    assert!(three.knows(2, 0, 0), "{:?}", three.counts());
}

#[tokio::test]
async fn what_the_log_still_has_after_a_failure_is_not_sent_again() {
    let engine = StandIn::new(1);
    let (mut one, mut two) = (Node::new(&engine, 1), Node::new(&engine, 2));
    one.announce(1, Event::Started);
    for node in [&mut one, &mut two] {
        node.read().await.unwrap();
    }
    one.send().await.unwrap();
    for node in [&mut one, &mut two] {
        node.read().await.unwrap();
    }
    *engine.failing.borrow_mut() = Some("timed out");
    one.read().await.unwrap_err();
    two.announce(1, Event::Stopped);
    *engine.failing.borrow_mut() = None;
    one.read().await.unwrap();
    assert_eq!(one.send().await, Ok(Sent::Nothing));
    two.send().await.unwrap();
    for node in [&mut one, &mut two] {
        node.read().await.unwrap();
        assert!(!node.knows(1, 0, 0), "{:?}", node.counts());
    }
}

#[tokio::test]
async fn a_long_log_is_read_in_steps() {
    let engine = StandIn::new(1);
    let mut one = Node::new(&engine, 1);
    one.read().await.unwrap();
    for port in 1..=100 {
        one.announce(port, Event::Started);
        one.send().await.unwrap();
        one.read().await.unwrap();
    }
    let mut two = Node::new(&engine, 2);
    assert_eq!(two.runner.read_next(&mut two.position).await, Ok(false));
    assert!(two.knows(64, 0, 0) && !two.series().is_connected());
    assert_eq!(two.runner.read_next(&mut two.position).await, Ok(true));
    assert!(two.knows(100, 0, 0) && two.series().is_connected());
}

#[tokio::test]
async fn a_start_reads_what_its_snapshot_lacks() {
    let engine = StandIn::new(1);
    let mut one = Node::new(&engine, 1);
    one.read().await.unwrap();
    for port in 1..=3 {
        one.announce(port, Event::Started);
        one.send().await.unwrap();
        one.read().await.unwrap();
        engine.pass(20 * 60_000);
    }
    let mut plain = Node::new(&engine, 2);
    plain.read().await.unwrap();
    assert!(plain.knows(2, 0, 0), "the first one has expired: {:?}", plain.counts());
    let mut restored = Node::restored(&engine, 3, Some(Instant::now()));
    restored.read().await.unwrap();
    assert_eq!(restored.counts(), None);
}

#[tokio::test]
async fn entries_that_are_none_are_counted() {
    let engine = StandIn::new(1);
    let mut one = Node::new(&engine, 1);
    for (at, batch) in [&b""[..], &[9; 40], &[0; 70_000]].into_iter().enumerate() {
        let id = EntryId { milliseconds: engine.now.get(), number: at as u64 };
        engine.logs.borrow_mut()[0].push(Entry { id, batch: batch.to_vec() });
    }
    one.read().await.unwrap();
    assert!(one.series().is_connected() && one.counts().is_none());
    assert_eq!(one.series().applied.load(Relaxed), 0);
}

#[tokio::test]
async fn behind_a_closed_gate_nothing_is_asked() {
    let engine = StandIn::new(1);
    let mut one = Node::new(&engine, 1);
    one.common.gate.refuse("the log has 8 parts".to_owned());
    one.announce(1, Event::Started);
    assert_eq!(one.send().await, Ok(Sent::Nothing));
    one.read().await.unwrap();
    assert_eq!(engine.requests.get(), 0);
    one.common.gate.open();
    one.read().await.unwrap();
    assert_eq!(one.send().await, Ok(Sent::Little));
}

#[tokio::test]
async fn a_connection_without_success_is_renewed() {
    let engine = StandIn::new(1);
    let mut one = Node::new(&engine, 1);
    one.read().await.unwrap();
    *engine.failing.borrow_mut() = Some("timed out");
    one.read().await.unwrap_err();
    assert_eq!(engine.renewed.get(), 0);
    let Some(earlier) = Instant::now().checked_sub(SILENCE) else { return };
    one.runner.succeeded.set(earlier);
    one.read().await.unwrap_err();
    assert_eq!(engine.renewed.get(), 1);
}

#[tokio::test]
async fn a_sender_ends_when_all_has_come_back() {
    let engine = StandIn::new(1);
    let mut one = Node::new(&engine, 1);
    one.read().await.unwrap();
    one.announce(1, Event::Started);
    one.runner.end();
    let Node { runner, position, .. } = &mut one;
    let read = async {
        loop {
            let _ = runner.read_next(position).await;
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = runner.send() => {}
        () = read => {}
    }
    assert_eq!(engine.logs.borrow()[0].len(), 1);
}
