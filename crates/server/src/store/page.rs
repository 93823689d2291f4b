//! Pages: entries of a workspace, as many as were written together, in the bytes that the chain covers, with their free text
//! beside them, from where it can be erased.
//!
//! Owns the rows of `page`, and what waits to become one. It does *not* know what an entry means for an account.
//!
//! Invariant: the pages of a workspace have each of its entries until the account's `seq` once, in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use billing::{Entry, Hold, Labels, Seq, Time};

use super::Error;
use super::canonical::{self, Bytes, put_blob, put_int, put_text};
use super::db::{Row, Tx, Value};
use super::entry::{self, Note, Recorded, Usage, UsageKey};
use crate::values;

/// How many pages are read at first, and at most, until enough of what is looked for was found.
const READ: [i64; 2] = [4, 64];

/// Entries one after another, in the form of a page.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    entries: &'a [u8],
    notes: &'a [u8],
}

/// Entries of one workspace that are in no page yet, oldest first, with what they change in other tables.
#[derive(Clone, Debug, Default)]
pub struct Waiting {
    entries: Vec<u8>,
    notes: Vec<u8>,
    count: usize,
    /// Number of the first.
    first: Seq,
    /// Times of the first and the last.
    span: (Time, Time),
    /// What they are listed under.
    operations: BTreeSet<Arc<str>>,
    /// What they add to usage totals.
    pub usage: Vec<(UsageKey, Usage)>,
    /// The grants whose credits they moved.
    pub grants: BTreeSet<Seq>,
    /// The holds they changed that were made before them.
    pub holds: BTreeSet<Seq>,
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
        let mut notes = Bytes(self.notes);
        let mut ahead = read_numbered(&mut notes);
        self.raw().map(move |entry| {
            let (seq, bytes) = entry?;
            let note = ahead.take_if(|note| note.0 == seq).map(|note| note.1);
            if note.is_some() {
                ahead = read_numbered(&mut notes);
            }
            recorded(bytes, note)
        })
    }

    /// One of its entries.
    pub fn find(self, seq: Seq) -> Result<Option<Recorded>, Error> {
        self.entries().find(|entry| entry.as_ref().map_or(true, |entry| entry.entry.seq == seq)).transpose()
    }

    /// A hold that was made in it, as the entries in it leave it.
    pub fn hold(self, id: Seq) -> Result<Option<Hold>, Error> {
        let since = self.entries().skip_while(|entry| entry.as_ref().is_ok_and(|entry| entry.entry.seq < id));
        let about = since.filter(|entry| entry.as_ref().map_or(true, |entry| entry.entry.hold == Some(id)));
        let about: Vec<Entry> = about.map(|entry| Ok(entry?.entry)).collect::<Result<_, Error>>()?;
        Ok(Hold::replay(&about))
    }
}

impl Run<'_> {
    /// The holds that were made in it, as the entries in it leave them.
    pub fn holds(self) -> Result<BTreeMap<Seq, Hold>, Error> {
        let mut about: BTreeMap<Seq, Vec<Entry>> = BTreeMap::new();
        for recorded in self.entries() {
            let entry = recorded?.entry;
            match entry.hold {
                Some(id) if id == entry.seq => drop(about.insert(id, vec![entry])),
                Some(id) => about.get_mut(&id).into_iter().for_each(|entries| entries.push(entry.clone())),
                None => {}
            }
        }
        Ok(about.into_iter().filter_map(|(id, entries)| Some((id, Hold::replay(&entries)?))).collect())
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

fn read_numbered(bytes: &mut Bytes<'_>) -> Option<(Seq, Note)> {
    Some((Seq(bytes.int()?), read_note(bytes)?))
}

impl Waiting {
    /// Adds an entry, with its bytes.
    pub fn add(&mut self, workspace: i64, Recorded { entry, note, .. }: &Recorded, bytes: &[u8]) {
        if self.count == 0 {
            (self.first, self.span.0) = (entry.seq, entry.at);
        }
        (self.count, self.span.1) = (self.count + 1, entry.at);
        put_blob(&mut self.entries, bytes);
        if let Some(note) = note {
            put_int(&mut self.notes, entry.seq.0);
            put_note(&mut self.notes, note);
        }
        self.grants.extend(entry.postings.iter().map(|posting| posting.grant).chain(entry.grant));
        self.holds.extend(entry.hold.filter(|id| *id < self.first));
        if let Some(operation) = entry::listed_operation(entry)
            && !self.operations.contains(operation)
        {
            self.operations.insert(operation.clone());
        }
        if entry::is_of_others(entry) {
            self.operations.insert(entry::OTHERS.into());
        }
        entry::fold_usage(&mut self.usage, workspace, entry);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Number of the first one; the next one's when there is none.
    pub fn first(&self, last: Seq) -> Seq {
        if self.count == 0 { Seq(last.0 + 1) } else { self.first }
    }

    /// What there is.
    pub fn run(&self) -> Run<'_> {
        Run { entries: &self.entries, notes: &self.notes }
    }

    /// Forgets the entries until one, because somebody wrote them.
    pub fn cut(&mut self, workspace: i64, until: Seq) -> Result<(), Error> {
        let before = std::mem::take(self);
        let mut entries = before.run().entries();
        before.run().raw().zip(&mut entries).try_for_each(|(raw, recorded)| {
            let (seq, bytes) = raw?;
            if seq > until {
                self.add(workspace, &recorded?, bytes);
            }
            Ok(())
        })
    }

    /// As a row, with the number and the hash of its last entry.
    pub fn row<'v>(&'v self, workspace: i64, seq: Seq, hash: &'v [u8; 32]) -> [Value<'v>; 9] {
        [
            workspace.into(),
            seq.into(),
            self.first.into(),
            self.span.0.into(),
            self.span.1.into(),
            operations_text(self.operations.iter().map(|operation| &**operation)).into(),
            hash.into(),
            (&self.entries).into(),
            (&self.notes).into(),
        ]
    }
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
    /// All of a workspace's entries, oldest first, from one moment to another.
    pub fn span(workspace: i64, from: Time, to: Time) -> Walk {
        Walk { workspace, cursor: 0, ascending: true, span: (Some(from), Some(to)), operations: Vec::new() }
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
            count = most;
        }
    }
}
