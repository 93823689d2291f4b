//! Pages as the auditor reads them: entries in their canonical bytes, version 1, and the free text beside them.
//!
//! Owns the documented form of an entry and of a note, and what a page's columns must say of what is in it.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::bytes::Rest;
use super::reader::{Read, Row};
use super::rows::{Posting, Terms, kind};
use super::{Findings, NOTE, PAGE};

pub const PAGES: &str =
    "select workspace, seq, first_seq, first_at, last_at, operations, hash, entries, notes
    from page where {here} order by workspace, seq";

/// The form of an entry.
const VERSION: u8 = 1;
/// The letters of the buckets by their numbers; the first one is outside the account.
pub const BUCKETS: [char; 8] = ['i', 's', 'a', 'h', 'c', 'x', 'r', 'd'];

/// What an entry may have, each a bit of its flags.
mod has {
    pub const GRANT: u16 = 1;
    pub const HOLD: u16 = 1 << 1;
    pub const PRICE: u16 = 1 << 2;
    pub const UNTIL: u16 = 1 << 3;
    pub const TERMS: u16 = 1 << 4;
    pub const RELEASE: u16 = 1 << 5;
    pub const NOTE: u16 = 1 << 6;
    pub const EPOCH: u16 = 1 << 7;
    pub const ATTEMPTED: u16 = 1 << 8;
    pub const DEBT: u16 = 1 << 9;
    pub const ALL: u16 = (1 << 10) - 1;
}

/// One page's row, but for its workspace.
pub struct PageRow {
    pub seq: i64,
    first_seq: i64,
    /// Times of the first and the last entry.
    span: [i64; 2],
    operations: String,
    pub hash: Vec<u8>,
    entries: Vec<u8>,
    notes: Vec<u8>,
}

pub fn read_page(row: &Row<'_>) -> Read<(i64, PageRow)> {
    let seq = row.get(1)?;
    let page = PageRow {
        seq,
        first_seq: row.get(2)?,
        span: [row.get(3)?, row.get(4)?],
        operations: row.get(5)?,
        hash: row.get(6)?,
        entries: row.get(7)?,
        notes: row.get(8)?,
    };
    Ok((seq, page))
}

impl PageRow {
    /// The bytes of each entry, oldest first; `None`, and nothing after it, where they cannot be told apart.
    pub fn entries(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let mut rest = Rest(&self.entries);
        std::iter::from_fn(move || {
            if rest.0.is_empty() {
                return None;
            }
            let entry = rest.blob();
            if entry.is_none() {
                rest = Rest(&[]);
            }
            Some(entry)
        })
    }

    pub fn notes(&self) -> Notes<'_> {
        let mut notes = Notes { rest: Rest(&self.notes), ahead: None, broken: false, page: self.seq };
        notes.advance();
        notes
    }
}

/// What the columns of a page must say, gathered from its entries.
#[derive(Default)]
pub struct Told<'p> {
    seqs: Option<[i64; 2]>,
    span: [i64; 2],
    operations: BTreeSet<&'p str>,
}

impl<'p> Told<'p> {
    pub fn add(&mut self, entry: &Entry<'p>) {
        let (first, begun) = self.seqs.map_or((entry.seq, entry.at), |seqs| (seqs[0], self.span[0]));
        (self.seqs, self.span) = (Some([first, entry.seq]), [begun, entry.at]);
        match entry.kind {
            kind::CHARGE | kind::REFUND => self.operations.extend(entry.operation),
            kind::GRANT | kind::ADJUST | kind::EXPIRE | kind::REVOKE | kind::REPAY => {
                self.operations.insert("=");
            }
            _ => {}
        }
    }

    pub fn compare(&self, page: &PageRow, findings: &mut Findings) {
        findings.check(self.seqs == Some([page.first_seq, page.seq]), PAGE, || {
            format!("the page of the entries {} to {} has {:?}", page.first_seq, page.seq, self.seqs)
        });
        findings.check(self.span == page.span, PAGE, || {
            format!(
                "the page until entry {} says {:?} for its times, its entries {:?}",
                page.seq, page.span, self.span
            )
        });
        // One a line, and a line's end before the first.
        let mut listed = String::new();
        self.operations.iter().for_each(|operation| listed.extend(["\n", *operation]));
        listed.extend((!listed.is_empty()).then_some('\n'));
        findings.check(listed == page.operations, PAGE, || {
            format!("the page until entry {} lists other operations than its entries have", page.seq)
        });
    }
}

/// One entry.
pub struct Entry<'p> {
    /// What the chain covers.
    pub canonical: &'p [u8],
    pub seq: i64,
    pub at: i64,
    pub kind: i64,
    pub amount: i64,
    pub available: i64,
    pub balance: i64,
    pub debt: i64,
    pub postings: Vec<Posting>,
    pub grant: Option<i64>,
    pub hold: Option<i64>,
    pub operation: Option<&'p str>,
    pub quantity: Option<i64>,
    pub unit_price: Option<i64>,
    pub version: Option<i64>,
    pub attempted: i64,
    pub until: Option<i64>,
    pub terms: Option<Terms>,
    pub release_reason: Option<i64>,
    pub epoch: i64,
    pub actor: &'p str,
    /// The digest of its note.
    pub note: Option<[u8; 32]>,
}

impl<'p> Entry<'p> {
    /// `None`: these bytes are no entry, or not as one would have been written.
    pub fn parse(canonical: &'p [u8]) -> Option<Entry<'p>> {
        let mut rest = Rest(canonical);
        let [version, kind, flags @ ..] = rest.array::<4>()?;
        let flags = u16::from_be_bytes(flags);
        (version == VERSION && flags & !has::ALL == 0).then_some(())?;
        let (seq, at) = (rest.int()?, rest.int()?);
        let (amount, available, balance) = (rest.int()?, rest.int()?, rest.int()?);
        let postings = postings(&mut rest)?;
        let mut entry = Entry {
            canonical,
            seq,
            at,
            kind: kind.into(),
            amount,
            available,
            balance,
            postings,
            grant: optional(&mut rest, flags & has::GRANT)?,
            hold: optional(&mut rest, flags & has::HOLD)?.map(|back| seq.wrapping_sub(back)),
            debt: 0,
            operation: None,
            quantity: None,
            unit_price: None,
            version: None,
            attempted: 0,
            until: None,
            terms: None,
            release_reason: None,
            epoch: 0,
            actor: "",
            note: None,
        };
        if flags & has::PRICE != 0 {
            entry.operation = Some(rest.text()?);
            (entry.quantity, entry.unit_price) = (Some(rest.int()?), Some(rest.int()?));
            entry.version = Some(rest.int()?);
        }
        entry.until = optional(&mut rest, flags & has::UNTIL)?.map(|after| at.wrapping_add(after));
        if flags & has::TERMS != 0 {
            let (credits, kind, priority) = (rest.int()?, rest.int()?, rest.int()?);
            let effective_at = at.wrapping_add(rest.int()?);
            entry.terms = Some(Terms { credits, kind, priority, effective_at, expires_at: entry.until });
        }
        entry.release_reason = optional(&mut rest, flags & has::RELEASE)?;
        entry.epoch = uncommon(&mut rest, flags & has::EPOCH)?;
        entry.attempted = uncommon(&mut rest, flags & has::ATTEMPTED)?;
        entry.debt = uncommon(&mut rest, flags & has::DEBT)?;
        entry.actor = rest.text()?;
        entry.note = if flags & has::NOTE != 0 { Some(rest.array()?) } else { None };
        rest.0.is_empty().then_some(entry)
    }
}

fn postings(rest: &mut Rest<'_>) -> Option<Vec<Posting>> {
    let count = usize::try_from(rest.int()?).ok().filter(|count| *count <= rest.0.len())?;
    let mut postings = Vec::with_capacity(count);
    for _ in 0..count {
        let (grant, [buckets]) = (rest.int()?, rest.array()?);
        let letter = |number: u8| BUCKETS.get(usize::from(number)).copied();
        let (from, to) = (letter(buckets >> 4)?, letter(buckets & 0xf)?);
        postings.push(Posting { grant, from, to, credits: rest.int()? });
    }
    Some(postings)
}

/// A number that is written where a flag is set.
fn optional(rest: &mut Rest<'_>, flag: u16) -> Option<Option<i64>> {
    if flag == 0 { Some(None) } else { rest.int().map(Some) }
}

/// A number that is only written where it is not 0.
fn uncommon(rest: &mut Rest<'_>, flag: u16) -> Option<i64> {
    if flag == 0 { Some(0) } else { rest.int().filter(|int| *int != 0) }
}

/// SHA-256 over the hash before and an entry's canonical bytes.
pub fn chained(before: &[u8], canonical: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(before).chain_update(canonical).finalize().into()
}

/// The free text of an entry: campaign, member, channel, reference, lead and reason.
pub struct Note<'p> {
    salt: [u8; 16],
    texts: [&'p str; 6],
}

impl<'p> Note<'p> {
    /// A salt and six texts.
    pub fn parse(rest: &mut Rest<'p>) -> Option<Note<'p>> {
        let (salt, mut texts) = (rest.array()?, [""; 6]);
        for text in &mut texts {
            *text = rest.text()?;
        }
        Some(Note { salt, texts })
    }

    /// What the chain covers of it: the salt, and each text after its length in four bytes.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new().chain_update(self.salt);
        for text in self.texts {
            hash.update(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
            hash.update(text);
        }
        hash.finalize().into()
    }

    /// Campaign, member, channel, reference and lead; the empty text where there is none.
    pub fn labels(note: Option<&Note<'p>>) -> [&'p str; 5] {
        note.map_or([""; 5], |note| std::array::from_fn(|index| note.texts[index]))
    }
}

/// The notes of a page, each after the number of its entry, read in step with the entries.
pub struct Notes<'p> {
    rest: Rest<'p>,
    ahead: Option<(i64, Note<'p>)>,
    broken: bool,
    page: i64,
}

impl<'p> Notes<'p> {
    /// The note of an entry; those before it are of none.
    pub fn take(&mut self, seq: i64, findings: &mut Findings) -> Option<Note<'p>> {
        while let Some((of, note)) = self.ahead.take_if(|(of, _)| *of <= seq) {
            self.advance();
            if of == seq {
                return Some(note);
            }
            stray(of, findings);
        }
        None
    }

    /// What is left after the last entry.
    pub fn rest(mut self, findings: &mut Findings) {
        while let Some((of, _)) = self.ahead.take() {
            self.advance();
            stray(of, findings);
        }
        findings.check(!self.broken, NOTE, || {
            format!("the notes of the page until entry {} cannot be read", self.page)
        });
    }

    fn advance(&mut self) {
        if !self.rest.0.is_empty() {
            let next = self.rest.int().zip(Note::parse(&mut self.rest));
            self.broken |= next.is_none();
            if next.is_none() {
                self.rest = Rest(&[]);
            }
            self.ahead = next;
        }
    }
}

fn stray(seq: i64, findings: &mut Findings) {
    findings.broken(NOTE, format!("the note of entry {seq} has no entry"));
}
