//! Notices: what happened, newest first, and who has read it.

use axum::extract::{Path, Query, State};

use super::campaigns::{Cursor, ROWS, cut, number};
use super::frame::{Page, go, page as draw};
use super::scene::Scene;
use super::session::{Visitor, see};
use super::view::{Notice, NoticeTone, Notices, Tab};
use crate::app::App;
use crate::store::alerts;

/// All notices.
pub async fn list(State(app): State<App>, visitor: Visitor, Query(cursor): Query<Cursor>) -> Page {
    let scene = Scene::load(&app, &visitor).await?;
    let mut notices = app.store.notices(visitor.workspace, cursor.number(), ROWS + 1).await?;
    let next = cut(&mut notices, |(number, _)| *number);
    let row = |(_, notice): (i64, alerts::Notice)| Notice {
        tone: tone(&notice.kind),
        at: scene.moment(notice.at),
        id: notice.id,
        title: notice.title,
        body: notice.body,
        read: notice.read,
    };
    let rows = notices.into_iter().map(row).collect();
    draw(&Notices { shell: scene.shell(Some(Tab::Notices)), rows, next })
}

/// Marks one as read.
pub async fn read(State(app): State<App>, visitor: Visitor, Path(notice): Path<String>) -> Page {
    app.store.read_notice(visitor.workspace, number(&visitor, "ntf", &notice)?).await?;
    Ok(see("/notifications"))
}

/// Marks all as read.
pub async fn read_all(State(app): State<App>, visitor: Visitor) -> Page {
    app.store.read_all_notices(visitor.workspace).await?;
    Ok(go(&app, "/notifications", "all-read"))
}

fn tone(kind: &str) -> NoticeTone {
    match kind {
        "restored" | "renewal" | "topup" => NoticeTone::Good,
        "low" | "asked" | "credit_cap" => NoticeTone::Low,
        "critical" | "out" | "payment_failed" | "refund_failed" => NoticeTone::Bad,
        _ => NoticeTone::Note,
    }
}
