//! An entry of a log that nodes share, damaged in any way or made up.
#![no_main]

use karuta_swarm::{Arrival, Options, Piece, Shared, Sharing, Store};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|entry: &[u8]| {
    let options = Options { keep_peer_ids: true, shards: 2, ..Options::default() };
    let sharing = Sharing { node: 1, parts: 1, queue: 1 << 20 };
    let (store, mut parts) = Shared::sharing(options, sharing);
    let Some(part) = parts.first_mut() else { return };
    let arrival = |age| Arrival { age, now: 5, is_first: true };
    let applied = part.apply(&store, entry, arrival(3));
    // What a node has sent itself and does not know of is set right.
    let more = part.next(&store, 5);
    part.appended(5);
    if let (Ok(applied), Some(more)) = (applied, more) {
        assert!(applied.is_own);
        part.apply(&store, &more, arrival(0)).expect("its own batch");
    }
    assert_eq!(part.next(&store, 5), None);
    // The totals are those of the swarms that are there.
    let totals = store.totals();
    let (mut walk, mut piece) = (Default::default(), Piece::default());
    let mut peers = 0;
    while store.next_piece(&mut walk, 5, &mut piece) {
        peers += piece.peers.len() as u64;
    }
    let all = [totals.ipv4, totals.ipv6].map(|of| of.seeders + of.leechers);
    assert_eq!(peers, all.iter().sum::<u64>());
});
