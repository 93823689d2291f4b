//! What the operator looks after across all workspaces: holds in doubt, deliveries that failed, and what people changed.

use axum::extract::{Path, Query, State};

use super::campaigns::{Cursor, ROWS, cut};
use super::frame::{Page, Trouble, go, page as draw};
use super::operator::{log_row, utc};
use super::session::Operator;
use super::view::{
    Deliveries, DoubtRow, Doubts, EndpointRow, FailingRow, HealthPage, Logbook, MailRow, ProviderHealth,
    QueueRow,
};
use crate::app::App;
use crate::health::{Gauge, Health, providers};
use crate::id;
use crate::store::webhooks::EndpointState;
use crate::store::work::Need;

/// Holds in doubt, the longest waiting first.
pub async fn doubts(State(app): State<App>, operator: Operator) -> Page {
    let mut rows = Vec::new();
    for (workspace, hold) in app.store.in_doubt().await? {
        rows.push(DoubtRow {
            workspace: id::workspace(workspace),
            name: app.store.workspace(workspace).await?.name,
            hold: id::inside("hold", workspace, hold.id.0),
            operation: hold.price.operation.to_string(),
            quantity: hold.price.quantity,
            amount: hold.price.amount(),
            until: utc(hold.ends_at),
        });
    }
    draw(&Doubts { flash: operator.flash, rows })
}

/// Mails and webhooks that did not arrive.
pub async fn deliveries(State(app): State<App>, operator: Operator, Query(cursor): Query<Cursor>) -> Page {
    let mut mails = app.store.failed_mails(cursor.number(), ROWS + 1).await?;
    let next = cut(&mut mails, |mail| mail.id);
    let mail = |mail: crate::store::outbox::FailedMail| MailRow {
        id: id::inside("mail", mail.workspace, mail.id),
        workspace: id::workspace(mail.workspace),
        recipient: mail.recipient,
        subject: mail.subject,
        attempts: mail.attempts,
        detail: mail.detail,
    };
    let mut endpoints = Vec::new();
    for (workspace, endpoint, lost) in app.store.troubled_endpoints().await? {
        endpoints.push(EndpointRow {
            workspace: id::workspace(workspace),
            name: app.store.workspace(workspace).await?.name,
            url: endpoint.place(),
            given_up: endpoint.state == EndpointState::GivenUp,
            since: endpoint.failing_since.map(utc),
            lost,
        });
    }
    draw(&Deliveries {
        flash: operator.flash,
        mails: mails.into_iter().map(mail).collect(),
        next,
        endpoints,
        sends: app.mailer.is_some(),
    })
}

/// Providers and queues.
pub async fn health(State(app): State<App>, operator: Operator) -> Page {
    let health = Health::read(&app).await?;
    let known = providers(&app);
    let provider = |(need, label, configured): &(Need, String, bool)| ProviderHealth {
        label: label.clone(),
        configured: *configured,
        failing: health.failing.iter().filter(|one| one.need == *need).count() as i64,
        away: health.away().filter(|one| one.need == *need).count() as i64,
    };
    let mut failing = Vec::new();
    for one in health.failing.iter().take(ROWS as usize) {
        failing.push(FailingRow {
            workspace: id::workspace(one.workspace),
            name: app.store.workspace(one.workspace).await?.name,
            provider: known
                .iter()
                .find(|(need, ..)| *need == one.need)
                .map_or_else(String::new, |(_, label, _)| label.clone()),
            failures: i64::from(one.failures),
            until: (one.until > health.now).then(|| utc(one.until)),
        });
    }
    let queue = |gauge: Gauge| {
        let Gauge { name, label, value, oldest } = gauge;
        QueueRow { name, label, value, oldest: oldest.map(utc) }
    };
    draw(&HealthPage {
        flash: operator.flash,
        providers: known.iter().map(provider).collect(),
        failing,
        queues: health.gauges().into_iter().map(queue).collect(),
        mail_trouble: health.queues.mail_trouble,
    })
}

/// Tries a mail again.
pub async fn retry(State(app): State<App>, _: Operator, Path(mail): Path<String>) -> Page {
    let (workspace, number) = id::parse_inside("mail", &mail).ok_or_else(Trouble::not_found)?;
    app.store.retry_mail(workspace, number).await?;
    app.nudge();
    Ok(go(&app, "/admin/deliveries", "mail-retry"))
}

/// What people changed, newest first.
pub async fn log(State(app): State<App>, operator: Operator, Query(cursor): Query<Cursor>) -> Page {
    let mut lines = app.store.logbook(None, cursor.number(), ROWS + 1).await?;
    let next = cut(&mut lines, |line| line.id);
    let rows = lines.into_iter().map(|line| log_row(line, utc)).collect();
    draw(&Logbook { flash: operator.flash, rows, next })
}
