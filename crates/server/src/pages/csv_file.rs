//! The CSV files behind the Billing page: exactly what its filters show, streamed page by page.

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;

use super::frame::{Page, Trouble};
use super::scene::Scene;
use super::session::Visitor;
use super::{history, usage};
use crate::app::App;
use crate::calendar;
use crate::clock::rfc3339;
use crate::csv_cell::cell;
use crate::finance;
use crate::store::queries::EntryFilter;

/// Entries read at once.
const PAGE: i64 = 500;

#[derive(Deserialize)]
pub struct Shown {
    range: Option<String>,
    group: Option<String>,
}

/// Usage by day and group.
pub async fn usage(State(app): State<App>, visitor: Visitor, Query(shown): Query<Shown>) -> Page {
    let scene = Scene::load(&app, &visitor).await?;
    let (range, group) = (usage::range(shown.range.as_deref()), usage::group(shown.group.as_deref()));
    let charges = usage::charges(&app.store, &scene, range, group).await?;
    let mut lines =
        vec![["day", group.name(), "count", "credits", "not_charged", "refunded"].map(str::to_owned)];
    for (day, rows) in charges.days(&scene) {
        let day = calendar::local(day, scene.zone()).date().to_string();
        for (key, total) in charges.totals(rows) {
            let [count, credits, free, refunded] =
                [total.count, total.credits, total.not_charged, total.refunded]
                    .map(|number| number.to_string());
            lines.push([day.clone(), cell(&charges.label(&app, &key)), count, credits, free, refunded]);
        }
    }
    Ok(file("usage.csv", Body::from(written(&lines)?)))
}

/// All payments, for finance.
pub async fn payments(State(app): State<App>, visitor: Visitor) -> Page {
    visitor.admin()?;
    Ok(file("payments.csv", Body::from(finance::payments(&app, visitor.workspace).await?)))
}

/// All grants with what they cost, for finance.
pub async fn grants(State(app): State<App>, visitor: Visitor) -> Page {
    visitor.admin()?;
    Ok(file("grants.csv", Body::from(finance::grants(&app, visitor.workspace).await?)))
}

/// The ledger, newest first: the lines that the page shows under the same query, and all older ones.
pub async fn history(State(app): State<App>, visitor: Visitor, Query(asked): Query<history::Asked>) -> Page {
    let workspace = app.store.workspace(visitor.workspace).await?;
    let unclear = |field| Trouble::unprocessable(format!("{field} must be a day such as 2026-03-01."));
    let filter = asked.filter(&workspace.time_zone).map_err(unclear)?;
    let head = written(&[["number", "time", "what", "detail", "change", "balance"]])?;
    let state = Some((app, visitor.workspace, filter));
    // A page that cannot be read breaks the download off: a file that ends early must not look whole.
    let pages = stream::try_unfold(state, |state| async move {
        let Some((app, workspace, filter)) = state else { return Ok(None) };
        let (bytes, last) = history_page(&app, workspace, filter.clone()).await?;
        let next = last.map(|last| (app, workspace, EntryFilter { cursor: Some(last), ..filter }));
        Ok::<_, std::io::Error>(Some((bytes, next)))
    });
    let body = futures_util::StreamExt::chain(stream::iter([Ok(head)]), pages);
    Ok(file("history.csv", Body::from_stream(body)))
}

async fn history_page(
    app: &App,
    workspace: i64,
    filter: EntryFilter,
) -> std::io::Result<(Vec<u8>, Option<i64>)> {
    let broken = |_| std::io::Error::other("the ledger could not be read");
    let lines = history::lines(app, workspace, filter, PAGE).await.map_err(broken)?;
    let rows: Vec<[String; 6]> = lines
        .entries
        .iter()
        .map(|recorded| {
            let entry = &recorded.entry;
            let (what, detail) = (cell(&history::what(app, recorded)), cell(&lines.detail(recorded)));
            let [change, balance] = [entry.amount, entry.balance].map(|number| number.to_string());
            [entry.seq.to_string(), rfc3339(entry.at), what, detail, change, balance]
        })
        .collect();
    let full = lines.entries.len() == PAGE as usize;
    let last = lines.entries.last().filter(|_| full).map(|recorded| recorded.entry.seq.0);
    Ok((written(&rows).map_err(|_| std::io::Error::other("a line could not be written"))?, last))
}

fn written<const N: usize>(lines: &[[impl AsRef<[u8]>; N]]) -> Result<Vec<u8>, Trouble> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let wrote = lines.iter().try_for_each(|line| writer.write_record(line));
    let unwritten = || Trouble::unavailable("The file could not be written.");
    wrote.map_err(|_| unwritten())?;
    writer.into_inner().map_err(|_| unwritten())
}

fn file(name: &str, body: Body) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let kind = "text/csv; charset=utf-8".to_owned();
    ([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, disposition)], body).into_response()
}
