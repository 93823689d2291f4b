//! Keys wherever they are: new, being written, in segments, after a crash and beside what is being written.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::super::sqlite::writing::Writing;
use super::super::sqlite::{self, in_memory};
use super::super::syncer::Syncer;
use super::*;

fn key(number: usize) -> Key {
    Key { kind: KeyKind::Hold, key: format!("key {number}").into(), fingerprint: [number as u8; 16] }
}

fn named(number: usize) -> Named {
    Named::new(7, KeyKind::Hold, &key(number).key)
}

fn add(keys: &mut Keys, number: usize) {
    keys.add(named(number), (key(number).fingerprint, Seq(number as i64)));
}

fn found(keys: &Keys, tx: &Tx<'_>, range: std::ops::Range<usize>) -> Vec<usize> {
    let find = |number: &usize| {
        let found = keys.find(tx, &named(*number)).expect("a look-up");
        assert!(found.is_none_or(|made| made == ([*number as u8; 16], Seq(*number as i64))));
        found.is_some()
    };
    range.filter(find).collect()
}

/// Segments of 100 keys, 60 keys a batch: whatever is written, being written or new is found, and nothing else is; and
/// after a crash, with what the journal still has.
#[test]
fn keys_are_found_whatever_segment_they_are_in() {
    let connection = in_memory();
    let tx = Tx::Sqlite(&connection);
    let mut keys = Keys::load(&tx, 0, 0, 100).expect("no keys");
    let (mut rows, mut skipped) = (Vec::new(), 0);
    for batch in 0..20 {
        let (first, next) = (batch * 60, batch * 60 + 60);
        (first..next).for_each(|number| add(&mut keys, number));
        // In this journal a row's id is how many keys there are at its end.
        let sealed = keys.seal(&tx, 60, (first as i64, next as i64)).expect("written");
        rows.push((first..next, sealed));
        assert_eq!(found(&keys, &tx, 0..next + 50), (0..next).collect::<Vec<_>>());
        let dropped = keys.unneeded();
        assert!(next as i64 - dropped < 300, "batch {batch}: the journal begins after {dropped}");
        // After a crash, and on another node, the rows that are left say it again, with the keys of finished segments or not:
        // some rows stay for the sake of entries.
        let stay = (dropped - 300).max(0);
        let left = || rows.iter().filter(|(keys, _)| keys.end as i64 > stay);
        let said = |skipped: bool| {
            let mut again = Keys::load(&tx, 0, stay, 100).expect("filters");
            let in_segments = again.in_segments(left().map(|(keys, sealed)| (keys.end as i64, sealed)));
            for (keys, sealed) in left() {
                if !skipped || keys.end as i64 > in_segments {
                    keys.clone().for_each(|number| add(&mut again, number));
                }
                again.follow(sealed, (keys.start as i64, keys.end as i64));
            }
            assert_eq!(found(&again, &tx, 0..next + 50), (0..next).collect::<Vec<_>>());
            assert_eq!((&again.young, &again.sealing), (&keys.young, &keys.sealing), "batch {batch}");
            assert_eq!(
                (again.unneeded(), again.filters.count()),
                (dropped, keys.filters.count()),
                "batch {batch}"
            );
            (again, in_segments > stay)
        };
        said(false);
        let (again, some) = said(true);
        skipped += usize::from(some);
        if batch % 3 == 0 {
            keys = again;
        }
    }
    assert!(keys.filters.count() >= 8, "{} segments", keys.filters.count());
    assert!(skipped > 0, "no key of a finished segment was in the journal");
    for other in [Named::new(8, KeyKind::Hold, &key(3).key), Named::new(7, KeyKind::Charge, &key(3).key)] {
        assert_eq!(keys.find(&tx, &other).expect("a look-up"), None);
    }
}

/// Beside a file that somebody writes, the keys of finished segments are found all the same.
#[test]
fn keys_of_finished_segments_are_found_while_the_file_is_written() {
    let directory = std::env::temp_dir().join(format!("scrip-keys-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let file = directory.join("keys.db");
    let (connection, _) = sqlite::open(&file, None).expect("a file");
    let (aside, log) = (sqlite::reader(&file).expect("a reader"), sqlite::log_file(&file).expect("a log"));
    let syncer = Syncer::new(log, Arc::default(), Arc::new(watch::channel(false).0));
    let (queue, _requests) = mpsc::channel(1);
    let writing = Writing::start(connection, aside, syncer.into(), Arc::default(), queue.downgrade());
    let writing = writing.expect("a writer");
    let tx = Tx::Writing(&writing);
    let mut keys = Keys::load(&tx, 0, 0, 100).expect("no keys");
    for batch in 0..10_i64 {
        let (first, next) = (batch as usize * 60, batch as usize * 60 + 60);
        (first..next).for_each(|number| add(&mut keys, number));
        keys.seal(&tx, 60, (first as i64, next as i64)).expect("written");
        assert_eq!(found(&keys, &tx, 0..next + 50), (0..next).collect::<Vec<_>>());
        writing.commit().expect("committed");
        writing.begin().expect("begun");
    }
    let finished = 300;
    let other = sqlite::open(&file, None).expect("the file").0;
    other.execute_batch("begin immediate").expect("somebody writes");
    assert_eq!(found(&keys, &tx, 0..finished), (0..finished).collect::<Vec<_>>());
    std::fs::remove_dir_all(&directory).expect("removed");
}
