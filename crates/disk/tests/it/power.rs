//! Power cuts: random histories, cut at random moments, with what was not synced kept, lost, torn or reordered.
//!
//! `SCRIP_POWER_CUTS` says how many images are made and `SCRIP_SEED` which history is the first; a failing image is kept, and
//! printed with its seed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use disk::{Disk, Files, Operation};
use scrip::store::committer::Post;
use scrip::store::{Place, Store};

use crate::chance::{Chance, asked_for};
use crate::history::{self, History};
use crate::proof::{Acknowledged, Stands, What, prove};
use crate::sample::{self, START};
use crate::scenario::checkpoint;
use crate::temp::{self, Directory};

const WORKSPACES: u64 = 4;
const COMMANDS: usize = 25;
/// One history in so many is longer, and so little looked at that the store must write its rows by itself.
const LONG: i64 = 8;
const LONG_COMMANDS: usize = 200;
/// How many images one history gives.
const IMAGES: u64 = 20;

/// A history that was lived through, and how its accounts stood after each post.
struct Life {
    log: Vec<Operation>,
    /// Where the recording stood when the first workspace was there.
    begun: usize,
    acknowledged: Vec<Acknowledged>,
    stands: BTreeMap<i64, BTreeMap<i64, [i64; 3]>>,
}

/// Which syncs of a disk are what they say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Honest {
    All,
    /// It forgets those of the log.
    NotLog,
    /// It forgets those of the database.
    NotDatabase,
}

#[derive(Default)]
struct Outcome {
    images: u64,
    twice: u64,
    acknowledged: usize,
    failed: Vec<String>,
}

#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let (count, seed) = (asked_for("SCRIP_POWER_CUTS", 500), asked_for("SCRIP_SEED", 20_270_131));
    let started = Instant::now();
    let outcome = lives(seed, count, Honest::All);
    println!(
        "power: seed {seed}, {} images, {} of them cut again while they recovered, {} acknowledgements proven, {:?}",
        outcome.images,
        outcome.twice,
        outcome.acknowledged,
        started.elapsed()
    );
    assert!(outcome.failed.is_empty(), "{:#?}", outcome.failed);
    assert!(outcome.acknowledged as u64 > outcome.images, "next to nothing was proven");
}

/// The proof can fail: on disks that forget a sync it does.
#[test]
fn a_disk_that_forgets_syncs_is_caught() {
    let seed = asked_for("SCRIP_SEED", 20_270_131);
    for honest in [Honest::NotLog, Honest::NotDatabase] {
        let outcome = lives(seed, 3 * IMAGES, honest);
        let first = outcome.failed.first().map_or("", |why| &why[..why.len().min(300)]);
        println!("power: {honest:?}: {} of {} images fail; {first}", outcome.failed.len(), outcome.images);
        assert!(!outcome.failed.is_empty(), "{honest:?}: nothing was noticed");
    }
}

/// Lives through as many histories as it takes, on every processor.
fn lives(seed: u64, count: u64, honest: Honest) -> Outcome {
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut outcome = Outcome::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        loop {
            let first = next.fetch_add(IMAGES, Ordering::SeqCst);
            if first >= count {
                return outcome;
            }
            runtime.block_on(async {
                let life = live(seed + first).await;
                cut(&life, seed + first, IMAGES.min(count - first), honest, &mut outcome).await;
            });
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut all = Outcome::default();
        for thread in threads {
            let one = thread.join().expect("no panic");
            all.images += one.images;
            all.twice += one.twice;
            all.acknowledged += one.acknowledged;
            all.failed.extend(one.failed);
        }
        all
    })
}

async fn live(seed: u64) -> Life {
    let directory = Directory::local("power");
    let disk = Disk::of(directory.path());
    let mut chance = Chance::new(seed);
    let mut now = START;
    let mut life = Life { log: vec![], begun: 0, acknowledged: vec![], stands: BTreeMap::new() };
    let mut store = Store::open(&Place::Directory(directory.path().to_owned()), Some(now))
        .expect("a new directory opens");
    let mut histories = Vec::new();
    for index in 0..WORKSPACES {
        let workspace = sample::workspace(&store, None).await;
        life.promise(&disk, What::Workspace(workspace));
        life.stands.insert(workspace, BTreeMap::from([(0, [0; 3])]));
        histories.push(History::new(workspace, Chance::new(seed * WORKSPACES + index)));
        life.begun = disk.position();
    }
    let (commands, looks) = if chance.once_in(LONG) { (LONG_COMMANDS, 150) } else { (COMMANDS, 3) };
    for _ in 0..commands {
        now = history::later(now, &mut chance);
        store.advance_clock(now).await.expect("the clock is stored");
        let posts: Vec<Post> = histories.iter_mut().map(|history| history.next_post(now)).collect();
        let one_commit = chance.once_in(2);
        let answers = if one_commit { store.post_all(posts.clone()).await } else { Vec::new() };
        let mut answers = answers.into_iter();
        for (history, post) in histories.iter_mut().zip(&posts) {
            let answer = match answers.next() {
                Some(answer) => answer,
                None => store.post(post.clone()).await,
            };
            let entry = answer.as_ref().ok().and_then(|answer| What::entry(post, answer));
            entry.into_iter().for_each(|what| life.promise(&disk, what));
            history.compare(post, answer, now);
            let (account, stands) = (&history.account, life.stands.get_mut(&history.workspace));
            let stands = stands.expect("its workspace");
            stands.insert(account.seq.0, [account.available, account.held, account.debt]);
        }
        if chance.once_in(3) {
            checkpoint(directory.path()).expect("a checkpoint");
        }
        if chance.once_in(looks) {
            let looked_at = chance.within(0, WORKSPACES as i64 - 1) as usize;
            store.balance(histories[looked_at].workspace).await.expect("a balance");
        }
        if chance.once_in(12) {
            temp::close(store).await;
            disk.closed();
            store = Store::open(&Place::Directory(directory.path().to_owned()), Some(START))
                .expect("it opens again");
        }
    }
    temp::close(store).await;
    disk.closed();
    assert!(disk.panics().is_empty(), "{:?}", disk.panics());
    life.log = disk.log();
    life
}

impl Life {
    fn promise(&mut self, disk: &Disk, what: What) {
        self.acknowledged.push(Acknowledged { position: disk.position(), what });
    }

    /// What was promised when the recording was so long.
    fn by(&self, position: usize) -> Vec<&What> {
        let so_far = self.acknowledged.iter().take_while(|promise| promise.position <= position);
        so_far.map(|promise| &promise.what).collect()
    }

    /// Every account stands as it stood after one of its posts: no post is there by half.
    fn lived(&self, stands: &Stands) -> Result<(), String> {
        for (workspace, (seq, stand)) in stands {
            let lived = self.stands.get(workspace).and_then(|stands| stands.get(seq));
            if lived != Some(stand) {
                return Err(format!("{workspace} stands at {seq} with {stand:?}, it was {lived:?}"));
            }
        }
        Ok(())
    }
}

async fn cut(life: &Life, seed: u64, count: u64, honest: Honest, outcome: &mut Outcome) {
    let mut chance = Chance::new(!seed);
    // A disk that lies is caught by what is lost later; a lie about the first pages leaves no database at all.
    let first = if honest == Honest::All { 0 } else { life.begun };
    let mut cuts: Vec<usize> =
        (0..count).map(|_| chance.within(first as i64, life.log.len() as i64) as usize).collect();
    cuts.sort_unstable();
    let mut files = Files::default();
    let mut done = 0;
    for position in cuts {
        for (index, operation) in life.log.iter().enumerate().take(position).skip(done) {
            files.apply(operation, |file| index < life.begun || honest.keeps(file));
        }
        done = position;
        let directory = Directory::local("cut");
        let failed = recover(life, &files, position, &directory, &mut chance, outcome).await.err();
        outcome.images += 1;
        if let Some(why) = failed {
            let at = format!("seed {seed}, cut {position} of {}: {why}", life.log.len());
            let kept = if honest == Honest::All {
                format!("{at}; kept in {}", directory.path().display())
            } else {
                at
            };
            outcome.failed.push(kept);
            if honest == Honest::All {
                std::mem::forget(directory);
            }
        }
    }
}

/// Goes on with an image; one in four is cut again before it comes to rest.
async fn recover(
    life: &Life,
    files: &Files,
    position: usize,
    directory: &Directory,
    chance: &mut Chance,
    outcome: &mut Outcome,
) -> Result<(), String> {
    let acknowledged = life.by(position);
    let image = files.cut(&mut |below| chance.next() % below);
    disk::put(directory.path(), &image);
    let disk = Disk::of(directory.path());
    life.lived(&prove(&disk, directory.path(), &acknowledged).await?)?;
    outcome.acknowledged += acknowledged.len();
    if chance.once_in(4) {
        let (log, mut files) = (disk.log(), Files::settled(&image));
        let until = chance.within(0, log.len() as i64) as usize;
        log[..until].iter().for_each(|operation| files.apply(operation, |_| true));
        let again = Directory::local("cut-again");
        disk::put(again.path(), &files.cut(&mut |below| chance.next() % below));
        let disk = Disk::of(again.path());
        let proven = prove(&disk, again.path(), &acknowledged).await;
        life.lived(&proven.map_err(|why| format!("cut again at {until}: {why}"))?)?;
        outcome.twice += 1;
    }
    Ok(())
}

impl Honest {
    fn keeps(self, file: &str) -> bool {
        match self {
            Honest::All => true,
            Honest::NotLog => !file.ends_with("-wal"),
            Honest::NotDatabase => file.ends_with("-wal") || file.ends_with("-journal"),
        }
    }
}
