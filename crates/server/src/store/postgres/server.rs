//! Which of the hosts that the operator named is the primary.
//!
//! Invariant: this process never goes back to a primary from before the newest promotion that it has seen.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio_postgres::config::LoadBalanceHosts;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::{Client, Config, Connection, NoTls, Socket};

use super::wire::gone;
use crate::store::Error;

/// How many hosts are tried, those that were tried before included, until one is of the newest timeline.
const TRIES: usize = 10;
/// The first part of a log file's name.
const TIMELINE: &str =
    "select cast(cast('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) as bit(32)) as bigint)";

/// Where the server is, as the operator said it.
#[derive(Clone, Debug)]
pub struct Server {
    pub(super) config: Config,
    /// How many partitions the database has.
    pub partitions: i64,
    /// The newest timeline that was seen: a promotion begins one, so a server of an older one is no primary any more.
    pub(super) timeline: Arc<AtomicI64>,
}

impl Server {
    /// Where none is to be made yet.
    pub(super) fn at(config: Config) -> Server {
        Server { config, partitions: 1, timeline: Arc::default() }
    }

    /// A connection to the host that takes writes, and its timeline. One that was a primary before another was promoted, and
    /// came back without knowing, takes writes too: it is passed by.
    pub(super) async fn connect(&self) -> Result<(Client, Connection<Socket, NoTlsStream>, i64), Error> {
        let mut config = self.config.clone();
        for _ in 0..TRIES {
            let (client, mut connection) = config.connect(NoTls).await?;
            let answer = tokio::select! {
                answer = client.query_one(TIMELINE, &[]) => answer,
                () = async { while let Some(Ok(_)) = poll_fn(|context| connection.poll_message(context)).await {} } =>
                    return Err(gone()),
            };
            let timeline = match answer {
                Ok(row) => row.try_get(0)?,
                // A database that is not told from another by its timeline.
                Err(error) if error.as_db_error().is_some() => 0,
                Err(error) => return Err(error.into()),
            };
            if self.timeline.fetch_max(timeline, Ordering::SeqCst) <= timeline {
                return Ok((client, connection, timeline));
            }
            config.load_balance_hosts(LoadBalanceHosts::Random);
        }
        Err(Error::Unavailable(
            "the database has another primary by now than the one that answers".to_owned(),
        ))
    }
}
