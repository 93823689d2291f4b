//! Histories of many pages: every hold is what the rules say, whether its entries are in one page or in several, and whether it has a row.

use billing::account::{Hold, HoldStatus};
use billing::{Command, Seq, Time};
use scrip::store::committer::Post;
use scrip::store::queries::EntryFilter;
use scrip::store::{Store, page};

use super::history::{self, History};
use super::lists;
use crate::chance::{Chance, asked_for};
use crate::sample::{self, START};
use crate::temp::{self, Directory};

const ROUNDS: usize = 6;
const MOST_ROUNDS: usize = 40;
const COMMANDS: i64 = 500;
/// Holds that end after other commands, in a later page.
const LASTING: usize = 400;

#[tokio::test]
async fn holds_are_found_in_whatever_pages_they_are() {
    let seed = asked_for("SCRIP_SEED", 20_270_131);
    let (mut chance, mut now) = (Chance::new(seed), START);
    let mut directory = Directory::new("pages");
    let mut store = Store::open(&directory.place(), Some(now)).expect("a new directory opens");
    let workspace = sample::workspace(&store, None).await;
    let mut history = History::new(workspace, Chance::new(seed));
    let mut spread = 0;
    for round in 0..MOST_ROUNDS {
        // In quiet moments everything is written, and the hold then has a row: on a slow machine it takes some rounds more.
        if round >= ROUNDS && spread > 0 {
            break;
        }
        let before = history.entries();
        let lasting = Command::Hold(sample::hold("work", 1, 0, 600_000));
        tell(&store, &mut history, vec![lasting; LASTING], now).await;
        now = if chance.once_in(2) { history::later(now, &mut chance) } else { Time(now.0 + 1) };
        store.advance_clock(now).await.expect("the clock is stored");
        let posts = (0..chance.within(1, COMMANDS)).map(|_| history.next_post(now)).collect();
        post(&store, &mut history, posts, now).await;
        let open =
            history.account.holds.range(Seq(before)..).map(|hold| hold.1).filter(|hold| hold.is_open());
        let mut open: Vec<Seq> = open.map(|hold| hold.id).collect();
        open.retain(|_| !chance.once_in(20));
        let ends = open.iter().map(|hold| match hold.0 % 3 {
            0 => Command::Release(*hold),
            _ => Command::Settle { hold: *hold, quantity: 1, attempted: None },
        });
        tell(&store, &mut history, ends.collect(), now).await;
        open.retain(|_| chance.once_in(10));
        let refunds = open.iter().map(|hold| Command::Refund { hold: *hold, quantity: None });
        tell(&store, &mut history, refunds.collect(), now).await;
        if round % 2 == 1 {
            super::crash(&mut store, &mut directory, history.entries()).await;
        }
        agree(&store, &history, &mut chance).await;
        spread += spread_without_a_row(&store, &history, &directory).await;
        directory.prove(&format!("seed {seed}, round {round}"));
    }
    println!(
        "pages: seed {seed}, {} entries, {spread} times a hold in several pages had no row",
        history.entries()
    );
    assert!(spread > 0, "holds without a row are in one page each");
    store = super::reopen(store, &directory).await;
    agree(&store, &history, &mut chance).await;
    lists::agree(&store, workspace, &mut chance).await;
    temp::close(store).await;
}

async fn tell(store: &Store, history: &mut History, commands: Vec<Command>, now: Time) {
    let workspace = history.workspace;
    let posts = commands.into_iter().map(|command| Post::new(workspace, command, "key_1"));
    post(store, history, posts.collect(), now).await;
}

async fn post(store: &Store, history: &mut History, posts: Vec<Post>, now: Time) {
    let answers = store.post_all(posts.clone()).await;
    for (post, answer) in posts.iter().zip(answers) {
        history.compare(post, answer, now);
    }
}

/// Each hold alone, and lists of them.
async fn agree(store: &Store, history: &History, chance: &mut Chance) {
    let (workspace, known) = (history.workspace, &history.account.holds);
    let balance = store.balance(workspace).await.expect("a balance");
    history.agrees(balance.available, balance.held, balance.debt);
    for hold in known.values() {
        assert_eq!(store.hold(workspace, hold.id).await.expect("a hold"), *hold);
    }
    for status in [None, Some(HoldStatus::Open), Some(HoldStatus::Settled), Some(HoldStatus::Released)] {
        let before = chance.once_in(2).then(|| chance.within(1, history.entries()));
        let limit = chance.within(1, 900);
        let fits = |hold: &&Hold| {
            before.is_none_or(|before| hold.id.0 < before)
                && status.is_none_or(|status| hold.status == status)
        };
        let expected: Vec<Hold> = known.values().rev().filter(fits).take(limit as usize).cloned().collect();
        let found = store.holds(workspace, status.map(|status| status as i64), before, limit).await;
        assert_eq!(found.expect("holds"), expected, "{status:?} before {before:?}, at most {limit}");
    }
}

/// How many holds have entries in several pages, and no row.
async fn spread_without_a_row(store: &Store, history: &History, directory: &Directory) -> i64 {
    let workspace = history.workspace;
    let every = EntryFilter { kinds: (0..=12).collect(), ascending: true, ..EntryFilter::default() };
    let entries = store.entries(workspace, every, i64::MAX).await.expect("entries");
    let page_of = |seq: i64| (seq - 1) / page::ENTRIES;
    let mut ids: Vec<i64> = entries
        .iter()
        .filter_map(|recorded| Some((recorded.entry.hold?.0, recorded.entry.seq.0)))
        .filter(|(id, seq)| page_of(*id) != page_of(*seq))
        .map(|(id, _)| id)
        .collect();
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return 0;
    }
    let list: Vec<String> = ids.iter().map(i64::to_string).collect();
    let rows =
        format!("select count(*) from hold where workspace = {workspace} and id in ({})", list.join(","));
    ids.len() as i64 - directory.number(&rows)
}

/// A price list may have any number of operations with names of 64 letters: a page lists as many as were charged in it.
#[tokio::test]
async fn a_page_lists_any_number_of_operations() {
    let (directory, mut chance) = (Directory::new("operations"), Chance::new(1));
    let store = Store::open(&directory.place(), Some(START)).expect("a new directory opens");
    let workspace = sample::workspace(&store, Some(1_000)).await;
    let mut word = || format!("{:016x}", chance.within(0, i64::MAX - 1));
    let names: Vec<String> = (0..400).map(|_| (0..4).map(|_| word()).collect()).collect();
    let charge = |name| Post::new(workspace, Command::Charge(sample::hold(name, 1, 1, 900)), "key_1");
    for answer in store.post_all(names.iter().map(|name| charge(name)).collect()).await {
        answer.expect("lawful");
    }
    for name in names.iter().step_by(40) {
        let filter = EntryFilter { operations: vec![name.clone()], ..EntryFilter::default() };
        assert_eq!(store.entries(workspace, filter, 9).await.expect("entries").len(), 1, "{name}");
    }
    temp::close(store).await;
    directory.prove("at the end");
}
