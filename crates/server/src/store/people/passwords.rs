//! Passwords of people, as hashes, and how often one may be tried.
//!
//! Invariant: a try is written down before a password is compared, so that of many at the same time no more are compared than
//! may be. An address that nobody has is counted like any other.

use std::net::IpAddr;

use billing::Time;

use super::{NOBODY, digest};
use crate::store::db::Tx;
use crate::store::{Error, Store, logbook, outbox};
use crate::{clock, values};

/// How long a try counts, in seconds.
const COUNTS_SECONDS: i64 = 900;
/// How many tries an address has in that time.
const TRIES_OF_ADDRESS: i64 = 5;
/// How many a network has: an office is behind one.
const TRIES_OF_NETWORK: i64 = 50;

/// A try that may be made.
#[derive(Clone, Debug)]
pub struct Try {
    id: i64,
    address: [u8; 32],
    network: Option<[u8; 32]>,
}

/// A session that stays when the others of its person end.
#[derive(Clone, Debug)]
pub struct Keep {
    pub workspace: i64,
    pub session: i64,
    /// Who did it, as the logbook names them.
    pub actor: String,
}

/// What becomes of a password.
#[derive(Clone, Debug)]
pub enum Changed {
    /// Its hash.
    Set(String),
    Removed,
}

impl Store {
    /// Takes a try of an address, from a network if that is known; `None` when there were too many.
    pub async fn begin_try(&self, email: &str, network: Option<IpAddr>) -> Result<Option<Try>, Error> {
        let subject = |text: String| digest(text.as_bytes());
        let (address, id) = (subject(format!("address {email}")), clock::fresh_id());
        let network = network.map(|network| subject(format!("network {network}")));
        self.write(NOBODY, move |batch| {
            let tx = &batch.tx;
            tx.execute("delete from sign_in_attempt where expires_at <= ?1", values![batch.now])?;
            let expires_at = batch.now.plus_seconds(COUNTS_SECONDS);
            let subjects = [(Some(address), TRIES_OF_ADDRESS), (network, TRIES_OF_NETWORK)];
            let subjects = subjects.into_iter().filter_map(|(subject, most)| Some((subject?, most)));
            for (subject, most) in subjects.clone() {
                let count = "select count(*) from sign_in_attempt where subject = ?1";
                if tx.int(count, values![&subject])? >= most {
                    return Ok(None);
                }
            }
            for (subject, _) in subjects {
                let row = "insert into sign_in_attempt (subject, id, expires_at) values (?1, ?2, ?3)";
                tx.execute(row, values![&subject, id, expires_at])?;
            }
            Ok(Some(Try { id, address, network }))
        })
        .await
    }

    /// A try that found the password: the address begins anew, and the network was not guessing.
    pub async fn end_try(&self, done: Try) -> Result<(), Error> {
        self.write(NOBODY, move |batch| {
            let Try { id, address, network } = &done;
            batch.tx.execute("delete from sign_in_attempt where subject = ?1", values![address])?;
            if let Some(network) = network {
                let one = "delete from sign_in_attempt where subject = ?1 and id = ?2";
                batch.tx.execute(one, values![network, *id])?;
            }
            Ok(())
        })
        .await
    }

    /// The hash of a person's password.
    pub async fn password(&self, email: String) -> Result<Option<String>, Error> {
        self.read(move |tx| find(tx, &email)).await
    }

    /// Gives the first Admin of a new server a password.
    pub async fn first_password(&self, email: String, hash: String) -> Result<(), Error> {
        self.write(NOBODY, move |batch| set(&batch.tx, &email, &hash, batch.now)).await
    }

    /// Changes or removes a person's password. All their sessions but one end, mailed links end as well, and a mail says so. Where
    /// the present one was asked for, `compared` is its hash: another that was set since is nobody's to replace with the old one.
    pub async fn change_password(
        &self,
        email: String,
        compared: Option<String>,
        changed: Changed,
        keep: Keep,
    ) -> Result<(), Error> {
        self.write(keep.workspace, move |batch| {
            let Keep { workspace, session, actor } = &keep;
            batch.load(*workspace)?;
            if compared.is_some() && find(&batch.tx, &email)? != compared {
                return Err(Error::Conflict("password_changed", "the password was changed meanwhile"));
            }
            let (what, word) = match &changed {
                Changed::Set(hash) => {
                    set(&batch.tx, &email, hash, batch.now)?;
                    ("password.changed", "changed")
                }
                Changed::Removed => {
                    batch.tx.execute("delete from password where email = ?1", values![&email])?;
                    ("password.removed", "removed")
                }
            };
            let others = "delete from session where email = ?1 and way <> 0 and id <> ?2";
            batch.tx.execute(others, values![&email, *session])?;
            batch.tx.execute("delete from sign_in where email = ?1", values![&email])?;
            logbook::note(batch, *workspace, actor, (what, &email), (None, None))?;
            let subject = format!("Your password was {word}");
            let body = format!(
                "The password of {email} for Scrip was {word}, and all other browsers are signed out.\n\n\
                 If it was not you, sign in with a mailed link and set a new password.\n"
            );
            outbox::mail(&batch.tx, *workspace, batch.now, (&email, &subject, &body))
        })
        .await
    }
}

fn find(tx: &Tx<'_>, email: &str) -> Result<Option<String>, Error> {
    tx.one("select hash from password where email = ?1", values![email], |row| row.text(0))
}

fn set(tx: &Tx<'_>, email: &str, hash: &str, now: Time) -> Result<(), Error> {
    tx.execute(
        "insert into password (email, hash, changed_at) values (?1, ?2, ?3)
         on conflict (email) do update set hash = excluded.hash, changed_at = excluded.changed_at",
        values![email, hash, now],
    )?;
    Ok(())
}
