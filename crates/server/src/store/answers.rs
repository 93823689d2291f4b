//! First answers that cannot be made again from what they changed: they are kept under the caller's key, and given again.
//!
//! Owns what was answered. Whether the key may be used again is decided where the change is.

use super::committer::Key;
use super::db::Tx;
use super::{Error, Store};
use crate::values;

impl Store {
    /// Keeps what is answered under a key, unless something was before; what was answered first.
    pub async fn first_answer(&self, workspace: i64, key: Key, body: String) -> Result<String, Error> {
        self.write(workspace, move |batch| {
            let name = values![workspace, key.kind as i64, &*key.key];
            let known = "select body from answer where workspace = ?1 and kind = ?2 and key = ?3";
            if let Some(first) = batch.tx.one(known, name, |row| row.text(0))? {
                return Ok(first);
            }
            keep(&batch.tx, workspace, &key, &body)?;
            Ok(body.clone())
        })
        .await
    }
}

/// Keeps the first answer under a key, in the transaction that makes what it says.
pub(super) fn keep(tx: &Tx<'_>, workspace: i64, key: &Key, body: &str) -> Result<(), Error> {
    tx.execute(
        "insert into answer (workspace, kind, key, body) values (?1, ?2, ?3, ?4)",
        values![workspace, key.kind as i64, &*key.key, body],
    )?;
    Ok(())
}
