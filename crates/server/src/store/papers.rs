//! What finance reads of grants: what their credits cost. Reads only.
//!
//! Every number comes from the ledger and from payments.

use billing::Seq;

use super::db::Tx;
use super::payments::find as find_payment;
use super::subscriptions::periods::ordered;
use super::{Error, Store, ledger};
use crate::values;

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
