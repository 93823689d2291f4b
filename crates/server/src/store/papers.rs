//! What finance reads: a statement of a period, and what each grant's credits cost. Reads only.
//!
//! Every number comes from the ledger and from payments; a statement's lines sum to the change of the balance.

use std::collections::BTreeMap;

use billing::{Seq, Time};

use super::db::Tx;
use super::page::{self, Walk};
use super::payments::{Payment, find as find_payment};
use super::subscriptions::periods::ordered;
use super::{Error, Store, codec, ledger};
use crate::values;

/// One line of a statement: entries of one kind, and of one operation where they have one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// The code of [`super::codec::kind_code`].
    pub kind: i64,
    pub operation: Option<String>,
    pub entries: i64,
    /// Credits, signed.
    pub credits: i64,
}

/// What happened in a period.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    /// From 1, without a gap.
    pub number: i64,
    pub starts_at: Time,
    pub ends_at: Time,
    /// The entries in it: after the first of these, up to the second.
    pub entries: (i64, i64),
    pub opening: i64,
    pub lines: Vec<Line>,
    pub closing: i64,
    pub payments: Vec<Payment>,
}

/// A grant and the money that was paid for it.
#[derive(Clone, Debug)]
pub struct Cost {
    pub grant: billing::Grant,
    /// Minor units without tax, and their currency; `None` for credits that nobody paid for.
    pub paid: Option<(i64, String)>,
    /// The payment behind it, by its id in the API.
    pub payment: Option<String>,
}

impl Store {
    /// The statement of a period, by its number from 1.
    pub async fn statement(&self, workspace: i64, number: i64) -> Result<Statement, Error> {
        self.read_ledger(Some(workspace), move |tx| {
            let period = "select starts_at, ends_at from period where workspace = ?1 and number = ?2";
            let period = tx.one(period, values![workspace, number - 1], |row| Ok((row.time(0)?, row.time(1)?)))?;
            let (starts_at, ends_at) = period.ok_or(Error::NotFound)?;
            let ends = [page::last_before(tx, workspace, starts_at)?, page::last_before(tx, workspace, ends_at)?];
            let balance = |seq: Seq| {
                let entry = page::entry(tx, workspace, seq)?;
                Ok::<_, Error>(entry.map_or(0, |recorded| recorded.entry.balance))
            };
            let lines = lines(tx, workspace, starts_at, ends_at)?;
            let paid = "select id from payment where workspace = ?1 and paid_at >= ?2 and paid_at < ?3 order by receipt";
            let paid = tx.query(paid, values![workspace, starts_at, ends_at], |row| row.int(0))?;
            let payments = paid.into_iter().map(|id| find_payment(tx, workspace, id)).collect::<Result<_, _>>()?;
            let (opening, closing, entries) = (balance(ends[0])?, balance(ends[1])?, (ends[0].0, ends[1].0));
            Ok(Statement { number, starts_at, ends_at, entries, opening, lines, closing, payments })
        })
        .await
    }

    /// How many periods of a workspace have begun.
    pub async fn statements(&self, workspace: i64) -> Result<i64, Error> {
        self.read(move |tx| tx.int("select count(*) from period where workspace = ?1", values![workspace]))
            .await
    }

    /// All grants, oldest first, each with what was paid for it.
    pub async fn costs(&self, workspace: i64) -> Result<Vec<Cost>, Error> {
        self.read_ledger(Some(workspace), move |tx| {
            let mut basis = basis(tx, workspace)?;
            let ids = "select id from \"grant\" where workspace = ?1 order by id";
            let ids = tx.query(ids, values![workspace], |row| row.int(0))?;
            ids.into_iter()
                .map(|id| {
                    let grant = ledger::load_grant(tx, workspace, Seq(id))?.ok_or(Error::NotFound)?;
                    let (paid, payment) = basis.remove(&id).unzip();
                    Ok(Cost { grant, paid, payment })
                })
                .collect()
        })
        .await
    }
}

/// What changed the balance from one moment to another, by kind of entry and operation.
fn lines(tx: &Tx<'_>, workspace: i64, from: Time, to: Time) -> Result<Vec<Line>, Error> {
    let mut sums: BTreeMap<(i64, Option<String>), (i64, i64)> = BTreeMap::new();
    Walk::span(workspace, from, to).pages(tx, |page| {
        for recorded in page.run().entries() {
            let entry = recorded?.entry;
            if entry.amount != 0 && from <= entry.at && entry.at < to {
                let operation = entry.price.map(|price| price.operation.to_string());
                let sum = sums.entry((codec::kind_code(entry.kind), operation)).or_default();
                *sum = (sum.0 + 1, sum.1 + entry.amount);
            }
        }
        Ok(true)
    })?;
    let line = |((kind, operation), (entries, credits))| Line { kind, operation, entries, credits };
    Ok(sums.into_iter().map(line).collect())
}

type Basis = std::collections::HashMap<i64, ((i64, String), String)>;

/// What grants cost. A bonus costs nothing of its own; the grants of a plan that is paid less often share what was paid.
fn basis(tx: &Tx<'_>, workspace: i64) -> Result<Basis, Error> {
    let mut basis = Basis::new();
    let paid = "select id from payment where workspace = ?1 and grant_id is not null order by paid_at, id";
    for id in tx.query(paid, values![workspace], |row| row.int(0))? {
        let payment = find_payment(tx, workspace, id)?;
        let net = payment.order.amount - payment.order.tax;
        let shares = match ordered(&payment).filter(|ordered| ordered.whole) {
            Some(ordered) => ordered.terms.months / ordered.terms.grant_months,
            None => 1,
        };
        let grants =
            "select p.grant_id from period p join period f on f.workspace = p.workspace and f.grant_id = ?2
            where p.workspace = ?1 and p.number >= f.number order by p.number limit ?3";
        let mut grants = tx.query(grants, values![workspace, payment.grant, shares], |row| row.int(0))?;
        if grants.is_empty() {
            grants.extend(payment.grant);
        }
        for (grant, number) in grants.into_iter().zip(0..) {
            // The first ones carry the minor units that cannot be divided.
            let share = net / shares + i64::from(number < net % shares);
            basis.insert(grant, ((share, payment.order.currency.clone()), payment.name()));
        }
    }
    Ok(basis)
}
