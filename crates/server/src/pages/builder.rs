//! The campaign builder: a draft as one form, drawn again with every button until it is saved. Nothing is kept between two of them.
//!
//! The form's names are the fields of the API, so that what is wrong is said beside its field; what is right is decided by `outreach`.

use axum::Form;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use billing::campaign::Stage;
use serde::Deserialize;

use super::campaigns::{channel, estimate, number, timing};
use super::frame::{Page, Trouble, go, html, page as draw};
use super::scene::Scene;
use super::session::{self, Visitor};
use super::view::{Builder, SenderChoice, StepForm, Tab};
use crate::app::App;
use crate::id;
use crate::outreach::{self, Fault, MAX_STEPS};
use crate::store::Error;
use crate::store::jobs::{Definition, Job, JobKind, NewJob, StepText};
use crate::store::queries::Progress;
use crate::store::senders::MAX_SENDERS;

/// How many leads are added at once, as over the API.
const MAX_LEADS: i64 = 10_000;

/// A campaign as it is typed.
#[derive(Default)]
struct Typed {
    form_key: String,
    /// `save`, `add`, `remove.2`; anything else draws the form again.
    press: String,
    name: String,
    contact: bool,
    fields: String,
    steps: Vec<StepForm>,
    approve: bool,
    senders: Vec<String>,
    credit_cap: String,
    leads: String,
}

impl From<Vec<(String, String)>> for Typed {
    fn from(form: Vec<(String, String)>) -> Typed {
        let mut typed = Typed::default();
        for (name, value) in form {
            match name.as_str() {
                "form_key" => typed.form_key = value,
                "press" => typed.press = value,
                "name" => typed.name = value,
                "contact" => typed.contact = true,
                "enrich" => typed.fields = value,
                "approve" => typed.approve = true,
                "senders" => typed.senders.push(value),
                "credit_cap" => typed.credit_cap = value,
                "leads" => typed.leads = value,
                name => typed.step(name, value),
            }
        }
        typed
    }
}

impl Typed {
    /// What a new campaign begins with.
    fn fresh() -> Typed {
        Typed { contact: true, steps: vec![StepForm::email()], leads: "100".to_owned(), ..Typed::default() }
    }

    fn stored(workspace: i64, job: &Job) -> Typed {
        let Definition { enrich, steps, approve, senders, .. } = &job.definition;
        let fields: Vec<&str> =
            enrich.iter().map(String::as_str).filter(|field| *field != "contact").collect();
        let step = |step: &StepText| StepForm {
            channel: step.channel.clone(),
            after_days: step.after_days.to_string(),
            condition: step.condition.clone(),
            subject: step.subject.clone().unwrap_or_default(),
            template: step.template.clone().unwrap_or_default(),
            generate: step.generate,
            ..StepForm::default()
        };
        Typed {
            name: job.name.clone(),
            contact: fields.len() < enrich.len(),
            fields: fields.join(", "),
            steps: steps.iter().map(step).collect(),
            approve: *approve,
            senders: senders.iter().map(|sender| id::inside("sender", workspace, *sender)).collect(),
            credit_cap: job.credit_cap.map(|cap| cap.to_string()).unwrap_or_default(),
            leads: "0".to_owned(),
            ..Typed::default()
        }
    }

    /// One field of a step, such as `steps[1].subject`.
    fn step(&mut self, name: &str, value: String) {
        let place = name.strip_prefix("steps[").and_then(|name| name.split_once("]."));
        let Some((Ok(index), field)) = place.map(|(index, field)| (index.parse::<usize>(), field)) else {
            return;
        };
        // One more than there may be, so that too many are refused as they are over the API.
        if index > MAX_STEPS {
            return;
        }
        if self.steps.len() <= index {
            self.steps.resize_with(index + 1, StepForm::default);
        }
        let step = &mut self.steps[index];
        match field {
            "channel" => step.channel = value,
            "after_days" => step.after_days = value,
            "condition" => step.condition = value,
            "subject" => step.subject = value,
            // Browsers send lines that end as those of a mail do.
            "template" => step.template = value.replace("\r\n", "\n"),
            "generate" => step.generate = true,
            _ => {}
        }
    }

    /// Adds or removes a step, when that was the button.
    fn press(&mut self) {
        let remove = self.press.strip_prefix("remove.").and_then(|index| index.parse::<usize>().ok());
        match remove {
            Some(index) if index < self.steps.len() => drop(self.steps.remove(index)),
            None if self.press == "add" && self.steps.len() < MAX_STEPS => {
                let after_days = if self.steps.is_empty() { "0" } else { "3" }.to_owned();
                self.steps.push(StepForm { after_days, ..StepForm::email() });
            }
            _ => {}
        }
    }

    /// As the API would get it. A number that is none is one that is refused.
    fn definition(&self) -> Definition {
        let contact = self.contact.then(|| "contact".to_owned());
        let fields = self.fields.split([',', '\n']).map(str::trim).filter(|field| !field.is_empty());
        let text = |text: &String| Some(text.clone()).filter(|text| !text.trim().is_empty());
        let step = |step: &StepForm| StepText {
            channel: step.channel.clone(),
            after_days: whole(&step.after_days, 0, -1),
            condition: step.condition.clone(),
            subject: text(&step.subject),
            template: text(&step.template),
            generate: step.generate,
        };
        Definition {
            enrich: contact.into_iter().chain(fields.map(str::to_owned)).collect(),
            steps: self.steps.iter().map(step).collect(),
            approve: self.approve,
            ..Definition::default()
        }
    }

    /// What is saved, and how many leads are added to it.
    fn read(&self, workspace: i64) -> Result<(NewJob, i64), Fault> {
        let cap = Some(whole(&self.credit_cap, -1, 0)).filter(|_| !self.credit_cap.trim().is_empty());
        let senders = outreach::senders(workspace, &self.senders)?;
        let new = outreach::campaign(
            self.name.trim().to_owned(),
            Definition { senders, ..self.definition() },
            cap,
        )?;
        Ok((new, count(&self.leads, 0)?))
    }
}

/// A whole number: of nothing, and of what is none.
fn whole(text: &str, nothing: i64, none: i64) -> i64 {
    let text = text.trim();
    if text.is_empty() { nothing } else { text.parse().unwrap_or(none) }
}

fn count(leads: &str, least: i64) -> Result<i64, Fault> {
    let count = whole(leads, 0, -1);
    let reason = || format!("must be a whole number from {least} to {MAX_LEADS}");
    let fits = (least..=MAX_LEADS).contains(&count);
    if fits { Ok(count) } else { Err(Fault { field: "leads".to_owned(), reason: reason() }) }
}

/// The form of a new campaign.
pub async fn new(State(app): State<App>, visitor: Visitor) -> Page {
    let scene = Scene::load(&app, &visitor).await?;
    draw(&form(&app, scene, None, Typed::fresh(), None).await?)
}

/// The form of a draft.
pub async fn edit(State(app): State<App>, visitor: Visitor, Path(campaign): Path<String>) -> Page {
    let job = draft(&app, &visitor, &campaign).await?;
    let scene = Scene::load(&app, &visitor).await?;
    let typed = Typed::stored(visitor.workspace, &job);
    draw(&form(&app, scene, Some(job.id), typed, None).await?)
}

async fn draft(app: &App, visitor: &Visitor, campaign: &str) -> Result<Job, Trouble> {
    let number = number(visitor, "camp", campaign)?;
    let job = app.store.job(visitor.workspace, number, JobKind::Campaign).await?;
    if job.run.stage == Stage::Draft {
        Ok(job)
    } else {
        Err(Error::Conflict("campaign_not_draft", "only a draft can be changed").into())
    }
}

/// Makes a campaign, or draws its form again. A form that is sent twice makes one.
pub async fn create(
    State(app): State<App>,
    visitor: Visitor,
    Form(sent): Form<Vec<(String, String)>>,
) -> Page {
    save(&app, &visitor, None, sent.into()).await
}

/// Changes a draft, or draws its form again.
pub async fn change(
    State(app): State<App>,
    visitor: Visitor,
    Path(campaign): Path<String>,
    Form(sent): Form<Vec<(String, String)>>,
) -> Page {
    let job = draft(&app, &visitor, &campaign).await?;
    save(&app, &visitor, Some(job.id), sent.into()).await
}

async fn save(app: &App, visitor: &Visitor, campaign: Option<i64>, mut typed: Typed) -> Page {
    let workspace = visitor.workspace;
    if typed.press != "save" {
        typed.press();
        let scene = Scene::load(app, visitor).await?;
        return draw(&form(app, scene, campaign, typed, None).await?);
    }
    let key = session::stored_key(&typed.form_key)?;
    let (new, leads) = match typed.read(workspace) {
        Ok(read) => read,
        Err(fault) => return again(app, visitor, campaign, typed, fault).await,
    };
    if !app.store.first_use(workspace, key).await? {
        return Ok(go(app, "/campaigns", "form-sent"));
    }
    let saved = match campaign {
        None => app.store.create_job(workspace, new).await,
        Some(number) => app.store.update_campaign(workspace, number, new.into()).await,
    };
    let job = match saved {
        Ok(job) => job,
        Err(Error::Invalid(field, reason)) => {
            let fault = Fault { field: field.to_owned(), reason };
            return again(app, visitor, campaign, typed, fault).await;
        }
        Err(error) => return Err(error.into()),
    };
    if leads > 0 {
        let chosen = app.store.leads_outside(workspace, job.id, leads).await?;
        app.store.add_leads(workspace, job.id, chosen).await?;
    }
    let flash = if campaign.is_some() { "saved" } else { "campaign-made" };
    Ok(go(app, &format!("/campaigns/{}", id::inside("camp", workspace, job.id)), flash))
}

async fn again(app: &App, visitor: &Visitor, campaign: Option<i64>, typed: Typed, fault: Fault) -> Page {
    let scene = Scene::load(app, visitor).await?;
    html(StatusCode::UNPROCESSABLE_ENTITY, &form(app, scene, campaign, typed, Some(fault)).await?)
}

async fn form(
    app: &App,
    scene: Scene,
    campaign: Option<i64>,
    typed: Typed,
    wrong: Option<Fault>,
) -> Result<Builder, Trouble> {
    let workspace = scene.workspace.id;
    let definition = typed.definition();
    let more = count(&typed.leads, 0).unwrap_or(0);
    // Zero is no campaign's number: a new one has no leads yet.
    let more = app.store.leads_outside(workspace, campaign.unwrap_or(0), more).await?.len() as i64;
    let there = match campaign {
        Some(number) => app.store.progress(workspace, number).await?.total(),
        None => 0,
    };
    let job = NewJob {
        kind: JobKind::Campaign,
        name: String::new(),
        definition,
        credit_cap: None,
        requested: 0,
        leads: Vec::new(),
    };
    let progress = Progress { waiting: vec![(0, there + more)], ..Progress::default() };
    let per_lead = outreach::cost_left(&job.definition, 0, &|operation| app.unit(operation, 1).unit_price);
    let estimate = estimate(app, &scene, &job.definition, campaign, &progress).await?;
    let all = app.store.senders(workspace, None, MAX_SENDERS).await?;
    let chosen = |id: &String| typed.senders.contains(id);
    let senders = all.into_iter().map(|sender| {
        let id = id::inside("sender", workspace, sender.id);
        SenderChoice { chosen: chosen(&id), id, from: sender.from, active: sender.active }
    });
    let senders = senders.collect();
    let mut day = 1_i64;
    let steps =
        typed.steps.into_iter().zip(&job.definition.steps).enumerate().map(|(index, (mut form, step))| {
            day = day.saturating_add(step.after_days.max(0));
            (form.day, form.timing) = (day, timing(index, step));
            form.what = channel(&step.channel).to_owned();
            form
        });
    Ok(Builder {
        steps: steps.collect(),
        shell: scene.shell(Some(Tab::Campaigns)),
        campaign: campaign.map(|number| id::inside("camp", workspace, number)),
        form_key: session::form_key(),
        name: typed.name,
        contact: typed.contact,
        fields: typed.fields,
        approve: typed.approve,
        senders,
        credit_cap: typed.credit_cap,
        leads: typed.leads,
        there,
        total: there + more,
        per_lead,
        estimate,
        wrong: wrong.map(|fault| (place(&fault.field), format!("{}.", fault.reason))),
    })
}

/// The input that a field of the API stands in: lists are one, steps have their own.
fn place(field: &str) -> String {
    let list = if field.starts_with("steps[") { field } else { field.split('[').next().unwrap_or(field) };
    list.to_owned()
}

#[derive(Deserialize)]
pub struct More {
    form_key: String,
    leads: String,
}

/// Adds the newest leads that are not in the campaign. A form that is sent twice adds them once.
pub async fn add_leads(
    State(app): State<App>,
    visitor: Visitor,
    Path(campaign): Path<String>,
    Form(more): Form<More>,
) -> Page {
    let number = number(&visitor, "camp", &campaign)?;
    let to = format!("/campaigns/{campaign}");
    let asked = count(&more.leads, 1);
    let asked =
        asked.map_err(|fault| Trouble::unprocessable(format!("{} {}.", fault.field, fault.reason)))?;
    app.store.job(visitor.workspace, number, JobKind::Campaign).await?;
    if !app.store.first_use(visitor.workspace, session::stored_key(&more.form_key)?).await? {
        return Ok(go(&app, &to, "form-sent"));
    }
    let leads = app.store.leads_outside(visitor.workspace, number, asked).await?;
    let added = app.store.add_leads(visitor.workspace, number, leads).await?;
    app.nudge();
    Ok(go(&app, &to, &format!("leads-added.{added}")))
}
