//! Kills: the day is cut at every single change of a file, and again while the store comes back from it.
//!
//! What is written is seen by the next process although it may not be on the disk, so a kill leaves all changes before it. That
//! is every point in the store at which a process can die, not only those that somebody thought of. `SCRIP_RECOVERY_CUTS` says
//! how often each of them is killed again, and `SCRIP_SEED` where.

use std::collections::BTreeMap;
use std::time::Instant;

use disk::{Disk, Files, Operation};

use crate::chance::{Chance, asked_for};
use crate::proof::prove;
use crate::scenario::{self, Day, Policy};
use crate::temp::{self, Directory};

#[test]
fn a_kill_at_any_change_of_a_file_loses_nothing() {
    let (again, seed) = (asked_for("SCRIP_RECOVERY_CUTS", 1), asked_for("SCRIP_SEED", 20_270_131));
    let started = Instant::now();
    let (day, log) = runtime().block_on(lived());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let failed: Vec<String> = std::thread::scope(|scope| {
        let (day, log) = (&day, &log);
        let part = |first: usize| {
            let mut failed = Vec::new();
            runtime().block_on(kill(day, log, (first, threads), seed, again, &mut failed));
            failed
        };
        let threads: Vec<_> = (0..threads).map(|first| scope.spawn(move || part(first))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    let (mut points, mut before) = (BTreeMap::new(), 0);
    for (step, position) in &day.steps {
        *points.entry(*step).or_insert(0) += position - before;
        before = *position;
    }
    println!("kill: seed {seed}, {} kills, each again {again} times, {:?}", log.len() + 1, started.elapsed());
    println!("kill: {points:?}");
    assert!(failed.is_empty(), "{failed:#?}");
    // The store's own checkpointer may have been there before a checkpoint or a page.
    let wrote = |(step, points): (&&str, &usize)| *points > 0 || ["checkpoint", "pages"].contains(step);
    assert!(points.len() == 13 && points.iter().all(wrote), "a step wrote nothing");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime")
}

async fn lived() -> (Day, Vec<Operation>) {
    let directory = Directory::local("kill");
    let disk = Disk::of(directory.path());
    let (mut day, store) = scenario::live(directory.path(), &disk, Policy::Stop).await;
    temp::close(store.expect("it opens")).await;
    disk.closed();
    day.steps.push(("the end", disk.position()));
    assert!(day.refused == 0 && disk.panics().is_empty(), "nothing fails: {:?}", disk.panics());
    (day, disk.log())
}

/// Kills at every so many changes, beginning with the first.
async fn kill(
    day: &Day,
    log: &[Operation],
    (first, step): (usize, usize),
    seed: u64,
    again: u64,
    failed: &mut Vec<String>,
) {
    let mut files = Files::default();
    for position in 0..=log.len() {
        if position % step == first
            && let Err(why) = recover(day, &files, position, Chance::new(seed + position as u64), again).await
        {
            failed.push(format!("killed at {position}, before {:?}: {why}", log.get(position)));
        }
        if let Some(operation) = log.get(position) {
            files.apply(operation, |_| true);
        }
    }
}

async fn recover(
    day: &Day,
    files: &Files,
    position: usize,
    mut chance: Chance,
    again: u64,
) -> Result<(), String> {
    let (directory, acknowledged) = (Directory::local("killed"), day.by(position));
    let image = files.killed();
    disk::put(directory.path(), &image);
    let disk = Disk::of(directory.path());
    prove(&disk, directory.path(), &acknowledged).await?;
    let log = disk.log();
    for _ in 0..again {
        let mut files = Files::settled(&image);
        let until = chance.within(0, log.len() as i64) as usize;
        log[..until].iter().for_each(|operation| files.apply(operation, |_| true));
        let directory = Directory::local("killed-again");
        disk::put(directory.path(), &files.killed());
        let disk = Disk::of(directory.path());
        let proven = prove(&disk, directory.path(), &acknowledged).await;
        proven.map_err(|why| format!("and again at {until} of {}: {why}", log.len()))?;
    }
    Ok(())
}
