//! One line of the ledger, and all that is known about it: the receipt of a charge, the story of a grant.

use axum::extract::{Path, State};
use billing::account::{Bucket, Grant, Posting};
use billing::{Entry, EntryKind, Hold, HoldStatus, Seq};

use super::frame::{Page, Trouble, page as draw};
use super::history::{self, Lines};
use super::lead::call_row;
use super::scene::Scene;
use super::session::Visitor;
use super::usage;
use super::view::format::Figure;
use super::view::{EntryPage, Fact, Moved, Tab};
use crate::app::App;
use crate::calendar;
use crate::store::entry::Recorded;

/// The line with this number.
pub async fn page(State(app): State<App>, visitor: Visitor, Path(number): Path<String>) -> Page {
    let number = number.parse().ok().filter(|number| *number > 0).ok_or_else(Trouble::not_found)?;
    let (workspace, scene) = (visitor.workspace, Scene::load(&app, &visitor).await?);
    let recorded = app.store.entry(workspace, Seq(number)).await?;
    let lines = Lines::of(&app, workspace, vec![recorded]).await?;
    let recorded = &lines.entries[0];
    let entry = &recorded.entry;
    let (mut hold, mut calls) = (None, Vec::new());
    if let Some(id) = entry.hold {
        hold = Some(app.store.hold(workspace, id).await?);
        calls = app.store.calls_under(workspace, id).await?;
    }
    let made = if entry.terms.is_some() { entry.grant } else { None };
    let mut facts = Vec::new();
    if let Some(hold) = &hold {
        facts.extend(of_hold(&scene, entry, hold));
    }
    facts.extend(match entry.debt {
        0 => None,
        owed if owed > 0 => Some(fact("Not there, and owed since", owed.credits())),
        repaid => Some(fact("Repaid of what was owed", (-repaid).credits())),
    });
    facts.extend(labels(&lines, recorded));
    if let Some(made) = made {
        facts.extend(of_grant(&scene, &app.store.grant(workspace, made).await?));
    }
    facts.extend(by(recorded));
    let mut moves = Vec::new();
    for posting in &entry.postings {
        let grant = app.store.grant(workspace, posting.grant).await?;
        moves.push(moved(&scene, *posting, &grant));
    }
    draw(&EntryPage {
        shell: scene.shell(Some(Tab::Billing)),
        number,
        what: history::what(&app, recorded),
        at: scene.moment(entry.at),
        change: entry.amount,
        balance_after: entry.balance,
        facts,
        moves,
        calls: calls.into_iter().map(|noted| call_row(&app, &scene, noted)).collect(),
    })
}

fn fact(label: &'static str, text: impl Into<String>) -> Fact {
    Fact { label, text: text.into(), link: None }
}

/// What an operation cost, and how it stands.
fn of_hold(scene: &Scene, entry: &Entry, hold: &Hold) -> Vec<Fact> {
    let mut facts = Vec::new();
    if let Some(price) = &entry.price {
        let sum = (price.quantity * price.unit_price).credits();
        let price = format!(
            "{} × {} = {sum}, price list {}",
            price.quantity.n(),
            price.unit_price.n(),
            price.version
        );
        facts.push(fact("Price", price));
    }
    if entry.seq != hold.id {
        facts.push(Fact {
            link: Some(line(hold.id)),
            ..fact("Reserved before", scene.moment(hold.opened_at).local)
        });
    }
    let tried = entry.price.as_ref().map_or(0, |price| entry.attempted - price.quantity);
    if entry.kind == EntryKind::Charge && tried > 0 {
        facts.push(fact("Tried and not charged", tried.n()));
    }
    if entry.kind != EntryKind::Charge || hold.status != HoldStatus::Settled {
        let until = scene.moment(hold.ends_at).local;
        let stands = match hold.status {
            HoldStatus::Open => format!("reserved until {until}"),
            HoldStatus::Dispatched => format!("under way; unconfirmed from {until} if nothing is heard"),
            HoldStatus::InDoubt => {
                format!("unconfirmed: may have been sent; given back on {until} if nobody decides")
            }
            HoldStatus::Settled => format!("charged: {}", (hold.settled * hold.price.unit_price).credits()),
            HoldStatus::Released => "given back, not charged".to_owned(),
        };
        facts.push(fact("Now", stands));
    }
    if hold.refunded > 0 {
        facts.push(fact("Given back later", (hold.refunded * hold.price.unit_price).credits()));
    }
    facts
}

/// Whom and what it was for.
fn labels(lines: &Lines, Recorded { entry, .. }: &Recorded) -> Vec<Fact> {
    let labels = &entry.labels;
    let mut facts = Vec::new();
    if let Some(label) = labels.lead.as_deref() {
        let link = lines.is_lead(label).then(|| format!("/leads/{label}"));
        facts.push(Fact { link, ..fact("Lead", lines.lead(label)) });
    }
    if let Some(label) = labels.campaign.as_deref() {
        let link = lines.is_job(label).then(|| format!("/campaigns/{label}"));
        facts.push(Fact { link, ..fact("Campaign", lines.job(label)) });
    }
    if let Some(label) = labels.reference.as_deref() {
        let link = lines.is_job(label).then(|| "/searches".to_owned());
        facts.push(Fact { link, ..fact("Reference", lines.job(label)) });
    }
    facts.extend(labels.member.as_deref().map(|member| fact("Person", member)));
    let words =
        |channel| usage::CHANNELS.iter().find(|(name, _)| *name == channel).map_or(channel, |known| known.1);
    facts.extend(labels.channel.as_deref().map(|channel| fact("Channel", words(channel))));
    facts
}

/// How the credits of a grant stand.
fn of_grant(scene: &Scene, grant: &Grant) -> Vec<Fact> {
    let mut facts = vec![fact("Usable from", scene.moment(grant.terms.effective_at).local)];
    let expires =
        grant.terms.expires_at.map_or("never".to_owned(), |at| calendar::full_day(at, scene.zone()));
    facts.push(fact("Expires", expires));
    let parts = [
        ("Left of it", grant.available + grant.scheduled),
        ("Reserved of it", grant.held),
        ("Used of it", grant.consumed),
        ("Expired of it", grant.expired),
        ("Taken back of it", grant.revoked),
        ("Repaid debt", grant.repaid),
    ];
    facts.extend(
        parts.into_iter().filter(|part| part.1 > 0).map(|(label, credits)| fact(label, credits.credits())),
    );
    facts
}

/// Who asked for it, and why.
fn by(Recorded { actor, note, .. }: &Recorded) -> Vec<Fact> {
    let mut facts = vec![fact("Asked for by", &**actor)];
    facts.extend(note.as_ref().and_then(|note| note.reason.as_deref()).map(|reason| fact("Why", reason)));
    facts
}

fn moved(scene: &Scene, posting: Posting, grant: &Grant) -> Moved {
    Moved {
        grant: grant_words(scene, grant),
        link: line(grant.id),
        from: bucket(posting.from),
        to: bucket(posting.to),
        credits: posting.credits,
    }
}

/// The page of a line.
pub fn line(number: Seq) -> String {
    format!("/billing/history/{}", number.0)
}

/// `Plan credits of 1 Nov 2026`
pub fn grant_words(scene: &Scene, grant: &Grant) -> String {
    let day = calendar::full_day(grant.granted_at, scene.zone());
    format!("{} of {day}", history::kind_words(grant.terms.kind))
}

fn bucket(bucket: Bucket) -> &'static str {
    match bucket {
        Bucket::Issued => "new",
        Bucket::Scheduled => "to come",
        Bucket::Available => "available",
        Bucket::Held => "reserved",
        Bucket::Consumed => "used",
        Bucket::Expired => "expired",
        Bucket::Revoked => "taken back",
        Bucket::Repaid => "debt repaid",
    }
}
