//! How nodes tell each other whose account changed: a notification after the commit, several at once.
//!
//! Nothing depends on it but how soon a page on another node is drawn again: what is read then comes from the database.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client};

use super::Server;
use super::server::Found;
use crate::store::Error;
use crate::store::accounts::Workspaces;
use crate::store::changes::Changes;

const CHANNEL: &str = "scrip_changed";
/// How long changes gather before they are told.
const GATHER: Duration = Duration::from_millis(50);
/// How many workspaces one notification names at most: it has less than 8,000 bytes.
const NAMED: usize = 300;
/// How long to wait before connecting again.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts telling and listening, on a connection of its own, until the store is gone.
///
/// # Errors
/// When no thread can be started.
pub fn listen(
    server: Server,
    mut told: mpsc::UnboundedReceiver<Workspaces>,
    changes: Arc<Changes>,
) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start: {error}"))?;
    let changes = Arc::downgrade(&changes);
    let work = move || {
        runtime.block_on(async {
            while !told.is_closed() || !told.is_empty() {
                let Some(changes) = changes.upgrade() else { return };
                if let Err(error) = serve(&server, &mut told, changes).await {
                    tracing::warn!(%error, "other nodes are not told of changes now");
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    };
    std::thread::Builder::new().name("nodes".to_owned()).spawn(work).map_err(|error| error.to_string())?;
    Ok(())
}

async fn serve(
    server: &Server,
    told: &mut mpsc::UnboundedReceiver<Workspaces>,
    changes: Arc<Changes>,
) -> Result<(), Error> {
    let Found { client, mut connection, .. } = server.connect().await?;
    let own: u64 = u64::from_le_bytes(crate::clock::random());
    let weak = Arc::downgrade(&changes);
    let heard = weak.clone();
    drop(changes);
    let hear = async move {
        while let Some(message) = std::future::poll_fn(|context| connection.poll_message(context)).await {
            let Some(changes) = weak.upgrade() else { return Ok(()) };
            if let AsyncMessage::Notification(notification) = message? {
                hear(notification.payload(), own, &changes);
            }
        }
        Ok(())
    };
    let tell = async {
        client.batch_execute(&format!("listen {CHANNEL}")).await?;
        // Whatever changed while nobody listened was not heard.
        if let Some(changes) = heard.upgrade() {
            changes.tell_all();
        }
        while let Some(mut changed) = told.recv().await {
            tokio::time::sleep(GATHER).await;
            while let Ok(more) = told.try_recv() {
                changed.extend(more);
            }
            say(&client, own, &changed).await?;
        }
        Ok(())
    };
    tokio::select! {
        ended = hear => ended,
        ended = tell => ended,
    }
}

async fn say(client: &Client, own: u64, changed: &Workspaces) -> Result<(), tokio_postgres::Error> {
    let names: Vec<String> = changed.iter().map(ToString::to_string).collect();
    for names in names.chunks(NAMED) {
        let told = format!("{own} {}", names.join(","));
        client.execute("select pg_notify($1, $2)", &[&CHANNEL, &told]).await?;
    }
    Ok(())
}

fn hear(payload: &str, own: u64, changes: &Changes) {
    let Some((from, names)) = payload.split_once(' ') else { return };
    if from.parse() == Ok(own) {
        return;
    }
    names.split(',').filter_map(|name| name.parse().ok()).for_each(|workspace| changes.tell(workspace));
}
