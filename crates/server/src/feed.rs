//! What many look at is drawn once: of each workspace, for each kind of audience, while anybody listens.
//!
//! Owns the tasks that draw. It does *not* know what is drawn: `api` and `pages` say how.
//!
//! Invariant: what a listener gets was drawn after it began to listen, and the last of it after the last change.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::app::App;
use crate::store::changes::Watch;

/// The shortest time between two drawings: ten a second at most.
pub const APART: Duration = Duration::from_millis(100);

/// Who sees the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Audience {
    Program,
    Member,
    Admin,
}

/// The number of changes that were known before, and what was drawn then.
type Drawn = (u64, Arc<str>);

type Key = (i64, Audience);

/// Everything that somebody listens to.
#[derive(Default)]
pub struct Feeds(Mutex<HashMap<Key, watch::Sender<Drawn>>>);

/// One who listens.
pub struct Listener {
    /// What was drawn before this many changes is older than what the listener has.
    since: u64,
    drawn: watch::Receiver<Drawn>,
    sent: Option<Arc<str>>,
}

impl Feeds {
    /// Listens from now on. What is there now the listener draws itself, afterwards.
    pub fn listen<F>(
        &self,
        app: &App,
        (workspace, audience): Key,
        draw: impl Fn(App, i64) -> F + Send + 'static,
    ) -> Listener
    where
        F: Future<Output = Option<Arc<str>>> + Send + 'static,
    {
        let mut watch = app.store.changes().watch(workspace);
        let since = watch.count();
        let mut feeds = self.lock();
        let feed = feeds.entry((workspace, audience)).or_insert_with(|| {
            let (feed, _) = watch::channel((0, Arc::from("")));
            tokio::spawn(follow(app.clone(), (workspace, audience), watch, feed.clone(), draw));
            feed
        });
        Listener { since, drawn: feed.subscribe(), sent: None }
    }

    /// Ends a feed that nobody listens to. `false`: somebody just came.
    fn leave(&self, key: Key) -> bool {
        let mut feeds = self.lock();
        let left = feeds.get(&key).is_none_or(|feed| feed.receiver_count() == 0);
        if left {
            feeds.remove(&key);
        }
        left
    }

    /// Ends a feed, and with it all who listen to it: they ask again.
    fn end(&self, key: Key) {
        self.lock().remove(&key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, watch::Sender<Drawn>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Draws after each change, until nobody listens, the server stops, or it cannot be drawn.
async fn follow<F>(
    app: App,
    key: Key,
    mut watch: Watch,
    feed: watch::Sender<Drawn>,
    draw: impl Fn(App, i64) -> F,
) where
    F: Future<Output = Option<Arc<str>>>,
{
    loop {
        tokio::select! {
            () = watch.changed() => {}
            () = feed.closed() => if app.feeds.leave(key) { return } else { continue },
            () = app.stopped() => return app.feeds.end(key),
        }
        let known = watch.count();
        let Some(drawn) = draw(app.clone(), key.0).await else { return app.feeds.end(key) };
        feed.send_replace((known, drawn));
        tokio::time::sleep(APART).await;
    }
}

impl Listener {
    /// Waits for the next drawing. `None`: there will be no more.
    pub async fn next(&mut self) -> Option<Arc<str>> {
        loop {
            self.drawn.changed().await.ok()?;
            let (known, drawn) = self.drawn.borrow_and_update().clone();
            if known >= self.since {
                return Some(drawn);
            }
        }
    }

    /// Whether it is not as it was sent last.
    pub fn is_news(&mut self, drawn: &Arc<str>) -> bool {
        let news = self.sent.as_ref() != Some(drawn);
        if news {
            self.sent = Some(drawn.clone());
        }
        news
    }
}
