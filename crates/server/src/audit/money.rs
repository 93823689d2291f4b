//! What stands around the ledger and must agree with it: the account's row, keys, top-ups and periods.

use std::collections::{BTreeMap, HashMap};

use super::book::{Book, mark};
use super::reader::{Read, Row, Statement};
use super::rows::{self, kind};
use super::tables::Tables;
use super::{CHAIN, Findings, HELD, KEYS, PERIOD, SEQ, SIGN, TIME, TOPUP, TOTALS, WORKSPACE};

const PLAN: i64 = 4;
const PURCHASED: i64 = 5;

pub const WORKSPACES: &str =
    "select workspace, anchor, next_period, plan_credits from workspace where {here} order by workspace";
pub const ACCOUNTS: &str =
    "select workspace, seq, at, available, held, debt, hash from account where {here} order by workspace";
pub const TOPUPS: &str = "select workspace, id, credits, status, grant_id, refunded from topup
    where {here} order by workspace, id";
pub const PERIODS: &str = "select workspace, number, starts_at, ends_at, grant_id from period
    where {here} order by workspace, number";
pub const TAKEN: &str = "select postings, debt from entry where {here} and workspace = ?1 and seq = ?2";

/// What a workspace's row says of its periods.
pub struct Plan {
    anchor: i64,
    next_period: Option<i64>,
    credits: Option<i64>,
}

pub fn read_plan(row: &Row<'_>) -> Read<(i64, Plan)> {
    Ok((0, Plan { anchor: row.get(1)?, next_period: row.get(2)?, credits: row.get(3)? }))
}

/// An account's row.
pub struct AccountRow {
    seq: i64,
    at: i64,
    /// Available, held, debt.
    totals: [i64; 3],
    hash: Vec<u8>,
}

pub fn read_account(row: &Row<'_>) -> Read<(i64, AccountRow)> {
    let totals = [row.get(3)?, row.get(4)?, row.get(5)?];
    Ok((0, AccountRow { seq: row.get(1)?, at: row.get(2)?, totals, hash: row.get(6)? }))
}

/// A top-up's row but for its id.
pub struct TopUp {
    credits: i64,
    status: i64,
    grant: Option<i64>,
    refunded: i64,
}

pub fn read_topup(row: &Row<'_>) -> Read<(i64, TopUp)> {
    let (credits, status) = (row.get(2)?, row.get(3)?);
    Ok((row.get(1)?, TopUp { credits, status, grant: row.get(4)?, refunded: row.get(5)? }))
}

/// A period's row but for its number.
pub struct Period {
    starts_at: i64,
    ends_at: i64,
    grant: i64,
}

pub fn read_period(row: &Row<'_>) -> Read<(i64, Period)> {
    Ok((row.get(1)?, Period { starts_at: row.get(2)?, ends_at: row.get(3)?, grant: row.get(4)? }))
}

/// Compares the account's row with the account as recomputed.
pub fn account(tables: &mut Tables<'_>, book: &Book, findings: &mut Findings) -> Read<()> {
    let Some((_, row)) = tables.accounts.next(book.workspace)? else {
        findings.broken(WORKSPACE, "the workspace has no account".to_owned());
        return Ok(());
    };
    let AccountRow { seq, at, totals, hash } = row;
    findings
        .check(seq == book.seq, SEQ, || format!("the account stands at {seq}, the ledger at {}", book.seq));
    findings
        .check(at == book.at, TIME, || format!("the account stands at time {at}, the ledger at {}", book.at));
    findings
        .check(hash == book.hash, CHAIN, || "the account has another hash than the last entry".to_owned());
    let stored = totals.map(i128::from);
    let [available, held, debt] = stored;
    findings.check(stored == [book.available, book.held, book.debt], TOTALS, || {
        format!("stored {stored:?}, recomputed {:?}", [book.available, book.held, book.debt])
    });
    findings.check(available + held - debt == book.amounts, TOTALS, || {
        format!("the balance is {}, the amounts sum to {}", available + held - debt, book.amounts)
    });
    findings.check(debt == 0 || available == 0, SIGN, || format!("{debt} owed while {available} available"));
    findings.check(held == book.open_rows && held == book.held, HELD, || {
        format!("{held} held, open holds sum to {}, postings to {}", book.open_rows, book.held)
    });
    Ok(())
}

/// Keys that stand for something of their own: `paid` top-ups, ordered ones, and periods, each with the number they name.
#[derive(Default)]
pub struct Keyed {
    paid: HashMap<i64, i64>,
    ordered: Vec<i64>,
    periods: HashMap<i64, i64>,
    /// Credits that refunded payments took back.
    taken: i128,
}

/// Checks the top-ups and periods that some of the keys belong to, after the keys.
pub fn payments(
    tables: &mut Tables<'_>,
    book: &mut Book,
    (keyed, plan): (&Keyed, &Plan),
    findings: &mut Findings,
) -> Read<()> {
    topups(tables, book, keyed, findings)?;
    periods(tables, book, (keyed, plan), findings)?;
    let unowned = book.marked(mark::OWED, mark::OWNED);
    for seq in unowned {
        findings.broken(TOPUP, format!("grant {seq} was made for a payment or period that does not name it"));
    }
    Ok(())
}

/// Checks one key.
pub fn key(
    takes: &mut Statement<'_>,
    book: &mut Book,
    keyed: &mut Keyed,
    (kind, key, seq): (i64, &str, i64),
    findings: &mut Findings,
) -> Read<()> {
    // No caller can write this key: it has a space in it.
    let paid = key.strip_prefix("paid ").and_then(|id| id.parse().ok()).filter(|_| kind == 6);
    if kind == 6 && paid.is_none() {
        keyed.ordered.push(seq);
        return Ok(());
    }
    let known = book.mark(seq);
    let entry = i64::from(known & mark::KIND) - 1;
    let fits = match kind {
        1 => entry == kind::HOLD,
        2 => entry == kind::CHARGE && known & mark::OPENS != 0,
        3 => matches!(entry, kind::GRANT | kind::SCHEDULE | kind::REVOKE),
        4 => entry == kind::ADJUST,
        5 => entry == kind::REFUND,
        6 => entry == kind::GRANT,
        7 => entry == kind::REVOKE,
        8 => matches!(entry, kind::GRANT | kind::SCHEDULE),
        // A form of the dashboard that moved no credits names no entry.
        9 => seq == 0,
        _ => false,
    };
    findings
        .check(fits, KEYS, || format!("a key of kind {kind} names entry {seq}, which is not of that kind"));
    findings.check(known & mark::KEYED == 0, KEYS, || format!("two keys name entry {seq}"));
    if known != 0 {
        book.set(seq, mark::KEYED);
    }
    match (kind, paid) {
        (6, Some(topup)) => drop(keyed.paid.insert(topup, seq)),
        (7, _) if fits => keyed.taken += taken(takes, book.workspace, seq)?,
        (8, _) => match key.parse() {
            Ok(number) => drop(keyed.periods.insert(number, seq)),
            Err(_) => findings.broken(KEYS, format!("the key of entry {seq} names no period")),
        },
        _ => {}
    }
    Ok(())
}

/// Credits that one entry took back, from grants or as debt.
fn taken(statement: &mut Statement<'_>, workspace: i64, seq: i64) -> Read<i128> {
    let mut entries = statement.rows(&[workspace, seq])?;
    let Some(entry) = entries.next()? else { return Ok(0) };
    let moved = rows::postings(&entry.get::<String>(0)?).unwrap_or_default();
    let debt = i128::from(entry.get::<i64>(1)?);
    Ok(moved.iter().map(|posting| i128::from(posting.credits)).sum::<i128>() + debt)
}

fn topups(tables: &mut Tables<'_>, book: &mut Book, keyed: &Keyed, findings: &mut Findings) -> Read<()> {
    let (mut credited, mut known, mut refunds) = (0, Vec::new(), 0);
    while let Some((id, TopUp { credits, status, grant, refunded })) = tables.topups.next(book.workspace)? {
        known.push(id);
        refunds += i128::from(refunded);
        let paid = matches!(status, 1 | 4);
        findings.check((0..=4).contains(&status) && paid == grant.is_some(), TOPUP, || {
            format!("top-up {id} has status {status} and grant {grant:?}")
        });
        let bounded = (0..=if paid { credits } else { 0 }).contains(&refunded);
        findings.check(bounded && (status == 4) == (paid && refunded == credits), TOPUP, || {
            format!("top-up {id} of {credits} has status {status} with {refunded} refunded")
        });
        findings.check(keyed.paid.get(&id).copied() == grant, TOPUP, || {
            format!("top-up {id} and the key of its payment name different grants")
        });
        let Some(grant) = grant else { continue };
        credited += 1;
        let terms = book.grants.get(&grant).map(|grant| (grant.terms.credits, grant.terms.kind));
        findings.check(terms == Some((credits, PURCHASED)), TOPUP, || {
            format!("top-up {id} of {credits} is not what grant {grant} gave")
        });
        own(book, grant, TOPUP, findings);
    }
    findings.check(keyed.paid.len() == credited, TOPUP, || {
        format!("{} payments were credited for {credited} paid top-ups", keyed.paid.len())
    });
    for id in &keyed.ordered {
        findings.check(known.contains(id), KEYS, || format!("a key names top-up {id}, which does not exist"));
    }
    findings.check(refunds == keyed.taken, TOPUP, || {
        format!("{refunds} credits of top-ups are refunded, the ledger took {} back", keyed.taken)
    });
    Ok(())
}

/// Marks a grant as somebody's; it can be so only once.
fn own(book: &mut Book, grant: i64, invariant: &'static str, findings: &mut Findings) {
    let known = book.mark(grant);
    findings.check(known & mark::OWNED == 0, invariant, || format!("grant {grant} is claimed twice"));
    if known != 0 {
        book.set(grant, mark::OWNED);
    }
}

fn periods(
    tables: &mut Tables<'_>,
    book: &mut Book,
    (keyed, plan): (&Keyed, &Plan),
    findings: &mut Findings,
) -> Read<()> {
    let Plan { anchor, next_period: next, credits } = *plan;
    let (mut count, mut begins) = (0, anchor);
    while let Some((number, period)) = tables.periods.next(book.workspace)? {
        let Period { starts_at, ends_at, grant } = period;
        findings.check(number == count && starts_at == begins && starts_at < ends_at, PERIOD, || {
            format!("period {number} from {starts_at} to {ends_at} should be period {count} from {begins}")
        });
        (count, begins) = (number.saturating_add(1), ends_at);
        findings.check(keyed.periods.get(&number) == Some(&grant), PERIOD, || {
            format!("period {number} and its key name different grants")
        });
        let terms = book.grants.get(&grant).map(|grant| &grant.terms);
        let right = terms.is_some_and(|terms| {
            (terms.kind, Some(terms.credits), terms.effective_at) == (PLAN, credits, starts_at)
        });
        findings.check(right, PERIOD, || format!("period {number} is not what grant {grant} gave"));
        own(book, grant, PERIOD, findings);
    }
    let kept: BTreeMap<_, _> = keyed.periods.iter().filter(|(number, _)| **number >= count).collect();
    findings.check(kept.is_empty(), PERIOD, || format!("{} granted periods are not kept", kept.len()));
    findings.check(next.is_none_or(|next| count > 0 && next == begins), PERIOD, || {
        format!("the next period begins at {next:?}, the last one ends at {begins}")
    });
    Ok(())
}
