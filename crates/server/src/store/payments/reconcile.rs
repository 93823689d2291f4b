//! What the provider is asked about again, because it may not have told.
//!
//! Owns which payments are still open, how far the provider's lists were read, and whose database this is.

use billing::Time;

use super::super::people::NOBODY;
use super::super::{Error, Store};
use super::{Payment, find};
use crate::values;

impl Store {
    /// The account that this database belongs to: the one that is given, if it belongs to nobody yet.
    pub async fn bind_account(&self, account: String) -> Result<String, Error> {
        self.write(NOBODY, move |batch| {
            batch.tx.execute(
                "insert into meta (name, value) values ('payments_account', ?1) on conflict (name) do nothing",
                values![&account],
            )?;
            let bound = "select value from meta where name = 'payments_account'";
            batch.tx.one(bound, &[], |row| row.text(0))?.ok_or(Error::NotFound)
        })
        .await
    }

    /// When the provider's lists were last read to their end.
    pub async fn reconciled_at(&self) -> Result<Option<Time>, Error> {
        let at = self.read(move |tx| {
            tx.one("select value from meta where name = 'reconciled_at'", &[], |row| row.text(0))
        });
        Ok(at.await?.and_then(|at| at.parse().ok()).map(Time))
    }

    /// Keeps that they were read to their end at this moment.
    pub async fn reconciled(&self, at: Time) -> Result<(), Error> {
        self.write(NOBODY, move |batch| {
            batch.tx.execute(
                "insert into meta (name, value) values ('reconciled_at', ?1)
                 on conflict (name) do update set value = excluded.value",
                values![&at.0.to_string()],
            )?;
            Ok(())
        })
        .await
    }

    /// Whose a customer of the provider is.
    pub async fn customer_of(&self, customer: String) -> Result<Option<i64>, Error> {
        self.read(move |tx| {
            let owner = "select owner from provider_object where object = ?1 and number is null";
            tx.one(owner, values![&customer], |row| row.int(0))
        })
        .await
    }

    /// Keeps by which method a workspace is charged, or that there is none any more, unless it pays as another customer now.
    pub async fn keep_method(
        &self,
        workspace: i64,
        customer: String,
        method: Option<(String, String)>,
    ) -> Result<(), Error> {
        let (method, label) = method.unzip();
        self.write(workspace, move |batch| {
            batch.tx.execute(
                "update payer set method = ?3, method_label = ?4 where workspace = ?1 and customer = ?2",
                values![workspace, &customer, method.as_ref(), label.as_ref()],
            )?;
            Ok(())
        })
        .await
    }

    /// Forgets the page of a payment whose time is over, so that the next one who wants to pay it gets a new one.
    pub async fn close_checkout(
        &self,
        workspace: i64,
        id: i64,
        checkout: Option<String>,
    ) -> Result<Payment, Error> {
        self.write(workspace, move |batch| {
            batch.tx.execute(
                "update payment set checkout_url = null where workspace = ?1 and id = ?2
                 and coalesce(checkout, '') = coalesce(?3, '')",
                values![workspace, id, checkout.as_ref()],
            )?;
            find(&batch.tx, workspace, id)
        })
        .await
    }

    /// Payments behind `after` that a person may have paid since they were looked at, by their number.
    pub async fn open_payments(&self, after: i64, limit: i64) -> Result<Vec<(i64, i64)>, Error> {
        let open = "select workspace, id from payment where status in (0, 5) and id > ?1
            and (status = 5 or checkout_url is not null) order by id limit ?2";
        self.read(move |tx| tx.query(open, values![after, limit], |row| Ok((row.int(0)?, row.int(1)?)))).await
    }
}
