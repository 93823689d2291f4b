//! What stands around the ledger and must agree with it: the account's row, keys, payments and periods.

use std::collections::{BTreeMap, HashMap};

use super::around;
use super::book::{Book, mark};
use super::reader::{Read, Row};
use super::rows::kind;
use super::tables::Tables;
use super::{CHAIN, Findings, HELD, KEYS, PERIOD, SEQ, SIGN, TIME, TOPUP, TOTALS, WORKSPACE};

const PLAN: i64 = 4;
const PURCHASED: i64 = 5;
const BONUS: i64 = 3;

pub const WORKSPACES: &str =
    "select workspace, anchor, next_period, subscription, terms, created_at from workspace
    where {here} order by workspace";
pub const ACCOUNTS: &str =
    "select workspace, seq, at, available, held, debt, hash from account where {here} order by workspace";
pub const PAYMENTS: &str = "select workspace, id, credits, bonus, purpose, status, grant_id, bonus_grant, amount, refunded, disputed,
    reinstated, taken, receipt, undone from payment where {here} order by workspace, id";
pub const REFUNDS: &str = "select workspace, payment, number, amount, credits from refund
    where {here} order by workspace, payment, number";
pub const PERIODS: &str =
    "select workspace, number, starts_at, ends_at, credits, begins, grant_id from period
    where {here} order by workspace, number";

/// What a workspace's row says of its periods.
pub struct Plan {
    created_at: i64,
    anchor: i64,
    next_period: Option<i64>,
    standing: Option<i64>,
    has_terms: bool,
}

pub fn read_plan(row: &Row<'_>) -> Read<(i64, Plan)> {
    let has_terms = row.get::<Option<String>>(4)?.is_some();
    let (anchor, next_period, standing) = (row.get(1)?, row.get(2)?, row.get(3)?);
    Ok((0, Plan { created_at: row.get(5)?, anchor, next_period, standing, has_terms }))
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

/// A payment's row but for its id.
pub struct Payment {
    credits: i64,
    bonus: i64,
    purpose: i64,
    status: i64,
    grants: [Option<i64>; 2],
    amount: i64,
    /// Money refunded, disputed, reinstated, and refunded in vain.
    sums: [i64; 4],
    taken: i64,
    receipt: Option<i64>,
}

pub fn read_payment(row: &Row<'_>) -> Read<(i64, Payment)> {
    let payment = Payment {
        credits: row.get(2)?,
        bonus: row.get(3)?,
        purpose: row.get(4)?,
        status: row.get(5)?,
        grants: [row.get(6)?, row.get(7)?],
        amount: row.get(8)?,
        sums: [row.get(9)?, row.get(10)?, row.get(11)?, row.get(14)?],
        taken: row.get(12)?,
        receipt: row.get(13)?,
    };
    Ok((row.get(1)?, payment))
}

/// A refund's row but for its payment: its number, money and credits.
pub fn read_refund(row: &Row<'_>) -> Read<(i64, [i64; 3])> {
    Ok((row.get(1)?, [row.get(2)?, row.get(3)?, row.get(4)?]))
}

/// A period's row but for its number.
pub struct Period {
    starts_at: i64,
    ends_at: i64,
    credits: i64,
    begins: bool,
    grant: i64,
}

pub fn read_period(row: &Row<'_>) -> Read<(i64, Period)> {
    let begins = row.get::<i64>(5)? != 0;
    let period = Period {
        starts_at: row.get(2)?,
        ends_at: row.get(3)?,
        credits: row.get(4)?,
        begins,
        grant: row.get(6)?,
    };
    Ok((row.get(1)?, period))
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

/// Keys that stand for something of their own, each with the number they name.
#[derive(Default)]
pub struct Keyed {
    /// Grants of payments: `paid`, `bonus`.
    paid: HashMap<i64, i64>,
    bonus: HashMap<i64, i64>,
    ordered: Vec<i64>,
    refunds: usize,
    periods: HashMap<i64, i64>,
    /// Credits that payments took back, less those they returned, by payment.
    taken: HashMap<i64, i128>,
}

/// Checks the payments and periods that some of the keys belong to, after the keys.
pub fn payments(
    tables: &mut Tables<'_>,
    book: &mut Book,
    (keyed, plan): (&Keyed, &Plan),
    findings: &mut Findings,
) -> Read<()> {
    let of_periods = paid(tables, book, keyed, findings)?;
    periods(tables, book, (keyed, plan), findings)?;
    for (id, grant, credits) in of_periods {
        let gave = book.grants.get(&grant).map(|grant| grant.terms.credits);
        let right = keyed.periods.values().any(|period| *period == grant) && gave == Some(credits);
        findings.check(right, TOPUP, || {
            format!("payment {id} of {credits} is not what period's grant {grant} gave")
        });
    }
    let unowned = book.marked(mark::OWED, mark::OWNED);
    for seq in unowned {
        findings.broken(TOPUP, format!("grant {seq} was made for a payment or period that does not name it"));
    }
    Ok(())
}

/// Checks one key.
pub fn key(book: &mut Book, keyed: &mut Keyed, (kind, key, seq): (i64, &str, i64), findings: &mut Findings) {
    // No caller can write a key with a space in it: what it is about, and of which payment.
    let mut words = key.split(' ');
    let named = (words.next().unwrap_or_default(), words.next().and_then(|id| id.parse().ok()));
    let (about, payment) = match named {
        (about, Some(payment)) => (about, payment),
        _ => ("", 0),
    };
    match (kind, about) {
        (6, "") => {
            keyed.ordered.push(seq);
            return;
        }
        (7, "") => {
            keyed.refunds += 1;
            return;
        }
        (10, _) => {
            keyed.ordered.extend((seq != 0).then_some(seq));
            return;
        }
        _ => {}
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
    match (kind, about) {
        (6, "paid") => drop(keyed.paid.insert(payment, seq)),
        (6, "bonus") => drop(keyed.bonus.insert(payment, seq)),
        (6, _) => {
            let given = book.grants.get(&seq).map_or(0, |grant| i128::from(grant.terms.credits));
            *keyed.taken.entry(payment).or_default() -= given;
            own(book, seq, TOPUP, findings);
        }
        (7, _) if fits => {
            *keyed.taken.entry(payment).or_default() += book.taken.get(&seq).copied().unwrap_or(0);
        }
        // A trial, or the difference of an upgrade, is a grant of its own.
        (8, "trial" | "upgrade") => own(book, seq, PERIOD, findings),
        (8, _) => match key.parse() {
            Ok(number) => drop(keyed.periods.insert(number, seq)),
            Err(_) => findings.broken(KEYS, format!("the key of entry {seq} names no period")),
        },
        _ => {}
    }
}

fn paid(
    tables: &mut Tables<'_>,
    book: &mut Book,
    keyed: &Keyed,
    findings: &mut Findings,
) -> Read<Vec<(i64, i64, i64)>> {
    let (mut credited, mut known, mut receipts, mut asked) = (0, Vec::new(), Vec::new(), 0);
    let mut of_periods = Vec::new();
    while let Some((id, payment)) = tables.payments.next(book.workspace)? {
        known.push(id);
        while let Some([number, amount, credits]) = tables.refunds.take(book.workspace, id, |of, _| {
            findings.broken(TOPUP, format!("a refund belongs to payment {of}, which does not exist"));
        })? {
            asked += 1;
            findings.check(number >= 1 && amount >= 0 && credits >= 1, TOPUP, || {
                format!("refund {number} of payment {id} gives {amount} for {credits} credits")
            });
        }
        sums(id, &payment, keyed, findings);
        let Payment { credits, bonus, status, grants, receipt, .. } = payment;
        let paid = matches!(status, 1 | 4);
        receipts.extend(receipt);
        findings.check(paid == receipt.is_some(), TOPUP, || {
            format!("payment {id} has status {status} and receipt {receipt:?}")
        });
        for (grant, credits, kinds, keys) in [
            (grants[0], credits, &[PURCHASED, PLAN][..], &keyed.paid),
            (grants[1], bonus, &[BONUS], &keyed.bonus),
        ] {
            findings.check((paid && credits > 0) == grant.is_some(), TOPUP, || {
                format!("payment {id} has status {status} and grant {grant:?} for {credits} credits")
            });
            let key = keys.get(&id).copied();
            if let (Some(grant), None, 1 | 3) = (grant, key, payment.purpose) {
                // Its period was made with it.
                of_periods.push((id, grant, credits));
                continue;
            }
            findings.check(key == grant, TOPUP, || {
                format!("payment {id} and the key of its grant name different grants")
            });
            let Some(grant) = grant else { continue };
            credited += 1;
            let terms = book.grants.get(&grant).map(|grant| (grant.terms.credits, grant.terms.kind));
            let right = terms.is_some_and(|(given, kind)| given == credits && kinds.contains(&kind));
            findings
                .check(right, TOPUP, || format!("payment {id} of {credits} is not what grant {grant} gave"));
            own(book, grant, TOPUP, findings);
        }
    }
    while let Some((of, _)) = tables.refunds.next(book.workspace)? {
        findings.broken(TOPUP, format!("a refund belongs to payment {of}, which does not exist"));
    }
    let made = keyed.paid.len() + keyed.bonus.len();
    findings.check(made == credited, TOPUP, || format!("{made} grants were made for {credited} of payments"));
    findings.check(asked == keyed.refunds, TOPUP, || {
        format!("{asked} refunds are kept, {} have a key", keyed.refunds)
    });
    receipts.sort_unstable();
    let gapless = receipts.iter().zip(1..).all(|(receipt, number)| *receipt == number);
    findings.check(gapless, TOPUP, || "the numbers of receipts have a gap, or one twice".to_owned());
    for id in &keyed.ordered {
        findings
            .check(known.contains(id), KEYS, || format!("a key names payment {id}, which does not exist"));
    }
    let strays = keyed.taken.keys().filter(|id| !known.contains(id)).count();
    findings
        .check(strays == 0, TOPUP, || format!("credits were taken for {strays} payments that do not exist"));
    Ok(of_periods)
}

/// What went back of one payment, in money and in credits.
fn sums(id: i64, payment: &Payment, keyed: &Keyed, findings: &mut Findings) {
    let Payment {
        credits, bonus, status, amount, sums: [refunded, disputed, reinstated, undone], taken, ..
    } = *payment;
    let (all, paid) = (credits.saturating_add(bonus), matches!(status, 1 | 4));
    findings.check((0..=5).contains(&status) && (0..=3).contains(&payment.purpose), TOPUP, || {
        format!("payment {id} has status {status} and purpose {}", payment.purpose)
    });
    let bounded = (0..=if paid { all } else { 0 }).contains(&taken);
    let money = (0..=refunded).contains(&undone) && (0..=disputed).contains(&reinstated);
    findings.check(bounded && money && amount >= 0, TOPUP, || {
        format!("payment {id} of {all} has {taken} taken, {refunded} refunded, {undone} of it in vain, {disputed} disputed, {reinstated} won back")
    });
    findings.check((status == 4) == (paid && taken == all && disputed == reinstated), TOPUP, || {
        format!("payment {id} of {all} has status {status} with {taken} taken")
    });
    let ledger = keyed.taken.get(&id).copied().unwrap_or_default();
    findings.check(ledger == i128::from(taken), TOPUP, || {
        format!("payment {id} took {taken} credits back, the ledger {ledger}")
    });
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
    let Plan { created_at, anchor, next_period: next, standing, has_terms } = *plan;
    // Statements are counted from the beginning on: nothing is before it.
    let (mut count, mut ended, mut begun) = (0, created_at, None);
    while let Some((number, period)) = tables.periods.next(book.workspace)? {
        let Period { starts_at, ends_at, credits, begins, grant } = period;
        // Where periods are counted anew there may be a gap; never an overlap. One that was replaced at once has no length.
        let follows = if begins { starts_at >= ended } else { starts_at == ended };
        findings.check(number == count && follows && starts_at <= ends_at, PERIOD, || {
            format!("period {number} from {starts_at} to {ends_at} should be period {count} from {ended}")
        });
        if begins {
            begun = Some(starts_at);
        }
        (count, ended) = (number.saturating_add(1), ends_at);
        findings.check(keyed.periods.get(&number) == Some(&grant), PERIOD, || {
            format!("period {number} and its key name different grants")
        });
        let terms = book.grants.get(&grant).map(|grant| &grant.terms);
        let right = terms.is_some_and(|terms| {
            (terms.kind, terms.credits, terms.effective_at) == (PLAN, credits, starts_at)
        });
        findings.check(right, PERIOD, || format!("period {number} is not what grant {grant} gave"));
        own(book, grant, PERIOD, findings);
    }
    let anew = next.is_some_and(|next| next == anchor && next >= ended);
    findings.check(begun.is_none_or(|begun| begun == anchor) || anew || next.is_none(), PERIOD, || {
        format!("periods are counted from {anchor}, the last to be counted anew began at {begun:?}")
    });
    findings.check(next.is_none() || (has_terms && standing != Some(5)), PERIOD, || {
        "a period is to begin without a plan".to_owned()
    });
    let kept: BTreeMap<_, _> = keyed.periods.iter().filter(|(number, _)| **number >= count).collect();
    findings.check(kept.is_empty(), PERIOD, || format!("{} granted periods are not kept", kept.len()));
    findings.check(next.is_none_or(|next| next == ended || anew), PERIOD, || {
        format!("the next period begins at {next:?}, the last one ends at {ended}")
    });
    around::zones(tables, book, created_at, findings)
}
