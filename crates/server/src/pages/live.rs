//! The live part of every page: the chip, the banner, the unread count and the state of campaigns, as they change.
//!
//! What is sent is always the present state, never a difference: a listener that missed changes has missed nothing.

use std::convert::Infallible;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{Event, Sse};
use futures_util::stream;

use super::campaigns;
use super::frame::{Page, Trouble};
use super::scene::Scene;
use super::session::Visitor;
use super::view::{Live, Role, Unread};
use crate::app::App;
use crate::feed::{Audience, Listener, Parts};
use crate::store::jobs::JobKind;

/// A comment after so long a quiet keeps proxies from closing the line; the session is looked at as well.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Campaigns whose state is streamed: more are not on one page.
const CAMPAIGNS: i64 = 100;

struct Stream {
    app: App,
    visitor: Visitor,
    listener: Listener,
    first: Option<Parts>,
}

/// The stream.
pub async fn live(State(app): State<App>, visitor: Visitor) -> Page {
    let role = Scene::role(visitor.role);
    let audience = if role == Role::Member { Audience::Member } else { Audience::Admin };
    let draw = move |app, workspace| async move { draw(&app, workspace, role).await.ok() };
    // Listening begins before the first look, so that no change falls between.
    let listener = app.feeds.listen(&app, (visitor.workspace, audience), draw);
    let first = Some(draw(app.clone(), visitor.workspace).await.ok_or_else(undrawn)?);
    let events = stream::unfold(Stream { app, visitor, listener, first }, |mut stream| async move {
        let event = stream.next().await?;
        Some((Ok::<_, Infallible>(event), stream))
    });
    Ok(Sse::new(events).into_response())
}

fn undrawn() -> Trouble {
    Trouble::unavailable("The page could not be drawn.")
}

impl Stream {
    /// The next message; `None` ends the stream.
    async fn next(&mut self) -> Option<Event> {
        if let Some(first) = self.first.take() {
            return self.listener.news(&first).map(|news| Event::default().data(news));
        }
        loop {
            let next = tokio::time::timeout(KEEP_ALIVE, self.listener.next()).await;
            if !self.visitor.is_signed_in(&self.app).await {
                return None;
            }
            let Ok(parts) = next else { return Some(Event::default().comment("")) };
            let parts = parts?;
            if let Some(news) = self.listener.news(&parts) {
                return Some(Event::default().data(news));
            }
        }
    }
}

/// What everybody of a role sees: what every page has, and the state of each campaign.
async fn draw(app: &App, workspace: i64, role: Role) -> Result<Parts, Trouble> {
    let scene = Scene::of(app, workspace, role).await?;
    let jobs = app.store.jobs(workspace, JobKind::Campaign, None, CAMPAIGNS).await?;
    let (chip, banner, unread) = (scene.chip(), scene.banner(), Unread(scene.standing.unread));
    // A carriage return would end the line of the stream; in markup it is white space.
    let text = |text: Result<String, askama::Error>| text.map(|text| text.replace('\r', " ").into());
    let whole = text(Live { chip, banner, unread }.render()).map_err(|_| undrawn())?;
    let mut parts = vec![(0, whole)];
    for job in &jobs {
        parts.push((job.id, text(campaigns::state(&scene, job).render()).map_err(|_| undrawn())?));
    }
    Ok(parts)
}
