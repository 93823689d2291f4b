//! The account of one workspace, recomputed entry by entry from nothing but postings.
//!
//! Owns totals, grants and the chain. Holds are in `holds`. Numbers are wide, so that no corrupt amount can wrap around.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest, Sha256};

use super::holds::Life;
use super::pages::{BUCKETS, Entry, Note, PageRow};
use super::rows::{GrantRow, HoldRow, Posting, Terms, kind};
use super::{CHAIN, Findings, GRANT_ROW, MOVES, NOTE, SEQ, SIGN, SUMS, TIME, WHOLE};

/// The bucket that can be spent.
const AVAILABLE: usize = 2;

/// What is remembered of each entry, in a few bits, because there may be millions.
pub mod mark {
    /// The entry's kind, plus one.
    pub const KIND: u16 = 0xf;
    /// A key names it.
    pub const KEYED: u16 = 1 << 4;
    /// It opens a hold.
    pub const OPENS: u16 = 1 << 5;
    /// That hold pays for a send of a campaign.
    pub const SEND: u16 = 1 << 6;
    /// That hold's call went out and was not taken back.
    pub const OUT: u16 = 1 << 7;
    /// That hold ended as its row says, and is not kept in memory any more.
    pub const ENDED: u16 = 1 << 8;
    /// A step of a campaign is paid by that hold.
    pub const STEP: u16 = 1 << 9;
    /// It was written for a payment or a renewal.
    pub const OWED: u16 = 1 << 10;
    /// A top-up or a period names it.
    pub const OWNED: u16 = 1 << 11;
}

/// What an entry moved, as its postings say.
#[derive(Clone, Copy)]
pub struct Moved {
    /// Change of the balance.
    pub amount: i128,
}

/// A grant as its entries make it, with its row.
pub struct Grant {
    pub terms: Terms,
    granted_at: i64,
    revoked_at: Option<i64>,
    buckets: [i128; 8],
    row: Option<GrantRow>,
}

/// The account, recomputed.
pub struct Book {
    pub workspace: i64,
    pub seq: i64,
    pub at: i64,
    /// When the last entry was decided. `None`: its time is only the next one after the entry before, and the clock may have been
    /// set back to any before it.
    pub decided: Option<i64>,
    /// The last entry of which that is known, and when.
    pub swept: (i64, i64),
    pub hash: Vec<u8>,
    pub available: i128,
    pub held: i128,
    pub debt: i128,
    /// Sum of the entries' amounts as they are stored.
    pub amounts: i128,
    /// Sum of the parts of open holds, as their rows say.
    pub open_rows: i128,
    pub grants: BTreeMap<i64, Grant>,
    pub life: Life,
    /// Credits that each revocation took, from grants or as debt.
    pub taken: HashMap<i64, i128>,
    marks: HashMap<i64, u16>,
    dense: Vec<u16>,
}

impl Book {
    pub fn new(workspace: i64) -> Book {
        Book {
            workspace,
            seq: 0,
            at: 0,
            decided: None,
            swept: (0, 0),
            hash: Sha256::digest(format!("scrip ledger 1 {workspace}")).to_vec(),
            available: 0,
            held: 0,
            debt: 0,
            amounts: 0,
            open_rows: 0,
            grants: BTreeMap::new(),
            life: Life::default(),
            taken: HashMap::new(),
            marks: HashMap::new(),
            dense: Vec::new(),
        }
    }

    /// What is remembered of an entry; 0 where there is none.
    pub fn mark(&self, seq: i64) -> u16 {
        let dense = usize::try_from(seq - 1).ok().and_then(|index| self.dense.get(index)).copied();
        dense.unwrap_or_else(|| self.marks.get(&seq).copied().unwrap_or(0))
    }

    /// Remembers more of an entry.
    pub fn set(&mut self, seq: i64, bits: u16) {
        *self.slot(seq) |= bits;
    }

    /// Forgets something of an entry.
    pub fn unset(&mut self, seq: i64, bits: u16) {
        *self.slot(seq) &= !bits;
    }

    /// The numbers of the entries that have all of these bits and none of those.
    pub fn marked(&self, all: u16, none: u16) -> Vec<i64> {
        let fits = |mark: u16| mark & all == all && mark & none == 0;
        let dense = self.dense.iter().zip(1..).filter(|(mark, _)| fits(**mark)).map(|(_, seq)| seq);
        dense.chain(self.marks.iter().filter(|(_, mark)| fits(**mark)).map(|(seq, _)| *seq)).collect()
    }

    /// Numbers without a gap need two bytes each; others are looked up.
    fn slot(&mut self, seq: i64) -> &mut u16 {
        let index = usize::try_from(seq).ok().and_then(|seq| seq.checked_sub(1));
        match index {
            Some(index) if index <= self.dense.len() => {
                if index == self.dense.len() {
                    self.dense.push(0);
                }
                &mut self.dense[index]
            }
            _ => self.marks.entry(seq).or_default(),
        }
    }

    /// Enters one entry of that hash, with the rows that it made, and says what it moved.
    pub fn enter(
        &mut self,
        (entry, hash): (&Entry<'_>, &[u8]),
        note: Option<&Note<'_>>,
        (grant, hold): (Option<GrantRow>, Option<HoldRow>),
        findings: &mut Findings,
    ) -> Moved {
        let (seq, postings) = (entry.seq, &entry.postings);
        self.link(entry, note, findings);
        self.hash = hash.to_vec();
        let bits = u16::try_from(entry.kind + 1).unwrap_or(0) & mark::KIND;
        let owed = entry.terms.is_some() && matches!(entry.actor, "payment" | "renewal");
        self.set(seq, bits | if owed { mark::OWED } else { 0 });
        let lawful = postings.iter().all(|posting| posting.grant > 0 && posting.credits > 0);
        findings.check(lawful, MOVES, || format!("entry {seq} moves no credits, or of no grant"));
        if entry.kind == kind::REVOKE {
            let credits = postings.iter().map(|posting| i128::from(posting.credits));
            self.taken.insert(seq, credits.sum::<i128>() + i128::from(entry.debt));
        }
        self.make_grant(entry, grant, findings);
        let before = (self.available, self.held);
        for posting in postings {
            self.carry(entry, posting, findings);
        }
        self.about_grant(entry, postings, findings);
        if let Some(row) = &hold {
            self.count_open(row);
        }
        super::holds::about_hold(self, entry, (note, hold), findings);
        let amount = self.available - before.0 + self.held - before.1 - i128::from(entry.debt);
        self.debt += i128::from(entry.debt);
        self.amounts += i128::from(entry.amount);
        let balance = self.available + self.held - self.debt;
        let said = [entry.amount, entry.available, entry.balance].map(i128::from);
        findings.check(said == [amount, self.available, balance], SUMS, || {
            format!(
                "entry {seq} says {said:?} for amount, available and balance, its postings give {:?}",
                [amount, self.available, balance]
            )
        });
        findings.check(self.available >= 0 && self.debt >= 0, SIGN, || format!("after entry {seq}"));
        Moved { amount }
    }

    /// Adds an open hold's row to what must be held.
    pub fn count_open(&mut self, row: &HoldRow) {
        if row.status < 3 {
            self.open_rows += row.parts.iter().flatten().map(|part| i128::from(part.1)).sum::<i128>();
        }
    }

    /// Number, time, chain and note of an entry.
    fn link(&mut self, entry: &Entry<'_>, note: Option<&Note<'_>>, findings: &mut Findings) {
        let seq = entry.seq;
        findings
            .check(Some(seq) == self.seq.checked_add(1), SEQ, || format!("entry {seq} follows {}", self.seq));
        findings.check(entry.at > self.at, TIME, || format!("entry {seq} is not later than the one before"));
        let digest = note.map(Note::digest);
        findings.check(digest == entry.note, NOTE, || format!("entry {seq} and its note disagree"));
        self.decided = (Some(entry.at) != self.at.checked_add(1)).then_some(entry.at);
        self.swept = self.decided.map_or(self.swept, |at| (seq, at));
        (self.seq, self.at) = (seq, entry.at);
    }

    /// Passes over an entry that cannot be read, but is a link of the chain.
    pub fn pass(&mut self, hash: &[u8]) {
        (self.seq, self.hash) = (self.seq.saturating_add(1), hash.to_vec());
    }

    /// Ends a page, whose hash must be the last entry's.
    pub fn turn(&mut self, page: &PageRow, findings: &mut Findings) {
        findings.check(page.hash == self.hash, CHAIN, || format!("in the page until entry {}", page.seq));
        // Each break is told once: what follows is measured against what is stored.
        self.hash.clone_from(&page.hash);
        super::holds::turn(self);
    }

    fn make_grant(&mut self, entry: &Entry<'_>, row: Option<GrantRow>, findings: &mut Findings) {
        let (seq, postings) = (entry.seq, &entry.postings);
        let issues = postings.iter().any(|posting| posting.from == 'i');
        let Some(terms) = entry.terms.clone() else {
            findings.check(!issues, MOVES, || format!("entry {seq} issues credits without terms"));
            findings.check(row.is_none(), GRANT_ROW, || format!("grant {seq} was made by no grant's entry"));
            return;
        };
        let whole = postings.len() == 1
            && postings[0].grant == seq
            && postings[0].credits == terms.credits
            && entry.grant == Some(seq)
            && matches!(entry.kind, kind::SCHEDULE | kind::GRANT | kind::ADJUST);
        findings.check(whole, MOVES, || format!("entry {seq} does not issue what its terms promise"));
        let (granted_at, revoked_at, buckets) = (entry.at, None, [0; 8]);
        self.grants.insert(seq, Grant { terms, granted_at, revoked_at, buckets, row });
    }

    fn carry(&mut self, entry: &Entry<'_>, posting: &Posting, findings: &mut Findings) {
        let (seq, Posting { grant: id, from, to, credits }) = (entry.seq, *posting);
        findings.check(legal(entry, from, to), MOVES, || {
            format!("entry {seq} of kind {} moves credits from {from} to {to}", entry.kind)
        });
        let place = |letter| BUCKETS.iter().position(|known| *known == letter);
        let (Some(from), Some(to)) = (place(from), place(to)) else { return };
        let credits = i128::from(credits);
        for (bucket, change) in [(from, -credits), (to, credits)] {
            match BUCKETS[bucket] {
                'a' => self.available += change,
                'h' => self.held += change,
                _ => {}
            }
        }
        let Some(grant) = self.grants.get_mut(&id) else {
            findings.broken(MOVES, format!("entry {seq} moves credits of grant {id}, which does not exist"));
            return;
        };
        grant.buckets[from] -= credits;
        grant.buckets[to] += credits;
        findings.check(from == 0 || grant.buckets[from] >= 0, WHOLE, || {
            format!("entry {seq} takes more from a bucket of grant {id} than is in it")
        });
        // A late sweep repays at the moment when it was due, so that only commands are bound by the expiry.
        let spends = from == AVAILABLE && matches!(BUCKETS[to], 'h' | 'c');
        let dated = grant.terms.effective_at <= entry.at
            && grant.terms.expires_at.is_none_or(|at| self.decided.is_none_or(|decided| at > decided));
        findings.check(!spends || dated, MOVES, || {
            format!("entry {seq} spends credits of grant {id} outside its time")
        });
    }

    /// What an entry says about the grant it names, and about debt.
    fn about_grant(&mut self, entry: &Entry<'_>, postings: &[Posting], findings: &mut Findings) {
        let (seq, at) = (entry.seq, entry.at);
        let named = |id: i64| !postings.is_empty() && postings.iter().all(|posting| posting.grant == id);
        let paid: i128 = postings.iter().filter(|p| p.to == 'd').map(|p| i128::from(p.credits)).sum();
        let debt = match entry.kind {
            kind::REPAY => i128::from(entry.debt) == -paid,
            kind::REVOKE => entry.debt == 0 || (entry.debt > 0 && entry.grant.is_none()),
            kind::ADJUST => entry.debt == 0 || (entry.debt > 0 && entry.terms.is_none()),
            _ => entry.debt == 0,
        };
        findings.check(debt, MOVES, || format!("entry {seq} changes debt by {}", entry.debt));
        let Some(id) = entry.grant else {
            let needs = matches!(entry.kind, kind::SCHEDULE | kind::GRANT | kind::EXPIRE);
            findings.check(!needs, MOVES, || format!("entry {seq} names no grant"));
            return;
        };
        let Some(grant) = self.grants.get_mut(&id) else {
            findings.broken(MOVES, format!("entry {seq} names grant {id}, which does not exist"));
            return;
        };
        let lawful = match entry.kind {
            kind::GRANT if id != seq => named(id) && at >= grant.terms.effective_at,
            kind::SCHEDULE | kind::GRANT | kind::ADJUST => id == seq,
            kind::EXPIRE => named(id) && grant.terms.expires_at.is_some_and(|expires| at >= expires),
            kind::REVOKE => postings.is_empty() || named(id),
            _ => false,
        };
        findings.check(lawful, MOVES, || format!("entry {seq} does not treat grant {id} as its kind must"));
        if entry.kind == kind::REVOKE {
            grant.revoked_at.get_or_insert(at);
        }
    }

    /// What must hold after the last entry.
    pub fn close(&mut self, findings: &mut Findings) {
        for (id, grant) in &mut self.grants {
            let sum: i128 = grant.buckets[1..].iter().sum();
            let whole = sum == i128::from(grant.terms.credits) && grant.buckets[1..].iter().all(|b| *b >= 0);
            findings.check(whole, WHOLE, || {
                format!("grant {id} of {} has {:?} in its buckets", grant.terms.credits, &grant.buckets[1..])
            });
            // The row is compared and let go; the terms are still asked for.
            let Some(row) = grant.row.take() else {
                findings.broken(GRANT_ROW, format!("grant {id} has no row"));
                continue;
            };
            let same = row.terms == grant.terms
                && (row.granted_at, row.revoked_at) == (grant.granted_at, grant.revoked_at)
                && row.buckets.map(i128::from) == grant.buckets[1..];
            findings.check(same, GRANT_ROW, || format!("grant {id} is not what its entries say"));
        }
        super::holds::close(self, findings);
        findings.check(self.debt == 0 || self.available == 0, SIGN, || {
            format!("{} owed while {} available", self.debt, self.available)
        });
    }
}

/// Which buckets an entry of a kind may move credits between.
fn legal(entry: &Entry<'_>, from: char, to: char) -> bool {
    let moves: &[(char, char)] = match entry.kind {
        kind::SCHEDULE => &[('i', 's')],
        kind::GRANT => &[('i', 'a'), ('s', 'a')],
        kind::ADJUST => &[('i', 'a'), ('a', 'r')],
        kind::HOLD => &[('a', 'h')],
        kind::CHARGE if entry.hold == Some(entry.seq) => &[('a', 'c')],
        kind::CHARGE => &[('h', 'c'), ('h', 'a'), ('a', 'c')],
        kind::RELEASE => &[('h', 'a')],
        kind::EXPIRE => &[('a', 'x')],
        kind::REVOKE => &[('s', 'r'), ('a', 'r')],
        kind::REFUND => &[('c', 'a')],
        kind::REPAY => &[('a', 'd')],
        _ => &[],
    };
    moves.contains(&(from, to))
}
