//! What people do with notices beyond reading one: mark all as read, and ask an admin for credits.

use super::committer::{Key, KeyKind};
use super::{Error, Store, alerts, keys, outbox};
use crate::values;

/// How long one question to the admins stands before another mail goes out, in microseconds.
const ASKED_RECENTLY: i64 = 3_600 * billing::units::SECOND;

impl Store {
    /// Marks every notice of a workspace as read.
    pub async fn read_all_notices(&self, workspace: i64) -> Result<(), Error> {
        self.write(workspace, move |batch| {
            batch.tx.execute(
                "update notice set read_at = ?2 where workspace = ?1 and read_at is null",
                values![workspace, batch.now],
            )?;
            Ok(())
        })
        .await
    }

    /// Asks the admins for credits: a notice, and a mail. `false`: somebody asked within the hour, and nothing was added.
    pub async fn ask_for_credits(&self, workspace: i64, who: String, facts: String) -> Result<bool, Error> {
        self.write(workspace, move |batch| {
            batch.load(workspace)?;
            let (tx, now) = (&batch.tx, batch.now);
            let asked = "select 1 from notice where workspace = ?1 and kind = 'asked' and at > ?2 limit 1";
            if tx.one(asked, values![workspace, now.0 - ASKED_RECENTLY], |row| row.int(0))?.is_some() {
                return Ok(false);
            }
            let title = format!("{who} asks for credits.");
            alerts::add(tx, workspace, "asked", now, &title, &facts)?;
            outbox::mail_admins(tx, workspace, now, &title, &facts)?;
            Ok(true)
        })
        .await
    }

    /// Whether a form's key is seen for the first time; it is remembered, so that a double click makes one thing.
    pub async fn first_use(&self, workspace: i64, form_key: String) -> Result<bool, Error> {
        self.write(workspace, move |batch| {
            batch.load(workspace)?;
            let key = Key { kind: KeyKind::Form, key: form_key.as_str().into(), fingerprint: [0; 16] };
            if keys::find_direct(batch, workspace, &key)?.is_some() {
                return Ok(false);
            }
            keys::insert_direct(batch, workspace, &key, 0)?;
            Ok(true)
        })
        .await
    }
}
