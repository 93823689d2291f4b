//! The operator's page: all workspaces with their balances, a grant by hand, and a look into one of them.

use axum::extract::{Form, Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use billing::ledger::{Command, GrantTerms};
use billing::{Amount, GrantKind, Refusal};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::campaigns::{ROWS, cut};
use super::frame::{Page, Trouble, go, html, page as draw};
use super::scene;
use super::session::{self, Operator};
use super::view::{Admin, AdminWorkspace, GrantForm};
use crate::app::App;
use crate::id;
use crate::store::committer::{Key, KeyKind, Post};
use crate::store::people::{Role, Session, Way};
use crate::store::{self};

/// The longest reason, in characters.
const MAX_REASON: usize = 500;

#[derive(Deserialize, Default)]
pub struct Listing {
    #[serde(default)]
    q: String,
    cursor: Option<String>,
    workspace: Option<String>,
}

/// All workspaces.
pub async fn page(State(app): State<App>, operator: Operator, Query(listing): Query<Listing>) -> Page {
    let workspace = listing.workspace.clone().unwrap_or_default();
    let form = GrantForm { workspace, kind: Kind::Goodwill.name(), ..GrantForm::default() };
    draw(&whole(&app, operator, listing, form).await?)
}

async fn whole(app: &App, operator: Operator, listing: Listing, grant: GrantForm) -> Result<Admin, Trouble> {
    let before = listing.cursor.as_deref().and_then(|cursor| cursor.parse().ok());
    let mut rows = app.store.listed(listing.q.trim().to_owned(), before, ROWS + 1).await?;
    let next = cut(&mut rows, |row| row.id);
    let label = |plan: String| app.catalog().plan(&plan).map_or(plan, |known| known.label.clone());
    let row = |row: crate::store::summary::Listed| AdminWorkspace {
        id: id::workspace(row.id),
        name: row.name,
        plan: row.plan.map(label),
        state: scene::state(row.level),
        available: row.available,
        reserved: row.held,
        owed: row.debt,
    };
    Ok(Admin {
        flash: operator.flash,
        query: listing.q,
        rows: rows.into_iter().map(row).collect(),
        next,
        grant,
        form_key: session::form_key(),
    })
}

#[derive(Deserialize, Serialize)]
pub struct Grant {
    #[serde(skip_serializing)]
    form_key: String,
    workspace: String,
    credits: String,
    kind: Kind,
    reason: String,
}

#[derive(Deserialize, Serialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Promo,
    Goodwill,
    Trial,
    Bonus,
    Plan,
    Purchased,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Promo => "promo",
            Kind::Goodwill => "goodwill",
            Kind::Trial => "trial",
            Kind::Bonus => "bonus",
            Kind::Plan => "plan",
            Kind::Purchased => "purchased",
        }
    }
}

impl From<Kind> for GrantKind {
    fn from(kind: Kind) -> GrantKind {
        match kind {
            Kind::Promo => GrantKind::Promo,
            Kind::Goodwill => GrantKind::Goodwill,
            Kind::Trial => GrantKind::Trial,
            Kind::Bonus => GrantKind::Bonus,
            Kind::Plan => GrantKind::Plan,
            Kind::Purchased => GrantKind::Purchased,
        }
    }
}

const NO_WORKSPACE: &str = "No workspace has this id. Nothing was granted.";

/// Grants credits by hand. A double click is one grant. A form that is not taken keeps what was typed.
pub async fn grant(State(app): State<App>, operator: Operator, Form(form): Form<Grant>) -> Page {
    let back = |flash: &str| Ok(go(&app, "/admin", flash));
    let wrong = async |operator: Operator, wrong: &'static str| {
        let Grant { workspace, credits, kind, reason, .. } = &form;
        let (workspace, credits, reason) = (workspace.clone(), credits.clone(), reason.clone());
        let typed = GrantForm { workspace, credits, kind: kind.name(), reason, wrong: Some(wrong) };
        let page = whole(&app, operator, Listing::default(), typed).await?;
        html(StatusCode::UNPROCESSABLE_ENTITY, &page)
    };
    let Some(workspace) = id::parse_workspace(form.workspace.trim()) else {
        return wrong(operator, NO_WORKSPACE).await;
    };
    let Some(credits) = form.credits.trim().parse().ok().and_then(Amount::new) else {
        return wrong(operator, "Credits must be a whole number, 1 or more. Nothing was granted.").await;
    };
    let reason = form.reason.trim();
    let control = |letter: char| letter.is_control();
    if reason.is_empty() || reason.chars().count() > MAX_REASON || reason.chars().any(control) {
        return wrong(operator, "A reason of at most 500 characters is needed. Nothing was granted.").await;
    }
    let kind = form.kind.into();
    let terms = GrantTerms { credits, kind, priority: 0, effective_at: app.clock.now(), expires_at: None };
    let mut post = Post::new(workspace, Command::Grant(terms), "operator");
    let digest = Sha256::digest(serde_json::to_vec(&form).unwrap_or_default());
    let mut fingerprint = [0; 16];
    fingerprint.copy_from_slice(&digest[..16]);
    let key = session::stored_key(&form.form_key)?;
    post.key = Some(Key { kind: KeyKind::Grant, key: key.as_str().into(), fingerprint });
    post.reason = Some(reason.into());
    match app.store.post(post).await {
        Ok(_) => {
            app.nudge();
            back(&format!("granted.{}", credits.get()))
        }
        Err(store::Error::NotFound) => wrong(operator, NO_WORKSPACE).await,
        Err(store::Error::Refused(Refusal::IdempotencyKeyReused)) => back("form-used"),
        Err(error) => Err(error.into()),
    }
}

/// Looks into a workspace, as its admins see it. The session stays the operator's, so that there is a way back.
pub async fn open(
    State(app): State<App>,
    operator: Operator,
    headers: HeaderMap,
    Path(workspace): Path<String>,
) -> Page {
    let number = id::parse_workspace(&workspace).ok_or_else(Trouble::not_found)?;
    app.store.workspace(number).await?;
    app.store.note(number, "operator".to_owned(), "workspace.opened").await?;
    let session =
        Session { workspace: Some(number), role: Role::Operator, email: operator.email, way: Way::Link };
    session::sign_in(&app, &headers, session, "/billing").await
}
