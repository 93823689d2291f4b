//! The live part of every page: the chip, the banner and the unread count, as they change.
//!
//! What is sent is always the present state, never a difference: a listener that missed changes has missed nothing.
//! Any other change is a message `changed` without a content: a page that shows work under way fetches it anew.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::sse::{Event, Sse};
use futures_util::stream;

use super::frame::{Page, Trouble};
use super::scene::Scene;
use super::session::Visitor;
use super::view::{Live, Role, Unread};
use crate::app::App;
use crate::feed::{Audience, Listener};

/// A comment after so long a quiet keeps proxies from closing the line; the session is looked at as well.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

struct Stream {
    app: App,
    visitor: Visitor,
    listener: Listener,
    first: Option<Arc<str>>,
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
            return Some(self.message(&first));
        }
        let next = tokio::time::timeout(KEEP_ALIVE, self.listener.next()).await;
        if !self.visitor.is_signed_in(&self.app).await {
            return None;
        }
        match next {
            Ok(drawn) => Some(self.message(&drawn?)),
            Err(_) => Some(Event::default().comment("")),
        }
    }

    fn message(&mut self, drawn: &Arc<str>) -> Event {
        match self.listener.is_news(drawn) {
            true => Event::default().data(drawn),
            false => Event::default().event("changed"),
        }
    }
}

/// What everybody of a role sees on every page.
async fn draw(app: &App, workspace: i64, role: Role) -> Result<Arc<str>, Trouble> {
    let scene = Scene::of(app, workspace, role).await?;
    let (chip, banner, unread) = (scene.chip(), scene.banner(), Unread(scene.standing.unread));
    let text = Live { chip, banner, unread }.render().map_err(|_| undrawn())?;
    // A carriage return would end the line of the stream; in markup it is white space.
    Ok(text.replace('\r', " ").into())
}
