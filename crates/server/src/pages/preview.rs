//! A look at what a search would find. It is paid at once, so a double click must be one preview, and show it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Extension;
use axum::extract::{Form, State};
use axum::http::StatusCode;
use billing::Refusal;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::campaigns::Cursor;
use super::frame::{Page, Trouble, go, html, page as draw};
use super::scene::Scene;
use super::searches::{Asked, searches};
use super::session::{self, Visitor};
use super::view::{Flash, Preview, PreviewRow};
use crate::app::App;
use crate::outreach::{self, Failure};
use crate::store;

/// How many previews are remembered: a repeat comes within seconds.
const REMEMBERED: usize = 256;

type Results = Arc<OnceCell<Vec<Value>>>;

/// The previews that were sent last, by workspace and form.
#[derive(Clone, Default)]
pub struct Previews(Arc<Mutex<VecDeque<(String, Results)>>>);

impl Previews {
    /// The place for the results of this preview, the same for every repeat.
    fn place(&self, name: &str) -> Results {
        let Ok(mut places) = self.0.lock() else { return Results::default() };
        if let Some((_, known)) = places.iter().find(|(known, _)| known == name) {
            return known.clone();
        }
        places.truncate(REMEMBERED - 1);
        places.push_front((name.to_owned(), Results::default()));
        places[0].1.clone()
    }
}

/// Shows a preview.
pub async fn preview(
    State(app): State<App>,
    Extension(previews): Extension<Previews>,
    visitor: Visitor,
    Form(asked): Form<Asked>,
) -> Page {
    let Some(query) = asked.text().map(str::to_owned) else { return Ok(go(&app, "/searches", "bad-query")) };
    let (workspace, kind) = (visitor.workspace, asked.kind.name());
    let place =
        previews.place(&format!("{workspace} {} {kind} {query}", session::stored_key(&asked.form_key)?));
    let (run, words, member) = (app.clone(), json!({ "text": query }), visitor.label());
    // A task of its own: a browser that gives up on the first click must not make the second one pay again.
    let found = tokio::spawn(async move {
        let who = ("dashboard", member.as_deref());
        place.get_or_try_init(|| outreach::preview(&run, who, workspace, words, kind)).await.cloned()
    });
    let found = found.await.map_err(|_| Trouble::unavailable("The preview broke off."))?;
    let scene = Scene::load(&app, &visitor).await?;
    let mut page = searches(&app, &scene, &Cursor::default()).await?;
    (page.query, page.kind) = (query, kind.to_owned());
    for limit in &mut page.limits {
        limit.selected = limit.results == asked.limit;
    }
    let failed = |status: StatusCode, text: String| {
        page.shell.flash = Some(Flash::Failed(text));
        html(status, &page)
    };
    match found {
        Ok(results) => {
            page.preview =
                Some(Preview { charged: page.preview_price, rows: results.iter().map(row).collect() });
            draw(&page)
        }
        Err(Failure::Provider(reason)) => refuse(failed, StatusCode::FAILED_DEPENDENCY, &reason),
        Err(Failure::Store(store::Error::Refused(Refusal::InsufficientCredits {
            needed,
            available,
            ..
        }))) => {
            let reason = format!("it needs {needed} credits, you have {available}");
            refuse(failed, StatusCode::PAYMENT_REQUIRED, &reason)
        }
        Err(Failure::NotConfigured(_)) => {
            Err(Trouble::unavailable("Nothing here can search: no discovery provider is configured."))
        }
        Err(Failure::Store(error)) => Err(error.into()),
    }
}

/// What the provider found, as it is: these are nobody's leads yet.
fn row(result: &Value) -> PreviewRow {
    let text = |name: &str| result[name].as_str().unwrap_or_default().to_owned();
    PreviewRow { name: text("name"), title: text("title"), company: text("company") }
}

fn refuse(failed: impl FnOnce(StatusCode, String) -> Page, status: StatusCode, reason: &str) -> Page {
    failed(status, format!("There is no preview, and nothing was charged: {reason}."))
}
