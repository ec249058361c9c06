//! Tests of writing and restoring together.

use std::io::{Cursor, ErrorKind, Write};

use karuta_bittorrent::{Event, InfoHash, PeerId, Peers};
use karuta_swarm::{
    Codec, Memory, Options, Piece, Restored, Role, SavedPeer, Seconds, Store, Totals, Update,
};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use super::read::Unreadable;
use super::restore::Outcome;
use super::*;
use crate::policy::Kept;

const OPTIONS: Options = Options {
    lifetime: 1000,
    keep_downloads: 5000,
    keep_peer_ids: true,
    echo_lone_peer: false,
    max_torrents: 0,
    max_peers_per_torrent: 0,
    max_peers_per_address: 0,
    shards: 8,
};

/// Swarms of 1 to 5 peers of both families, at 500, and a torrent without peers.
fn store() -> Memory {
    let store = Memory::new(OPTIONS);
    let mut rng = SmallRng::seed_from_u64(1);
    let mut announce = |update: &Update| {
        store.announce(update, &mut rng, &mut Peers::default()).unwrap();
    };
    for torrent in 0..6_u8 {
        for number in 0..=torrent % 5 {
            let peer = match number % 2 {
                0 => ([10, 0, torrent, number], 6881).into(),
                _ => ([0x2001, 0xdb8, 0, 0, 0, 0, u16::from(torrent), u16::from(number)], 6881)
                    .into(),
            };
            let known = Update {
                info_hash: InfoHash([torrent; 20]),
                peer,
                peer_id: PeerId([number; 20]),
                event: Event::Started,
                seeder: number == 2,
                want: 0,
                only: None,
                locality: None,
                is_hidden: false,
                now: 500,
            };
            announce(&known);
            announce(&Update { event: Event::Completed, ..known });
            if torrent == 5 {
                announce(&Update { event: Event::Stopped, ..known });
            }
        }
    }
    store
}

fn policy() -> Kept {
    Kept::with_records("accounts")
}

fn written(store: &Memory) -> Vec<u8> {
    let about = (OPTIONS.lifetime, OPTIONS.keep_peer_ids, 600);
    write(Vec::new(), store, about, &[policy()]).unwrap().0
}

/// Restores a file `passed` seconds after it was written.
fn restore_at(bytes: &[u8], passed: i64) -> (Memory, Outcome) {
    let created = look(bytes).unwrap().header.created;
    restore(bytes, created.saturating_add_signed(passed * 1000)).unwrap()
}

fn restore(bytes: &[u8], unix_ms: u64) -> Result<(Memory, Outcome), Unreadable> {
    let store = Memory::new(OPTIONS);
    let policies = [Kept::empty("accounts")];
    let restorer = Restorer { store: &store, now: 3, policies: &policies, unix_ms };
    let outcome = restorer.restore(Cursor::new(bytes))?;
    Ok((store, outcome))
}

fn all(store: &Memory) -> (Totals, Vec<Option<karuta_bittorrent::Counts>>) {
    (store.totals(), (0..7).map(|torrent| store.counts(InfoHash([torrent; 20]))).collect())
}

#[test]
fn a_snapshot_restores_everything() {
    let before = store();
    let (bytes, saved) = write(Vec::new(), &before, (1000, true, 600), &[policy()]).unwrap();
    assert_eq!((saved.swarms, saved.peers, saved.bytes), (5, [9, 6], bytes.len() as u64));
    let (after, outcome) = restore_at(&bytes, 0);
    assert_eq!(all(&before), all(&after));
    assert_eq!(outcome.peers, Restored { entered: 15, ..Restored::default() });
    assert_eq!((outcome.records, outcome.left_out), (4, 0));
    let contents = look(&bytes[..]).unwrap();
    assert!(contents.found.is_whole());
    assert_eq!((contents.swarms, contents.peers, contents.deserted), (5, [9, 6], 1));
    assert_eq!(contents.policies, [("accounts".to_owned(), [3, 1])].into());
}

#[test]
fn time_that_has_passed_counts_and_a_clock_that_went_back_does_not() {
    let bytes = written(&store());
    // Its peers are 100 s old at first.
    for (passed, alive) in [(-1_000_000, 15), (0, 15), (900, 15), (901, 0), (1_000_000, 0)] {
        let (after, outcome) = restore_at(&bytes, passed);
        assert_eq!((outcome.peers.entered, outcome.peers.expired), (alive, 15 - alive), "{passed}");
        let silent: Seconds = match passed {
            900 => 1,
            _ => 901,
        };
        while !after.expire(3 + silent) {}
        assert_eq!(after.totals().swarms, 0);
    }
}

#[test]
fn a_policy_that_is_gone_leaves_nothing_behind() {
    let bytes = written(&store());
    let store = Memory::new(OPTIONS);
    let restorer = Restorer { store: &store, now: 0, policies: &[], unix_ms: 0 };
    let outcome = restorer.restore(Cursor::new(bytes)).unwrap();
    assert_eq!((outcome.records, outcome.left_out), (0, 4));
}

/// Asserts that nobody is there who was not, with another count.
fn assert_some_of(after: &Memory, whole: &Memory) {
    let (some, all) = (all(after), all(whole));
    for (some, all) in some.1.iter().zip(&all.1) {
        assert!(some.is_none() || some == all, "{some:?} of {all:?}");
    }
}

#[test]
fn every_flipped_byte_and_every_prefix_is_survived() {
    let before = store();
    let bytes = written(&before);
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        match restore(&flipped, 0) {
            Ok((after, _)) => assert_some_of(&after, &before),
            Err(_) => assert!(at < 64, "byte {at}"),
        }
    }
    for len in 0..bytes.len() {
        match restore(&bytes[..len], 0) {
            Ok((after, outcome)) => {
                assert!(!outcome.contents.found.ended || len > bytes.len() - 512);
                assert_some_of(&after, &before);
            }
            Err(_) => assert!(len < 64, "{len} bytes"),
        }
    }
}

/// Writes one block of this kind into a file with these flags.
fn with_block(kind: (u16, bool), payload: &[u8], flags: u32) -> Vec<u8> {
    let header = karuta_blocks::Header {
        magic: MAGIC,
        format: FORMAT,
        flags,
        created: 0,
        parameter: 1000,
        file_id: [1; 16],
        writer: [0; 16],
    };
    let mut writer = karuta_blocks::Writer::create(Vec::new(), &header).unwrap();
    writer.append(SWARMS, Codec::ROOM, |_, block| codec_piece(block)).unwrap();
    writer.append(kind, payload.len(), |_, block| block.extend_from_slice(payload)).unwrap();
    writer.end(&[]).unwrap().0
}

fn codec_piece(block: &mut Vec<u8>) {
    let address = "1.2.3.4:5".parse().unwrap();
    let (role, peer_id) = (Role::Seeder, PeerId([0; 20]));
    let peer = SavedPeer { address, role, age: 1, downloaded: false, is_hidden: false, peer_id };
    let mut piece = Piece { peers: vec![peer], ..Piece::default() };
    Codec::new(1000, false).write(&mut piece, block);
}

#[test]
fn what_a_newer_program_writes_is_skipped_unless_it_is_essential() {
    let (after, outcome) = restore_at(&with_block((77, false), b"new", 0), 0);
    assert_eq!((after.totals().swarms, outcome.contents.found.unknown), (1, 1));
    let refused = |bytes: &[u8]| {
        let store = Memory::new(OPTIONS);
        let restorer = Restorer { store: &store, now: 0, policies: &[], unix_ms: 0 };
        let error = restorer.restore(Cursor::new(bytes)).unwrap_err();
        assert_eq!(store.totals(), Totals::default(), "nothing was entered");
        error.to_string()
    };
    let essential = refused(&with_block((77, true), b"new", 0));
    assert_eq!(essential, "a newer program wrote it: unknown blocks of kind 77");
    let flags = refused(&with_block((77, false), b"new", 4));
    assert_eq!(flags, "a newer program wrote it: unknown flags 0x4");
}

#[test]
fn whole_blocks_of_nonsense_are_counted() {
    for kind in [SWARMS, DESERTED, KEY_VALUES, LEDGER] {
        let (after, outcome) = restore_at(&with_block(kind, &[255; 70], 0), 0);
        assert_eq!(outcome.contents.found.malformed, 1, "{kind:?}");
        assert!(!outcome.contents.found.is_whole());
        assert_eq!(after.totals().swarms, 1);
    }
}

#[test]
fn a_disk_that_is_full_is_an_error() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let some = bytes.len().min(self.0);
            self.0 -= some;
            if some > 0 { Ok(some) } else { Err(ErrorKind::StorageFull.into()) }
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let store = store();
    let whole = written(&store).len();
    for room in [0, 100, 512, whole - 1] {
        let done = write(Full(room), &store, (1000, true, 600), &[policy()]);
        assert_eq!(done.err().map(|error| error.kind()), Some(ErrorKind::StorageFull));
    }
    assert!(write(Full(whole), &store, (1000, true, 600), &[policy()]).is_ok());
}

mod folder {
    use std::fs;

    use super::*;
    use crate::state_dir::StateDir;

    fn open(keep: &tempfile::TempDir) -> Result<Folder, Unavailable> {
        Folder::lock(StateDir::open(Some(&keep.path().join("swarms")))?)
    }

    #[test]
    fn the_second_process_is_told_who_is_the_first() {
        let keep = tempfile::tempdir().unwrap();
        let first = open(&keep).unwrap();
        let second = open(&keep).err().unwrap().to_string();
        let id = format!("in use by the tracker with process id {}", std::process::id());
        assert!(second.ends_with(&id), "{second}");
        drop(first);
        assert!(open(&keep).is_ok());
    }

    #[test]
    fn a_whole_snapshot_is_there_at_any_moment() {
        let keep = tempfile::tempdir().unwrap();
        let folder = open(&keep).unwrap();
        let content = || {
            let mut content = String::new();
            let file = folder.open().unwrap();
            std::io::Read::read_to_string(&mut file?, &mut content).unwrap();
            Some(content)
        };
        assert_eq!(content(), None);
        for number in 0..3 {
            let mut next = folder.begin().unwrap();
            next.write_all(format!("{number}").as_bytes()).unwrap();
            assert_eq!(content(), (number > 0).then(|| format!("{}", number - 1)));
            folder.finish(next).unwrap();
            assert_eq!(content(), Some(format!("{number}")));
        }
        // As if it had ended between the renames, and while it wrote.
        fs::remove_file(folder.path().join("current")).unwrap();
        assert_eq!(content().as_deref(), Some("1"));
        fs::write(folder.path().join("next"), "half").unwrap();
        folder.finish(folder.begin().unwrap()).unwrap();
        assert_eq!(content().as_deref(), Some(""));
    }

    #[test]
    fn too_little_space_is_noticed_before() {
        let keep = tempfile::tempdir().unwrap();
        let folder = open(&keep).unwrap();
        // It takes no space.
        let large = fs::File::create(folder.path().join("current")).unwrap();
        large.set_len(1 << 43).unwrap();
        let error = folder.begin().err().unwrap();
        assert_eq!(error.kind(), ErrorKind::StorageFull);
        assert!(!folder.path().join("next").exists());
    }

    #[test]
    fn what_others_can_write_is_not_read() {
        use std::os::unix::fs::PermissionsExt;
        let keep = tempfile::tempdir().unwrap();
        let folder = open(&keep).unwrap();
        folder.finish(folder.begin().unwrap()).unwrap();
        let path = folder.path().join("current");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(folder.open().err().unwrap(), "the file is writable by other users");
        let name = folder.set_aside().unwrap();
        assert!(name.starts_with("current.unreadable-"));
        assert!(folder.path().join(name).exists() && folder.open().unwrap().is_none());
    }
}
