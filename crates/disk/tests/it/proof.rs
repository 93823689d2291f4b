//! What was acknowledged, and the proof that it is in a directory.

use std::collections::BTreeMap;
use std::path::Path;

use billing::Entry;
use disk::Disk;
use rusqlite::{Connection, OptionalExtension, params};
use scrip::audit::audit;
use scrip::store::committer::{Answer, Post};
use scrip::store::page::Run;
use scrip::store::{Place, Store, database_file};

use crate::sample::START;
use crate::temp;

/// A promise, and how long the recording was when the client had it.
pub struct Acknowledged {
    pub position: usize,
    pub what: What,
}

/// What was promised.
pub enum What {
    /// A workspace is there.
    Workspace(i64),
    /// An entry is there, and answers this post again.
    Entry { workspace: i64, entry: Box<Entry>, post: Option<Box<Post>> },
    /// A top-up was paid.
    Paid { workspace: i64, topup: i64 },
    /// A piece of a campaign was sent.
    Sent { workspace: i64, job: i64 },
}

impl What {
    /// The entry that answered a post, unless an earlier one did.
    pub fn entry(post: &Post, answer: &Answer) -> Option<What> {
        let recorded = answer.entry.as_ref().filter(|_| !answer.replayed)?;
        let entry = Box::new(recorded.entry.clone());
        let again = post.key.is_some().then(|| Box::new(post.clone()));
        Some(What::Entry { workspace: post.workspace, entry, post: again })
    }
}

/// The last entry of each workspace, and what is available, held and owed after it.
pub type Stands = BTreeMap<i64, (i64, [i64; 3])>;

/// Opens a directory as a server does after a crash, and answers how its accounts stand, or what is wrong.
pub async fn prove(disk: &Disk, directory: &Path, acknowledged: &[&What]) -> Result<Stands, String> {
    let store = Store::open(&Place::Directory(directory.to_owned()), Some(START))
        .map_err(|why| format!("it does not open: {why}"))?;
    let answered = ask(&store, acknowledged).await;
    temp::close(store).await;
    disk.closed();
    answered?;
    let file = database_file(directory);
    let stands = read(&file, acknowledged)?;
    let report = audit(&Place::Directory(directory.to_owned()))
        .map_err(|why| format!("it cannot be audited: {why}"))?;
    if !report.clean {
        return Err(format!("the audit found {:?}", report.broken));
    }
    match disk.panics().first() {
        Some(panic) => Err(format!("a thread panicked: {panic}")),
        None => Ok(stands),
    }
}

/// The client asks again: each key has its first answer.
async fn ask(store: &Store, acknowledged: &[&What]) -> Result<(), String> {
    let mut keyed = Vec::new();
    for what in acknowledged {
        if let What::Entry { entry, post: Some(post), .. } = what {
            keyed.push((Post::clone(post), entry.seq));
        }
    }
    let posts = keyed.iter().map(|(post, _)| post.clone()).collect();
    for ((post, seq), answer) in keyed.iter().zip(store.post_all(posts).await) {
        let answer = answer.map_err(|error| format!("{:?} is answered {error}", post.key))?;
        let first = answer.entry.as_ref().is_some_and(|recorded| recorded.entry.seq == *seq);
        if !answer.replayed || !first {
            let now = answer.entry.as_ref().map(|recorded| recorded.entry.seq);
            return Err(format!("{:?} answered with entry {seq:?} and now with {now:?}", post.key));
        }
    }
    for workspace in store.workspace_ids().await.map_err(|error| error.to_string())? {
        store.balance(workspace).await.map_err(|error| format!("no balance: {error}"))?;
    }
    Ok(())
}

/// Reads the rows themselves.
fn read(file: &Path, acknowledged: &[&What]) -> Result<Stands, String> {
    let connection = Connection::open(file).map_err(|error| error.to_string())?;
    for what in acknowledged {
        present(&connection, what).map_err(|error| error.to_string())??;
    }
    let accounts = "select workspace, seq, available, held, debt from account";
    let mut accounts = connection.prepare(accounts).map_err(|error| error.to_string())?;
    let rows = accounts
        .query_map([], |row| Ok((row.get(0)?, (row.get(1)?, [row.get(2)?, row.get(3)?, row.get(4)?]))));
    rows.and_then(Iterator::collect).map_err(|error| error.to_string())
}

fn present(connection: &Connection, what: &What) -> rusqlite::Result<Result<(), String>> {
    let count = |sql: &str, workspace: i64, id: i64| {
        connection.query_row(sql, params![workspace, id], |row| row.get::<_, i64>(0))
    };
    let (found, lost) = match what {
        What::Workspace(id) => {
            let is_one = "select count(*) from workspace where workspace = ?1 and workspace = ?2";
            (count(is_one, *id, *id)? == 1, format!("workspace {id} is gone"))
        }
        What::Entry { workspace, entry, .. } => {
            let seq = entry.seq.0;
            let page =
                "select entries, notes from page where workspace = ?1 and seq >= ?2 and first_seq <= ?2";
            let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            let page: Option<(Vec<u8>, Vec<u8>)> =
                connection.query_row(page, params![workspace, seq], read).optional()?;
            let found = page.and_then(|(entries, notes)| Run::new(&entries, &notes).find(entry.seq).ok()?);
            let is_same = found.as_ref().is_some_and(|found| found.entry == **entry);
            (is_same, format!("entry {seq} of {workspace} is lost: {found:?}"))
        }
        What::Paid { workspace, topup } => {
            let paid = "select count(*) from payment where workspace = ?1 and id = ?2 and status = 1";
            (count(paid, *workspace, *topup)? == 1, format!("top-up {topup} was paid"))
        }
        What::Sent { workspace, job } => {
            let sent = "select count(*) from step_result where workspace = ?1 and job = ?2";
            (count(sent, *workspace, *job)? == 1, format!("the piece of {job} was sent"))
        }
    };
    Ok(if found { Ok(()) } else { Err(lost) })
}
