//! Which of the hosts that the operator named is the primary.
//!
//! Invariant: this process never goes back to a primary from before the newest promotion that it has seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{Client, Config, Connection, NoTls, Socket};

use super::wire::gone;
use crate::store::Error;

/// How long the other hosts are waited for when one takes writes.
const OTHERS: Duration = Duration::from_secs(1);
/// The first part of a log file's name.
const TIMELINE: &str =
    "select cast(cast('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) as bit(32)) as bigint)";

/// Where the server is, as the operator said it.
#[derive(Clone, Debug)]
pub struct Server {
    /// One of them is the primary.
    pub(super) hosts: Vec<Config>,
    /// How many partitions the database has.
    pub partitions: i64,
    /// The newest timeline that was seen: a promotion begins one, so a server of an older one is no primary any more.
    pub(super) timeline: Arc<AtomicI64>,
}

/// A session on a host that takes writes.
pub(super) struct Found {
    pub(super) client: Client,
    pub(super) connection: Connection<Socket, NoTlsStream>,
    pub(super) timeline: i64,
}

impl Server {
    /// Connects to the primary. A host that was it before another was promoted, and came back without knowing, takes writes
    /// too: all are asked, and the newest timeline counts.
    pub(super) async fn connect(&self) -> Result<Found, Error> {
        let mut asked: FuturesUnordered<_> = self.hosts.iter().map(ask).collect();
        let (mut best, mut failed): (Option<Found>, _) = (None, gone());
        loop {
            let next = match best {
                None => asked.next().await,
                Some(_) => tokio::time::timeout(OTHERS, asked.next()).await.unwrap_or(None),
            };
            match next {
                Some(Ok(found)) if best.as_ref().is_none_or(|best| best.timeline < found.timeline) => {
                    best = Some(found);
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => failed = error,
                None => break,
            }
        }
        let best = best.ok_or(failed)?;
        if self.timeline.fetch_max(best.timeline, Ordering::SeqCst) > best.timeline {
            let why = "the database has another primary by now than the one that answers";
            return Err(Error::Unavailable(why.to_owned()));
        }
        Ok(best)
    }
}

/// Connects to a host, if it takes writes, and asks for its timeline.
async fn ask(host: &Config) -> Result<Found, Error> {
    let (client, mut connection) = host.connect(NoTls).await?;
    let answer = tokio::select! {
        answer = client.query_one(TIMELINE, &[]) => answer,
        _ = &mut connection => return Err(gone()),
    };
    let timeline = match answer {
        Ok(row) => row.try_get(0)?,
        // A database that has none.
        Err(error) if error.as_db_error().is_some() => 0,
        Err(error) => return Err(error.into()),
    };
    Ok(Found { client, connection, timeline })
}
