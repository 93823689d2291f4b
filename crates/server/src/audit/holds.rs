//! The life of every hold, followed from entry to entry and compared with its row.
//!
//! A hold that ended as its row says is let go at once, and one without a row at the end of the page in which it ended, so that only
//! open ones are in memory: an entry about it that comes later contradicts the row, or that there is none.

use std::collections::{BTreeMap, HashMap};

use super::book::{Book, mark};
use super::pages::{Entry, Note};
use super::rows::{HoldRow, Posting, kind};
use super::{BOUND, EPOCH, Findings, HOLD_ROW, LIFE, PRICE};

const OPEN: i64 = 0;
const DISPATCHED: i64 = 1;
const IN_DOUBT: i64 = 2;
const SETTLED: i64 = 3;
const RELEASED: i64 = 4;
/// How long a hold may last from its opening or last extension, in microseconds.
const LIFETIME: i64 = 7 * 86_400_000_000;
/// How long a hold may stay in doubt, in microseconds.
const DOUBT: i64 = 72 * 3_600_000_000;
/// How long after an automatic release a settle is honoured, in microseconds.
const LATE: i64 = 30 * 86_400_000_000;

/// The holds of a workspace that are open, or that do not agree with their rows.
#[derive(Default)]
pub struct Life {
    holds: HashMap<i64, Hold>,
    /// What the holds made for each job come to.
    pub jobs: BTreeMap<i64, Used>,
    /// The holds without a row that had not ended by the end of the last page, and those of this one.
    rowless: Vec<i64>,
    /// Whether a hold of a lease does not name its job, so that no job's sum can be known.
    pub nameless: bool,
}

/// Credits of a job.
#[derive(Clone, Copy, Default)]
pub struct Used {
    /// Charged in time.
    pub charged: i128,
    /// Charged after the hold had been released, or for a message that somebody asked for: no lease tells.
    pub late: i128,
    /// Held by open holds.
    pub held: i128,
}

/// Parts of a hold: grant and credits.
type Parts = Vec<(i64, i64)>;

struct Hold {
    now: HoldRow,
    row: Option<HoldRow>,
    /// The entry that said when it ends.
    dated: i64,
}

/// Follows one entry, which may be about a hold.
pub fn about_hold(
    book: &mut Book,
    entry: &Entry<'_>,
    (note, row): (Option<&Note<'_>>, Option<HoldRow>),
    findings: &mut Findings,
) {
    let (seq, postings) = (entry.seq, &entry.postings);
    let opens = entry.hold == Some(seq);
    let about = matches!(entry.kind, kind::HOLD..=kind::RELEASE | kind::REFUND);
    findings.check(about == entry.hold.is_some(), LIFE, || {
        format!("entry {seq} of kind {} and the hold it names do not belong together", entry.kind)
    });
    findings.check(row.is_none() || opens, HOLD_ROW, || format!("hold {seq} was opened by no entry"));
    let Some(id) = entry.hold else { return };
    if opens {
        open(book, entry, postings, (note, row), findings);
    } else {
        let Some(mut hold) = book.life.holds.remove(&id) else {
            unknown(book, id, entry, findings);
            return;
        };
        change(book, &mut hold.now, entry, postings, findings);
        if matches!(entry.kind, kind::EXTEND | kind::DOUBT) {
            hold.dated = seq;
        }
        let labels = Note::labels(note);
        findings.check(hold.now.labels == labels, LIFE, || {
            format!("entry {seq} has other labels than hold {id}")
        });
        book.life.holds.insert(id, hold);
    }
    let done = |hold: &Hold| hold.now.status >= SETTLED && hold.row.as_ref() == Some(&hold.now);
    if book.life.holds.get(&id).is_some_and(done) {
        book.life.holds.remove(&id);
        book.set(id, mark::ENDED);
    }
}

/// An entry about a hold that is not open and does not disagree with its row.
fn unknown(book: &Book, id: i64, entry: &Entry<'_>, findings: &mut Findings) {
    let seq = entry.seq;
    if book.mark(id) & mark::ENDED == 0 {
        findings.broken(LIFE, format!("entry {seq} names hold {id}, which was not opened"));
        return;
    }
    findings.broken(HOLD_ROW, format!("hold {id} stands as it did before entry {seq}"));
    let again = entry.kind != kind::REFUND;
    findings.check(!again, LIFE, || format!("entry {seq} is about hold {id}, which had ended"));
}

fn open(
    book: &mut Book,
    entry: &Entry<'_>,
    postings: &[Posting],
    (note, row): (Option<&Note<'_>>, Option<HoldRow>),
    findings: &mut Findings,
) {
    let (id, at) = (entry.seq, entry.at);
    let charge = entry.kind == kind::CHARGE;
    findings.check(charge || entry.kind == kind::HOLD, LIFE, || {
        format!("entry {id} of kind {} opens a hold", entry.kind)
    });
    let (Some(operation), Some(quantity), Some(unit_price), Some(version)) =
        (entry.operation, entry.quantity, entry.unit_price, entry.version)
    else {
        findings.broken(PRICE, format!("hold {id} has no price"));
        return;
    };
    let amount = i128::from(quantity) * i128::from(unit_price);
    let priced = quantity > 0 && unit_price >= 0 && sum(postings, |_| true) == amount;
    findings
        .check(priced, PRICE, || format!("hold {id} took other credits than its {quantity} × {unit_price}"));
    let tried = if charge { quantity } else { 0 };
    findings.check(entry.attempted == tried, PRICE, || format!("entry {id} says {} tried", entry.attempted));
    let later = |until| book.decided.is_none_or(|decided| until > decided);
    let bounded = charge == entry.until.is_none()
        && entry.until.is_none_or(|until| later(until) && until <= at.saturating_add(LIFETIME));
    findings.check(bounded, BOUND, || format!("hold {id} was opened for longer than 7 days"));
    let labels = Note::labels(note).map(str::to_owned);
    let send = entry.epoch > 0
        && !labels[0].is_empty()
        && (labels[2] == "email" || labels[2].starts_with("linkedin"));
    book.set(id, mark::OPENS | if send { mark::SEND } else { 0 });
    let now = HoldRow {
        status: if charge { SETTLED } else { OPEN },
        opened_at: at,
        operation: operation.to_owned(),
        quantity,
        unit_price,
        version,
        epoch: entry.epoch,
        parts: Some(parts(postings, |_| true)),
        ends_at: entry.until.unwrap_or(at),
        settled: if charge { quantity } else { 0 },
        attempted: tried,
        refunded: 0,
        release_reason: None,
        ended_at: charge.then_some(at),
        labels,
    };
    if row.is_none() {
        book.life.rowless.push(id);
    }
    book.life.holds.insert(id, Hold { now, row, dated: id });
}

/// Ends a page. A hold that has ended needs no row: it is what its pages say until this one, and is let go.
pub fn turn(book: &mut Book) {
    for id in std::mem::take(&mut book.life.rowless) {
        if book.life.holds.get(&id).is_some_and(|hold| hold.now.status < SETTLED) {
            book.life.rowless.push(id);
        } else if book.life.holds.remove(&id).is_some() {
            book.set(id, mark::ENDED);
        }
    }
}

fn change(
    book: &mut Book,
    hold: &mut HoldRow,
    entry: &Entry<'_>,
    postings: &[Posting],
    findings: &mut Findings,
) {
    let (seq, at, id) = (entry.seq, entry.at, entry.hold.unwrap_or(0));
    let same = entry.operation == Some(hold.operation.as_str())
        && (entry.unit_price, entry.version) == (Some(hold.unit_price), Some(hold.version));
    findings.check(same, PRICE, || format!("entry {seq} has another price than hold {id}"));
    findings
        .check(entry.epoch == hold.epoch, EPOCH, || format!("entry {seq} has another epoch than hold {id}"));
    let all = matches!(entry.kind, kind::CHARGE | kind::REFUND) || entry.quantity == Some(hold.quantity);
    findings.check(all, PRICE, || format!("entry {seq} has another quantity than hold {id}"));
    let status = hold.status;
    let lawful = match entry.kind {
        kind::DISPATCH => status == OPEN,
        kind::EXTEND => status <= DISPATCHED,
        kind::DOUBT => status == DISPATCHED,
        kind::CHARGE => status <= IN_DOUBT || may_settle_late(hold, book.decided),
        kind::RELEASE => status <= IN_DOUBT && may_release(hold, entry),
        kind::REFUND => status == SETTLED,
        _ => false,
    };
    findings.check(lawful, LIFE, || {
        format!("entry {seq} of kind {} finds hold {id} in status {status}", entry.kind)
    });
    match entry.kind {
        kind::DISPATCH => {
            hold.status = DISPATCHED;
            book.set(id, mark::OUT);
        }
        kind::EXTEND => {
            let until = entry.until.unwrap_or(i64::MAX);
            let bounded = until > hold.ends_at && until <= at.saturating_add(LIFETIME);
            findings.check(bounded, BOUND, || format!("entry {seq} extends hold {id} by more than 7 days"));
            hold.ends_at = until;
        }
        kind::DOUBT => {
            let until = entry.until.unwrap_or(i64::MAX);
            let bounded = until <= at.saturating_add(DOUBT);
            findings
                .check(bounded, BOUND, || format!("entry {seq} leaves hold {id} in doubt beyond 72 hours"));
            (hold.status, hold.ends_at) = (IN_DOUBT, until);
        }
        kind::CHARGE => settle(book, hold, entry, postings, findings),
        kind::RELEASE => release(book, hold, entry, postings, findings),
        kind::REFUND => refund(hold, entry, postings, findings),
        _ => {}
    }
}

/// From when the hold ended, not from when that was noticed.
fn may_settle_late(hold: &HoldRow, decided: Option<i64>) -> bool {
    let automatic = matches!(hold.release_reason, Some(1 | 2));
    let soon = decided.is_none_or(|at| at.saturating_sub(hold.ends_at) <= LATE);
    hold.status == RELEASED && automatic && soon
}

/// By the caller at any time; by itself only what had ended, and in doubt only what was dispatched.
fn may_release(hold: &HoldRow, entry: &Entry<'_>) -> bool {
    match entry.release_reason {
        Some(0) => true,
        Some(1) => hold.status == OPEN && entry.at >= hold.ends_at,
        Some(2) => hold.status == IN_DOUBT && entry.at >= hold.ends_at,
        _ => false,
    }
}

fn settle(
    book: &mut Book,
    hold: &mut HoldRow,
    entry: &Entry<'_>,
    postings: &[Posting],
    findings: &mut Findings,
) {
    let (seq, id, quantity) = (entry.seq, entry.hold.unwrap_or(0), entry.quantity.unwrap_or(0));
    let late = hold.status == RELEASED;
    let covered =
        quantity >= 1 && quantity <= hold.quantity && (quantity..=hold.quantity).contains(&entry.attempted);
    findings.check(covered, PRICE, || {
        format!(
            "entry {seq} settles {quantity} of {} units of hold {id}, {} tried",
            hold.quantity, entry.attempted
        )
    });
    let amount = i128::from(quantity) * i128::from(hold.unit_price);
    let consumed = parts(postings, |posting| posting.to == 'c');
    let priced = if late {
        sum(postings, |posting| posting.from == 'a') == amount
            && sum(postings, |posting| posting.from != 'a') == 0
    } else {
        let returned = parts(postings, |posting| posting.to == 'a');
        let from_held = postings.iter().all(|posting| posting.from == 'h');
        from_held && cut(hold.parts.as_deref().unwrap_or(&[]), amount) == (consumed.clone(), returned)
    };
    findings.check(priced, PRICE, || {
        format!("entry {seq} charges other credits than {quantity} × {} of hold {id}", hold.unit_price)
    });
    if let Some(used) = used(book, hold) {
        *if late || hold.epoch == 0 { &mut used.late } else { &mut used.charged } += amount;
    }
    (hold.status, hold.settled, hold.parts) = (SETTLED, quantity, Some(consumed));
    (hold.release_reason, hold.attempted, hold.ended_at) = (None, entry.attempted, Some(entry.at));
}

fn release(
    book: &mut Book,
    hold: &mut HoldRow,
    entry: &Entry<'_>,
    postings: &[Posting],
    findings: &mut Findings,
) {
    let (seq, id) = (entry.seq, entry.hold.unwrap_or(0));
    let returned = parts(postings, |posting| posting.from == 'h');
    findings.check(hold.parts.as_ref() == Some(&returned), PRICE, || {
        format!("entry {seq} returns other credits than hold {id} holds")
    });
    let tried = (0..=hold.quantity).contains(&entry.attempted);
    findings.check(tried, PRICE, || format!("entry {seq} says {} tried", entry.attempted));
    if entry.release_reason == Some(0) {
        book.unset(id, mark::OUT);
    }
    (hold.status, hold.parts, hold.release_reason) = (RELEASED, Some(Vec::new()), entry.release_reason);
    (hold.attempted, hold.ended_at) = (entry.attempted, Some(entry.at));
}

fn refund(hold: &mut HoldRow, entry: &Entry<'_>, postings: &[Posting], findings: &mut Findings) {
    let (seq, id, quantity) = (entry.seq, entry.hold.unwrap_or(0), entry.quantity.unwrap_or(0));
    let refunded = hold.refunded.saturating_add(quantity);
    findings.check(quantity >= 1 && refunded <= hold.settled, PRICE, || {
        format!("entry {seq} refunds {quantity} units of hold {id}, which has settled {}", hold.settled)
    });
    let amount = i128::from(quantity) * i128::from(hold.unit_price);
    let charged = hold.parts.take().unwrap_or_default();
    let total: i128 = charged.iter().map(|part| i128::from(part.1)).sum();
    // The last credits taken are the first to return.
    let (kept, returned) = cut(&charged, total - amount);
    let priced = sum(postings, |_| true) == amount && parts(postings, |_| true) == returned;
    findings.check(priced, PRICE, || {
        format!("entry {seq} returns other credits than {quantity} × {} of hold {id}", hold.unit_price)
    });
    (hold.refunded, hold.parts) = (refunded, Some(kept));
}

/// What must hold of the holds that are left after the last entry.
pub fn close(book: &mut Book, findings: &mut Findings) {
    let mut left: Vec<(i64, Hold)> = std::mem::take(&mut book.life.holds).into_iter().collect();
    left.sort_unstable_by_key(|(id, _)| *id);
    for (id, Hold { now, row, dated }) in left {
        match &row {
            None => findings.broken(HOLD_ROW, format!("hold {id} has no row")),
            Some(row) => findings.check(*row == now, HOLD_ROW, || {
                format!("hold {id} is not what its entries say: {}", row.differing(&now))
            }),
        }
        if now.status < SETTLED
            && now.epoch > 0
            && let Some(used) = used(book, &now)
        {
            used.held += i128::from(now.quantity) * i128::from(now.unit_price);
        }
        let (swept, at) = book.swept;
        let overdue = now.status < SETTLED && dated < swept && now.ends_at <= at;
        findings.check(!overdue, BOUND, || format!("hold {id} is open beyond its end"));
    }
}

/// The sums of the job that a hold was made for; `None` for a caller's own hold.
fn used<'b>(book: &'b mut Book, hold: &HoldRow) -> Option<&'b mut Used> {
    let is_own = hold.epoch == 0 && !hold.operation.starts_with("message_");
    let job = job_of(book.workspace, &hold.labels).filter(|_| !is_own);
    book.life.nameless |= job.is_none() && hold.epoch > 0;
    Some(book.life.jobs.entry(job?).or_default())
}

/// The job whose name a hold carries as its campaign or reference.
fn job_of(workspace: i64, labels: &[String; 5]) -> Option<i64> {
    let named = [("camp", &labels[0]), ("job", &labels[3])];
    let mut jobs = named.iter().filter_map(|(prefix, text)| crate::id::parse_inside(prefix, text));
    jobs.find(|job| job.0 == workspace).map(|job| job.1)
}

fn sum(postings: &[Posting], which: impl Fn(&Posting) -> bool) -> i128 {
    postings.iter().filter(|posting| which(posting)).map(|posting| i128::from(posting.credits)).sum()
}

fn parts(postings: &[Posting], which: impl Fn(&Posting) -> bool) -> Vec<(i64, i64)> {
    let chosen = postings.iter().filter(|posting| which(posting));
    chosen.map(|posting| (posting.grant, posting.credits)).collect()
}

/// The first so many credits of the parts, and the rest.
fn cut(parts: &[(i64, i64)], credits: i128) -> (Parts, Parts) {
    let (mut first, mut rest, mut left) = (Vec::new(), Vec::new(), credits.max(0));
    for &(grant, part) in parts {
        let taken = i64::try_from(left.min(i128::from(part))).unwrap_or(part);
        if taken > 0 {
            first.push((grant, taken));
        }
        if part > taken {
            rest.push((grant, part - taken));
        }
        left -= i128::from(taken);
    }
    (first, rest)
}
