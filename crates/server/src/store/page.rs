//! Pages: entries of a workspace, as many as were written together, in the bytes that the chain covers, with their free text
//! beside them, from where it can be erased.
//!
//! Owns the rows of `page`; what waits to become some is in `waiting`. It does *not* know what an entry means for an account.
//!
//! Invariant: the pages of a workspace have each of its entries until the account's `seq` once, in order. A hold without a row is
//! what the pages from its own on say, until it has ended.

mod waiting;

use std::collections::BTreeMap;
use std::sync::Arc;

use billing::{Entry, Hold, Labels, Seq, Time};

use super::Error;
use super::canonical::{self, Bytes, put_text};
use super::db::{Row, Tx, Value};
use super::entry::{Note, Recorded};
use crate::values;
pub use waiting::Waiting;

/// How many entries a page has at most. One begins after each entry whose number is a multiple of it.
pub const ENTRIES: i64 = 512;
/// How long the salt of a note is, and how many texts follow it.
const SALT: usize = 16;
const TEXTS: usize = 6;
/// How many pages are read at first, and at most at once: twice as many each time, until enough of what is looked for was found.
const READ: [i64; 2] = [4, 64];

/// Entries one after another, in the form of a page.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    entries: &'a [u8],
    notes: &'a [u8],
}

/// A page as it was read.
#[derive(Debug)]
pub struct Page {
    /// Number of its last entry.
    pub seq: Seq,
    /// Number of its first entry.
    pub first: Seq,
    entries: Vec<u8>,
    notes: Vec<u8>,
}

/// Which pages are read, and in which order.
#[derive(Clone, Debug)]
pub struct Walk {
    /// The workspace.
    pub workspace: i64,
    /// Entries before this one (newest first) or after it (oldest first).
    pub cursor: i64,
    /// Oldest first.
    pub ascending: bool,
    /// No page that ends before this moment, or begins at or after that one.
    pub span: (Option<Time>, Option<Time>),
    /// Only pages with entries that are listed under one of these names; empty: all.
    pub operations: Vec<String>,
}

impl<'a> Run<'a> {
    /// The entries and the notes of a page.
    pub fn new(entries: &'a [u8], notes: &'a [u8]) -> Run<'a> {
        Run { entries, notes }
    }

    /// The bytes of its entries, each with its number.
    fn raw(self) -> impl Iterator<Item = Result<(Seq, &'a [u8]), Error>> {
        let mut bytes = Bytes(self.entries);
        std::iter::from_fn(move || {
            (!bytes.0.is_empty()).then(|| {
                let entry = bytes.blob().and_then(|entry| Some((canonical::seq(entry)?, entry)));
                entry.ok_or_else(unreadable).inspect_err(|_| bytes = Bytes(&[]))
            })
        })
    }

    /// Its entries, oldest first.
    ///
    /// # Errors
    /// When these bytes are no entries.
    pub fn entries(self) -> impl Iterator<Item = Result<Recorded, Error>> {
        let mut notes = Notes(Bytes(self.notes));
        self.raw().map(move |entry| entry.and_then(|(seq, bytes)| recorded(bytes, notes.of(seq))))
    }

    /// One of its entries. The others are passed over unread.
    pub fn find(self, seq: Seq) -> Result<Option<Recorded>, Error> {
        let mut found = self.raw().filter(|entry| entry.as_ref().map_or(true, |(of, _)| *of == seq));
        let Some((_, bytes)) = found.next().transpose()? else { return Ok(None) };
        recorded(bytes, Notes(Bytes(self.notes)).of(seq)).map(Some)
    }

    /// A hold that was made in it, as the entries in it leave it.
    pub fn hold(self, id: Seq) -> Result<Option<Hold>, Error> {
        let mut holds = Holds::new();
        self.follow(&mut holds, |made| made == id)?;
        Ok(holds.remove(&id))
    }

    /// A hold that was made before it, as the entries in it leave it.
    pub fn leave(self, hold: Hold) -> Result<Hold, Error> {
        let mut holds = Holds::from([(hold.id, hold)]);
        self.follow(&mut holds, |_| false)?;
        holds.into_values().next().ok_or_else(unreadable)
    }

    /// Does to holds what its entries did. Those about others are passed over unread.
    fn follow(self, holds: &mut Holds, is_wanted: impl Fn(Seq) -> bool) -> Result<(), Error> {
        let mut notes = Notes(Bytes(self.notes));
        for entry in self.raw() {
            let (seq, bytes) = entry?;
            let about = canonical::hold(bytes).ok_or_else(unreadable)?;
            if about.is_some_and(|id| holds.contains_key(&id) || (id == seq && is_wanted(id))) {
                follow(holds, &recorded(bytes, notes.of(seq))?.entry, &is_wanted);
            }
        }
        Ok(())
    }
}

/// Notes, each after the number of its entry, read in step with the entries.
struct Notes<'a>(Bytes<'a>);

impl Notes<'_> {
    /// The note of an entry; those before it are passed over.
    fn of(&mut self, seq: Seq) -> Option<Note> {
        loop {
            let mut rest = self.0;
            let of = Seq(rest.int()?);
            if of > seq {
                return None;
            }
            if of == seq {
                let note = read_note(&mut rest)?;
                self.0 = rest;
                return Some(note);
            }
            skip_note(&mut rest)?;
            self.0 = rest;
        }
    }
}

/// Holds by the entry that made them.
pub type Holds = BTreeMap<Seq, Hold>;

/// Changes the hold that an entry is about, or adds the one that it makes, if that is wanted.
pub fn follow(holds: &mut Holds, entry: &Entry, is_wanted: impl Fn(Seq) -> bool) {
    if let Some(hold) = entry.hold.and_then(|id| holds.get_mut(&id)) {
        hold.change(entry);
    } else if is_wanted(entry.seq) {
        holds.extend(Hold::made_by(entry).map(|hold| (hold.id, hold)));
    }
}

/// The entry that these bytes are of.
///
/// # Errors
/// When they are of none.
pub fn recorded(bytes: &[u8], note: Option<Note>) -> Result<Recorded, Error> {
    let labels: Arc<Labels> = note.as_ref().map_or_else(Arc::default, |note| note.labels.clone());
    let (entry, actor, _) = canonical::decode(bytes, labels).ok_or_else(unreadable)?;
    Ok(Recorded { entry, actor, note })
}

fn unreadable() -> Error {
    Error::Unavailable("a page of the ledger cannot be read".to_owned())
}

/// Writes a note: its salt and six texts.
pub fn put_note(bytes: &mut Vec<u8>, note: &Note) {
    bytes.extend(note.salt);
    note.texts().into_iter().for_each(|text| put_text(bytes, text));
}

/// Reads a note.
pub fn read_note(bytes: &mut Bytes<'_>) -> Option<Note> {
    let salt = bytes.array()?;
    let mut text = || bytes.text().map(|text| Some(text).filter(|text| !text.is_empty()).map(Arc::from));
    let (campaign, member, channel, reference, lead) = (text()?, text()?, text()?, text()?, text()?);
    let labels = Arc::new(Labels { campaign, member, channel, reference, lead });
    Some(Note { salt, labels, reason: text()? })
}

/// Passes over a note, and answers its bytes.
pub fn skip_note<'a>(bytes: &mut Bytes<'a>) -> Option<&'a [u8]> {
    let begin = bytes.0;
    bytes.array::<SALT>()?;
    (0..TEXTS).try_for_each(|_| bytes.blob().map(drop))?;
    begin.get(..begin.len() - bytes.0.len())
}

/// Operations as a text in which each can be found: one a line, and a line's end before the first.
fn operations_text<'o>(operations: impl Iterator<Item = &'o str>) -> String {
    let mut text = String::new();
    operations.for_each(|operation| text.extend(["\n", operation]));
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

/// Writes pages of one partition.
pub fn insert<'a>(tx: &Tx<'_>, rows: impl Iterator<Item = [Value<'a>; 9]>) -> Result<(), Error> {
    tx.insert_all(
        "insert into page (workspace, seq, first_seq, first_at, last_at, operations, hash, entries, notes)
         values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        rows,
    )
}

const PAGE: &str = "select seq, first_seq, entries, notes from page where workspace = ?1";

fn read(row: &Row<'_>) -> Result<Page, Error> {
    let (seq, first) = (Seq(row.int(0)?), Seq(row.int(1)?));
    Ok(Page { seq, first, entries: row.blob(2)?, notes: row.blob(3)? })
}

impl Page {
    /// Whether an entry of it may have this label: its bytes are somewhere in the notes.
    pub fn may_name(&self, label: &str) -> bool {
        memchr::memmem::find(&self.notes, label.as_bytes()).is_some()
    }

    /// Its entries.
    pub fn run(&self) -> Run<'_> {
        Run { entries: &self.entries, notes: &self.notes }
    }
}

/// Changes holds without a row as the pages after an entry say, until each has ended.
pub fn until_ended(tx: &Tx<'_>, workspace: i64, after: Seq, holds: &mut Holds) -> Result<(), Error> {
    if !holds.values().any(Hold::is_open) {
        return Ok(());
    }
    Walk { cursor: after.0, ..Walk::all(workspace) }.pages(tx, |page| {
        page.run().follow(holds, |_| false)?;
        Ok(holds.values().any(Hold::is_open))
    })
}

/// A hold that has no row.
pub fn hold(tx: &Tx<'_>, workspace: i64, id: Seq) -> Result<Option<Hold>, Error> {
    let Some(page) = with(tx, workspace, id)? else { return Ok(None) };
    let made = page.run().hold(id)?;
    let mut holds: Holds = made.into_iter().map(|hold| (id, hold)).collect();
    until_ended(tx, workspace, page.seq, &mut holds)?;
    Ok(holds.remove(&id))
}

/// The page that an entry is in.
pub fn with(tx: &Tx<'_>, workspace: i64, seq: Seq) -> Result<Option<Page>, Error> {
    let page =
        tx.one(&format!("{PAGE} and seq >= ?2 order by seq limit 1"), values![workspace, seq], read)?;
    Ok(page.filter(|page| page.first <= seq))
}

/// One entry.
pub fn entry(tx: &Tx<'_>, workspace: i64, seq: Seq) -> Result<Option<Recorded>, Error> {
    with(tx, workspace, seq)?.map_or(Ok(None), |page| page.run().find(seq))
}

/// Half of what is left is ruled out at each look, so that no index is kept for it.
const REACHING: &str = "with recursive part (low, high) as (
      select cast(0 as bigint), coalesce((select max(seq) from page where workspace = ?1), -1) + 1
      union all
      select case when p.last_at < ?2 then p.seq + 1 else part.low end,
        case when p.last_at < ?2 then part.high else (part.low + part.high) / 2 end
      from part join page p on p.workspace = ?1
        and p.seq = (select min(seq) from page where workspace = ?1 and seq >= (part.low + part.high) / 2)
      where part.low < part.high)
    select min(seq) from page where workspace = ?1 and seq >= (select max(low) from part)";

/// The first page that ends at a moment or later; `None` when all end before. Time rises with the numbers.
fn reaching(tx: &Tx<'_>, workspace: i64, moment: Time) -> Result<Option<i64>, Error> {
    Ok(tx.one(REACHING, values![workspace, moment], |row| row.opt_int(0))?.flatten())
}

/// The last entry before a moment; 0 for none.
pub fn last_before(tx: &Tx<'_>, workspace: i64, moment: Time) -> Result<Seq, Error> {
    let Some(seq) = reaching(tx, workspace, moment)? else {
        return Ok(Seq(tx.int("select max(seq) from page where workspace = ?1", values![workspace])?));
    };
    let Some(page) = with(tx, workspace, Seq(seq))? else { return Ok(Seq(0)) };
    let mut last = Seq(page.first.0 - 1);
    for recorded in page.run().entries() {
        let entry = recorded?.entry;
        if entry.at < moment {
            last = entry.seq;
        }
    }
    Ok(last)
}

impl Walk {
    /// All of a workspace's entries, oldest first.
    pub fn all(workspace: i64) -> Walk {
        Walk { workspace, cursor: 0, ascending: true, span: (None, None), operations: Vec::new() }
    }

    /// Those from one moment to another.
    pub fn span(workspace: i64, from: Time, to: Time) -> Walk {
        Walk { span: (Some(from), Some(to)), ..Walk::all(workspace) }
    }

    /// The numbers of the first and the last page, both included.
    fn bounds(&self, tx: &Tx<'_>) -> Result<(i64, i64), Error> {
        let at = |moment: Option<Time>| moment.map(|moment| reaching(tx, self.workspace, moment)).transpose();
        let first = match at(self.span.0)? {
            Some(None) => return Ok((1, 0)),
            from => from.flatten().unwrap_or(0),
        };
        let last = at(self.span.1)?.flatten().unwrap_or(i64::MAX);
        if self.ascending {
            return Ok((first.max(self.cursor.saturating_add(1)), last));
        }
        let before = "select min(seq) from page where workspace = ?1 and seq >= ?2";
        let before =
            tx.one(before, values![self.workspace, self.cursor.saturating_sub(1)], |row| row.opt_int(0))?;
        Ok((first, last.min(before.flatten().unwrap_or(i64::MAX))))
    }

    /// Reads page after page until `each` has enough, which it says by answering `false`.
    pub fn pages(self, tx: &Tx<'_>, mut each: impl FnMut(&Page) -> Result<bool, Error>) -> Result<(), Error> {
        let (mut first, mut last) = self.bounds(tx)?;
        let [mut count, most] = READ;
        let names: Vec<String> =
            self.operations.iter().map(|name| operations_text(std::iter::once(name.as_str()))).collect();
        let listed: Vec<String> =
            (5..names.len() + 5).map(|number| format!("operations like '%' || ?{number} || '%'")).collect();
        let listed = if listed.is_empty() { String::new() } else { format!("and ({})", listed.join(" or ")) };
        let order = if self.ascending { "asc" } else { "desc" };
        let sql = format!("{PAGE} and seq between ?2 and ?3 {listed} order by seq {order} limit ?4");
        loop {
            let mut values = values![self.workspace, first, last, count].to_vec();
            values.extend(names.iter().map(Value::from));
            let pages = tx.query(&sql, &values, read)?;
            for page in &pages {
                if !each(page)? {
                    return Ok(());
                }
            }
            match pages.last() {
                Some(page) if pages.len() as i64 == count && self.ascending => first = page.seq.0 + 1,
                Some(page) if pages.len() as i64 == count => last = page.first.0 - 1,
                _ => return Ok(()),
            }
            count = (2 * count).min(most);
        }
    }
}
