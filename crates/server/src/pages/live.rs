//! The live part of every page: the chip, the banner, the unread count and the state of campaigns, as they change.
//!
//! What is sent is always the present state, never a difference: a listener that missed changes has missed nothing.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{Event, Sse};
use futures_util::stream;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::campaigns;
use super::frame::{Page, Trouble};
use super::scene::Scene;
use super::session::Visitor;
use super::view::{Live, Unread};
use crate::app::App;
use crate::store::ANY_WORKSPACE;
use crate::store::jobs::JobKind;

/// At most ten messages a second.
const APART: Duration = Duration::from_millis(100);
/// How often it is looked whether the server stops.
const TICK: Duration = Duration::from_millis(500);
/// A comment after so many quiet ticks keeps proxies from closing the line; the session is looked at as well.
const KEEP_ALIVE_TICKS: u32 = 30;
/// Campaigns whose state is streamed: more are not on one page.
const CAMPAIGNS: i64 = 100;

struct Listener {
    app: App,
    visitor: Visitor,
    changes: Receiver<i64>,
    /// Each campaign's state as it was sent last.
    sent: HashMap<i64, String>,
    first: bool,
}

/// The stream.
pub async fn live(State(app): State<App>, visitor: Visitor) -> Page {
    // Listening begins before the first look, so that no change falls between.
    let changes = app.store.changes();
    let listener = Listener { app, visitor, changes, sent: HashMap::new(), first: true };
    let events = stream::unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok::<_, Infallible>(event), listener))
    });
    Ok(Sse::new(events).into_response())
}

impl Listener {
    /// The next message; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        if !std::mem::take(&mut self.first) {
            tokio::time::sleep(APART).await;
            let changed = self.wait().await?;
            if !self.visitor.is_signed_in(&self.app).await {
                return None;
            }
            if !changed {
                return Some(Event::default().comment(""));
            }
        }
        self.draw().await.ok()
    }

    /// Waits for a change; `false` when it was quiet for long, `None` when the server stops.
    async fn wait(&mut self) -> Option<bool> {
        for _ in 0..KEEP_ALIVE_TICKS {
            if self.app.is_stopping() {
                return None;
            }
            match tokio::time::timeout(TICK, changed(&mut self.changes, self.visitor.workspace)).await {
                Ok(there) => return there.then_some(true),
                Err(_) => continue,
            }
        }
        Some(false)
    }

    async fn draw(&mut self) -> Result<Event, Trouble> {
        // All changes until now are in what is read next.
        self.changes = self.changes.resubscribe();
        let scene = Scene::load(&self.app, &self.visitor).await?;
        let jobs = self.app.store.jobs(scene.workspace.id, JobKind::Campaign, None, CAMPAIGNS).await?;
        let mut campaigns = Vec::new();
        for job in &jobs {
            let state = campaigns::state(&scene, job);
            let drawn = state.render().unwrap_or_default();
            if self.sent.get(&job.id) != Some(&drawn) {
                self.sent.insert(job.id, drawn);
                campaigns.push(state);
            }
        }
        let live = Live {
            chip: scene.chip(),
            banner: scene.banner(),
            unread: Unread(scene.standing.unread),
            campaigns,
        };
        let text = live.render().map_err(|_| Trouble::unavailable("The page could not be drawn."))?;
        // A carriage return would end the line of the stream; in markup it is white space.
        Ok(Event::default().data(text.replace('\r', " ")))
    }
}

/// Waits until a workspace changes or so many did that it may be among them. `false`: there will be no more.
async fn changed(changes: &mut Receiver<i64>, workspace: i64) -> bool {
    loop {
        match changes.recv().await {
            Ok(changed) if changed != workspace && changed != ANY_WORKSPACE => {}
            Ok(_) | Err(RecvError::Lagged(_)) => return true,
            Err(RecvError::Closed) => return false,
        }
    }
}
