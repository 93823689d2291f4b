//! Signed-in browsers. Only the digest of a session's token is kept.
//!
//! Invariant: of somebody else's session nobody learns anything. A host product says what address it likes, so whoever came by its
//! link sees only what came by links into the same workspace.

use billing::Time;
use billing::units::SECOND;

use super::members::role_of;
use super::{NOBODY, digest};
use crate::store::{Error, Store};
use crate::{clock, values};

/// How often it is written down that a session is in use, in microseconds.
const SEEN_EVERY: i64 = 300 * SECOND;

/// What a session may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Role {
    Member = 0,
    Admin = 1,
    Operator = 2,
}

impl Role {
    pub(super) fn of(code: i64) -> Role {
        match code {
            2 => Role::Operator,
            1 => Role::Admin,
            _ => Role::Member,
        }
    }
}

/// How somebody came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// By a link that the host product, or the server, signed.
    Link = 0,
    /// By a link that was mailed to them.
    Mail = 1,
    /// By their password.
    Password = 2,
    /// By the identity provider, which says whose the address is.
    Provider = 3,
}

impl Way {
    fn of(code: i64) -> Way {
        let ways = [Way::Mail, Way::Password, Way::Provider];
        ways.into_iter().find(|way| *way as i64 == code).unwrap_or(Way::Link)
    }

    /// Whether they came by themselves: they showed that the address is theirs.
    pub fn is_person(self) -> bool {
        self != Way::Link
    }
}

/// A signed-in browser.
#[derive(Clone, Debug)]
pub struct Session {
    /// `None` for the operator's own pages.
    pub workspace: Option<i64>,
    pub role: Role,
    pub email: Option<String>,
    pub way: Way,
}

/// A session that stands.
#[derive(Clone, Debug)]
pub struct KnownSession {
    pub id: i64,
    pub session: Session,
}

/// A session as its owner lists it.
#[derive(Clone, Debug)]
pub struct SessionRow {
    pub id: i64,
    pub workspace: Option<i64>,
    pub way: Way,
    /// What the browser said of itself.
    pub agent: String,
    pub created_at: Time,
    pub seen_at: Time,
}

/// Whose sessions are meant.
#[derive(Clone, Debug)]
pub enum Whose {
    /// A person's, in all workspaces.
    Person(String),
    /// Those that came with this address by links into one workspace.
    Guest(i64, String),
    /// One alone.
    Only(i64),
}

impl Whose {
    /// What the one who is looking may see: never more than what was shown to be theirs.
    pub fn of(known: &KnownSession) -> Whose {
        let Session { workspace, email, way, .. } = &known.session;
        match (way, email, workspace) {
            (way, Some(email), _) if way.is_person() => Whose::Person(email.clone()),
            (Way::Link, Some(email), Some(workspace)) => Whose::Guest(*workspace, email.clone()),
            _ => Whose::Only(known.id),
        }
    }

    /// A condition on `session`, with its three parameters.
    fn condition(&self) -> (&'static str, i64, &str) {
        match self {
            Whose::Person(email) => ("way <> 0 and email = ?2 and ?1 = 0", 0, email),
            Whose::Guest(workspace, email) => ("way = 0 and email = ?2 and owner = ?1", *workspace, email),
            Whose::Only(id) => ("id = ?1 and ?2 = ''", *id, ""),
        }
    }
}

impl Store {
    /// Starts a session; only the token's digest is kept. A person is in it what they are in their workspace at that moment: since
    /// it was looked up, they may have been made something else or taken out.
    pub async fn create_session(
        &self,
        token: [u8; 32],
        session: Session,
        agent: String,
        expires_at: Time,
    ) -> Result<(), Error> {
        let (hash, id) = (digest(&token), clock::fresh_id());
        let place = session.workspace.filter(|_| session.way.is_person());
        self.write(place.unwrap_or(NOBODY), move |batch| {
            let Session { workspace, role, email, way } = &session;
            let role = match (place, email) {
                (Some(place), Some(email)) => {
                    batch.load(place)?;
                    role_of(batch, place, email)?.ok_or(Error::NotFound)?
                }
                _ => *role,
            };
            batch.tx.execute("delete from session where expires_at <= ?1", values![batch.now])?;
            batch.tx.execute(
                "insert into session (hash, id, owner, role, email, way, agent, created_at, seen_at, expires_at)
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9)",
                values![&hash, id, *workspace, role as i64, email.as_ref(), *way as i64, &agent, batch.now, expires_at],
            )?;
            Ok(())
        })
        .await
    }

    /// The session behind a token, unless it has expired. Now and then it is written down that it is in use.
    pub async fn session(&self, token: [u8; 32]) -> Result<Option<KnownSession>, Error> {
        let (hash, now) = (digest(&token), self.clock().now());
        let found = self
            .read(move |tx| {
                tx.one(
                    "select id, owner, role, email, way, seen_at from session where hash = ?1 and expires_at > ?2",
                    values![&hash, now],
                    |row| {
                        let (workspace, role) = (row.opt_int(1)?, Role::of(row.int(2)?));
                        let (email, way) = (row.opt_text(3)?, Way::of(row.int(4)?));
                        let session = Session { workspace, role, email, way };
                        Ok((KnownSession { id: row.int(0)?, session }, row.time(5)?))
                    },
                )
            })
            .await?;
        let Some((known, seen_at)) = found else { return Ok(None) };
        if now.0 - seen_at.0 > SEEN_EVERY {
            let seen = self.write(NOBODY, move |batch| {
                batch.tx.execute("update session set seen_at = ?2 where hash = ?1", values![&hash, now])?;
                Ok(())
            });
            // Who looks on while nothing can be written may go on looking.
            let _ = seen.await;
        }
        Ok(Some(known))
    }

    /// Ends a session at once.
    pub async fn end_session(&self, token: [u8; 32]) -> Result<(), Error> {
        let hash = digest(&token);
        self.write(NOBODY, move |batch| {
            batch.tx.execute("delete from session where hash = ?1", values![&hash])?;
            Ok(())
        })
        .await
    }

    /// Somebody's sessions, the one that was used last first.
    pub async fn sessions(&self, whose: Whose) -> Result<Vec<SessionRow>, Error> {
        let now = self.clock().now();
        self.read(move |tx| {
            let (condition, number, email) = whose.condition();
            tx.query(
                &format!(
                    "select id, owner, way, agent, created_at, seen_at from session
                     where {condition} and expires_at > ?3 order by seen_at desc, id desc limit 100"
                ),
                values![number, email, now],
                |row| {
                    let (workspace, way) = (row.opt_int(1)?, Way::of(row.int(2)?));
                    let (created_at, seen_at) = (row.time(4)?, row.time(5)?);
                    Ok(SessionRow {
                        id: row.int(0)?,
                        workspace,
                        way,
                        agent: row.text(3)?,
                        created_at,
                        seen_at,
                    })
                },
            )
        })
        .await
    }

    /// Ends one of somebody's sessions.
    pub async fn end_one_session(&self, whose: Whose, id: i64) -> Result<(), Error> {
        self.write(NOBODY, move |batch| {
            let (condition, number, email) = whose.condition();
            let one = format!("delete from session where {condition} and id = ?3");
            let ended = batch.tx.execute(&one, values![number, email, id])?;
            if ended == 0 { Err(Error::NotFound) } else { Ok(()) }
        })
        .await
    }

    /// Ends all of somebody's sessions but one.
    pub async fn end_other_sessions(&self, whose: Whose, keep: i64) -> Result<(), Error> {
        self.write(NOBODY, move |batch| {
            let (condition, number, email) = whose.condition();
            let others = format!("delete from session where {condition} and id <> ?3");
            batch.tx.execute(&others, values![number, email, keep])?;
            Ok(())
        })
        .await
    }
}
