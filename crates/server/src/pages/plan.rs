//! The plan: which there are, exactly what a change would mean, and the change.

use axum::extract::{Form, Query, State};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::billing::{tax_note, taxed, to_checkout};
use super::frame::{Page, Trouble, go, page as draw};
use super::scene::Scene;
use super::session::{self, Visitor};
use super::view::format::{Figure, money as in_money};
use super::view::{ChosenPlan, PlanChoice, PlanPage, Tab};
use crate::app::App;
use crate::store::committer::{Key, KeyKind};
use crate::store::subscriptions::change::Wish;
use crate::store::subscriptions::{Change, Standing, Terms, When};
use crate::{calendar, money};

#[derive(Deserialize)]
pub struct Shown {
    plan: Option<String>,
}

/// The plans, and what choosing one of them would mean.
pub async fn page(State(app): State<App>, visitor: Visitor, Query(shown): Query<Shown>) -> Page {
    visitor.admin()?;
    let scene = Scene::load(&app, &visitor).await?;
    let workspace = &scene.workspace;
    let live = !matches!(workspace.subscription, None | Some(Standing::Canceled));
    let choice = |plan: &crate::catalog::Plan| PlanChoice {
        id: plan.plan.clone(),
        label: plan.label.clone(),
        credits: plan.credits,
        grants: plan.grants.label().to_owned(),
        price: in_money(taxed(&app, plan.price.amount), &plan.price.currency),
        interval: plan.interval.label().to_owned(),
        current: live && workspace.plan.as_ref() == Some(&plan.plan),
        selected: shown.plan.as_ref() == Some(&plan.plan),
    };
    let chosen = match &shown.plan {
        Some(plan) => Some(chosen(&app, &scene, plan).await?),
        None => None,
    };
    let end = workspace.next_period.map(|at| calendar::day(at, scene.zone()));
    let status = workspace.subscription;
    draw(&PlanPage {
        shell: scene.shell(Some(Tab::Billing)),
        choices: app.catalog().plans.iter().map(choice).collect(),
        chosen,
        tax: tax_note(&app),
        can_pay: app.payments.is_some() || !workspace.pays(),
        cancel: match status {
            Some(Standing::Active | Standing::Trialing) => Some(format!(
                "Nothing renews any more{}. Credits that are left stay, unless the plan lets them expire.",
                end.map_or(String::new(), |day| format!(": the last credits of this plan come before {day}"))
            )),
            Some(Standing::PastDue | Standing::Incomplete) => Some(
                "It ends at once, and nothing is charged any more. Credits that are left stay.".to_owned(),
            ),
            _ => None,
        },
        resume: status == Some(Standing::Canceling),
        form_key: session::form_key(),
    })
}

async fn chosen(app: &App, scene: &Scene, plan: &str) -> Result<ChosenPlan, Trouble> {
    let terms = known(app, plan)?;
    let (change, is) = app.store.preview_change(scene.workspace.id, terms.clone(), None).await?;
    let free = !scene.workspace.pays();
    let saved = app.store.payer(scene.workspace.id).await?.method.map(|(_, label)| label);
    let mut says = Vec::new();
    let pay = |amount: i64, tax: i64| with_tax(app, &terms, amount, tax);
    let now = match &change {
        Change::Begin | Change::NewPeriod => Some((terms.amount, terms.tax(), terms.credits)),
        Change::Difference { amount, tax, credits } => Some((*amount, *tax, *credits)),
        _ => None,
    };
    let costs = now.filter(|(amount, ..)| !free && *amount > 0);
    if let Some((amount, tax, credits)) = now {
        let credits = credits.credits();
        says.push(match costs {
            Some(_) => format!("{} is charged now. {credits} are added once it is paid.", pay(amount, tax)),
            None => format!("{credits} are added now. Nothing is charged."),
        });
        if costs.is_some() {
            says.push(match saved.filter(|_| !matches!(change, Change::Begin)) {
                Some(label) => format!("It is charged to your saved method: {label}."),
                None => "You pay on the next page, and the method is kept for renewals.".to_owned(),
            });
        }
    }
    match &change {
        Change::Stay => {
            says.push("This is your plan. A change that was planned for the renewal is dropped.".to_owned())
        }
        Change::Trial { days, credits } => says.push(format!(
            "{} are added now, without money. They end with the trial, after {}.",
            credits.credits(),
            days.of("day", "days")
        )),
        Change::AfterTrial => says.push("Your trial goes on; this plan begins when it ends.".to_owned()),
        Change::AtRenewal { at } => says.push(format!(
            "Nothing changes before {}: then this plan begins. Your credits stay.",
            calendar::day(*at, scene.zone())
        )),
        Change::NewPeriod => says.push("A whole new period begins now.".to_owned()),
        Change::Begin | Change::Difference { .. } => {}
    }
    if change != Change::Stay {
        let then = money::renewed(app, &is, &change, &terms);
        if then.plan != terms.plan {
            says = vec![format!(
                "{} is not offered any more at your renewal: {} goes on.",
                terms.label, then.label
            )];
        }
        let every = if then.months == 1 { "month".to_owned() } else { format!("{} months", then.months) };
        says.push(match free || then.amount == 0 {
            true => format!("From then on {} come with each renewal.", then.credits.credits()),
            false => {
                format!("From then on {} every {every}, until you cancel.", pay(then.amount, then.tax()))
            }
        });
    }
    let button = match (&change, costs) {
        (Change::Stay, _) => "Keep this plan".to_owned(),
        (_, Some((amount, tax, _))) => {
            format!("Pay {}{}", in_money(amount + tax, &terms.currency), money::plus_tax(app))
        }
        (Change::AtRenewal { .. }, _) => "Change at the renewal".to_owned(),
        (Change::Trial { .. }, _) => "Start the trial".to_owned(),
        _ => "Change the plan".to_owned(),
    };
    Ok(ChosenPlan { id: terms.plan, label: terms.label, says, button })
}

/// `€139.50 plus €27.90 VAT`.
fn with_tax(app: &App, terms: &Terms, amount: i64, tax: i64) -> String {
    let (amount, tax_text) = (in_money(amount, &terms.currency), in_money(tax, &terms.currency));
    let label = app.catalog().tax.as_ref().map_or("tax", |tax| tax.label.as_str());
    if tax == 0 { amount + money::plus_tax(app) } else { format!("{amount} plus {tax_text} {label}") }
}

fn known(app: &App, plan: &str) -> Result<Terms, Trouble> {
    money::terms(app.catalog(), plan).ok_or_else(|| Trouble::unprocessable("There is no such plan."))
}

#[derive(Deserialize, Serialize)]
pub struct Order {
    form_key: String,
    plan: String,
}

/// Changes the plan. A double click, a reload or a way back is one change.
pub async fn change(State(app): State<App>, visitor: Visitor, Form(order): Form<Order>) -> Page {
    let terms = Box::new(known(&app, &order.plan)?);
    let pays = app.store.workspace(visitor.workspace).await?.pays();
    if pays && terms.amount > 0 {
        money::provider(&app)?;
    }
    let wish = Wish::Plan { terms, when: None::<When>, return_url: None };
    act(&app, &visitor, wish, (&order.form_key, &order.plan), "plan-changed").await
}

#[derive(Deserialize)]
pub struct Act {
    form_key: String,
}

/// Ends the subscription with its period.
pub async fn cancel(State(app): State<App>, visitor: Visitor, Form(form): Form<Act>) -> Page {
    act(&app, &visitor, Wish::Cancel, (&form.form_key, "cancel"), "plan-canceled").await
}

/// Renews after all.
pub async fn resume(State(app): State<App>, visitor: Visitor, Form(form): Form<Act>) -> Page {
    act(&app, &visitor, Wish::Resume, (&form.form_key, "resume"), "plan-resumed").await
}

async fn act(
    app: &App,
    visitor: &Visitor,
    wish: Wish,
    (form_key, what): (&str, &str),
    flash: &'static str,
) -> Page {
    visitor.admin()?;
    let key = session::stored_key(form_key)?;
    let digest = Sha256::digest(what.as_bytes());
    let mut fingerprint = [0; 16];
    fingerprint.copy_from_slice(&digest[..16]);
    let key = Key { kind: KeyKind::Subscription, key: key.as_str().into(), fingerprint };
    let used = crate::store::Error::Refused(billing::Refusal::IdempotencyKeyReused);
    match money::change(app, (visitor.workspace, visitor.name()), wish, (key, None)).await {
        Ok((_, Some(payment), _)) if !payment.is_paid() => Ok(to_checkout(app, &payment)),
        Ok(_) => {
            app.nudge();
            Ok(go(app, "/billing", flash).into_response())
        }
        Err(money::Trouble::Store(error)) if error.to_string() == used.to_string() => {
            Ok(go(app, "/billing/plan", "form-used"))
        }
        Err(trouble) => Err(trouble.into()),
    }
}
