//! What is done with the leads that somebody chose: what it costs at most is said first, and done only then.

use axum::Form;
use axum::extract::{Query, State};
use billing::campaign::Stage;

use super::campaigns::number;
use super::frame::{Page, Trouble, go, page as draw};
use super::scene::Scene;
use super::session::{self, Visitor};
use super::view::{Chosen, ChosenCampaign, ChosenField, Tab};
use crate::app::App;
use crate::id;
use crate::outreach;
use crate::store::jobs::{Definition, JobKind, NewJob};
use crate::store::leads::Lead;

/// As many leads as a page lists can be chosen at once.
const MOST: usize = 100;
/// Fields that are offered by name; any other can be typed.
const OFFERED: [&str; 3] = ["contact", "company_size", "industry"];
/// The newest campaigns are offered.
const CAMPAIGNS: i64 = 50;

type Sent = Vec<(String, String)>;

fn one<'a>(sent: &'a Sent, name: &str) -> &'a str {
    sent.iter().find(|(its, _)| its == name).map_or("", |(_, value)| value.trim())
}

/// The leads that were chosen, each once.
async fn leads(app: &App, visitor: &Visitor, sent: &Sent) -> Result<Vec<Lead>, Trouble> {
    let mut numbers = Vec::new();
    for (_, value) in sent.iter().filter(|(name, _)| name == "lead") {
        let number = number(visitor, "lead", value)?;
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    if !(1..=MOST).contains(&numbers.len()) {
        return Err(Trouble::unprocessable(format!("Choose 1 to {MOST} leads.")));
    }
    let mut leads = Vec::with_capacity(numbers.len());
    for number in numbers {
        leads.push(app.store.lead(visitor.workspace, number).await?);
    }
    Ok(leads)
}

/// What can be done with them, and what it costs at most.
pub async fn page(State(app): State<App>, visitor: Visitor, Query(sent): Query<Sent>) -> Page {
    let leads = leads(&app, &visitor, &sent).await?;
    let scene = Scene::load(&app, &visitor).await?;
    let typed = one(&sent, "field");
    let mut names: Vec<&str> = OFFERED.into();
    if !typed.is_empty() && !names.contains(&typed) {
        outreach::check_fields("field", &[typed.to_owned()])
            .map_err(|fault| Trouble::unprocessable(format!("The field {}.", fault.reason)))?;
        names.push(typed);
    }
    let field = |name: &str| ChosenField {
        name: name.to_owned(),
        missing: leads.iter().filter(|lead| !lead.has(name)).count() as i64,
        price: app.unit(outreach::enrich_operation(name), 1).unit_price,
        form_key: session::form_key(),
    };
    let campaigns = app.store.jobs(visitor.workspace, JobKind::Campaign, None, CAMPAIGNS).await?;
    let campaigns = campaigns
        .into_iter()
        .filter(|job| matches!(job.run.stage, Stage::Draft | Stage::Launched))
        .map(|job| ChosenCampaign { id: id::inside("camp", visitor.workspace, job.id), name: job.name });
    draw(&Chosen {
        available: scene.balance.available,
        can_enrich: !app.providers.enrichment.providers().is_empty(),
        fields: names.into_iter().map(field).collect(),
        campaigns: campaigns.collect(),
        leads: leads
            .into_iter()
            .map(|lead| (id::inside("lead", visitor.workspace, lead.id), lead.name))
            .collect(),
        shell: scene.shell(Some(Tab::Leads)),
    })
}

/// Starts to fill a field of them. A double click is one job.
pub async fn enrich(State(app): State<App>, visitor: Visitor, Form(sent): Form<Sent>) -> Page {
    let leads: Vec<i64> = leads(&app, &visitor, &sent).await?.into_iter().map(|lead| lead.id).collect();
    let field = one(&sent, "field").to_owned();
    outreach::check_fields("field", std::slice::from_ref(&field))
        .map_err(|fault| Trouble::unprocessable(format!("The field {}.", fault.reason)))?;
    if app.providers.enrichment.providers().is_empty() {
        return Err(Trouble::unavailable(
            "Nothing here can look anything up: no enrichment provider is configured.",
        ));
    }
    let requested = leads.len() as i64;
    if app.store.first_use(visitor.workspace, session::stored_key(one(&sent, "form_key"))?).await? {
        let (enrich, by) = (vec![field.clone()], visitor.label());
        let definition = Definition { enrich, by, ..Definition::default() };
        let new =
            NewJob { kind: JobKind::Enrichment, name: field, definition, credit_cap: None, requested, leads };
        app.store.create_job(visitor.workspace, new).await?;
        app.nudge();
    }
    Ok(go(&app, "/leads", &format!("enriching.{requested}")))
}

/// Adds them to a campaign: free.
pub async fn add(State(app): State<App>, visitor: Visitor, Form(sent): Form<Sent>) -> Page {
    let leads = leads(&app, &visitor, &sent).await?.into_iter().map(|lead| lead.id).collect();
    let campaign = one(&sent, "campaign");
    let job = number(&visitor, "camp", campaign)?;
    let added = app.store.add_leads(visitor.workspace, job, leads).await?;
    app.nudge();
    Ok(go(&app, &format!("/campaigns/{campaign}"), &format!("leads-added.{added}")))
}
