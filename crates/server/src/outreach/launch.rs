//! What is looked at before a campaign is launched, because afterwards it would be in somebody's inbox.

use super::Fault;
use super::lead::COLUMNS;
use super::template::names;
use crate::app::App;
use crate::store::Error;
use crate::store::jobs::{Definition, JobKind};

/// What is wrong with a draft: a text that names what no lead of the workspace has and the campaign does not fill. Such a gap would
/// go out to everybody.
///
/// # Errors
/// When the store cannot read, or there is no such campaign.
pub async fn check_launch(app: &App, workspace: i64, campaign: i64) -> Result<Option<Fault>, Error> {
    let job = app.store.job(workspace, campaign, JobKind::Campaign).await?;
    if job.run.stage != billing::campaign::Stage::Draft {
        return Ok(None);
    }
    let asked = doubtful(&job.definition);
    if asked.is_empty() {
        return Ok(None);
    }
    let all: Vec<String> = asked.iter().map(|(_, name)| name.clone()).collect();
    let unknown = app.store.unknown_fields(workspace, all).await?;
    let Some((place, _)) = asked.iter().find(|(_, name)| unknown.contains(name)) else { return Ok(None) };
    let list = unknown.iter().map(|name| format!("{{{{{name}}}}}")).collect::<Vec<_>>().join(", ");
    let reason = format!("names what no lead has and the campaign does not fill: {list}");
    Ok(Some(Fault::new(place.clone(), reason)))
}

/// What the texts name besides what every lead has and what the campaign fills: where, and the name; each name once.
fn doubtful(definition: &Definition) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for (index, step) in definition.steps.iter().enumerate() {
        for (field, text) in [("subject", &step.subject), ("template", &step.template)] {
            for name in names(text.as_deref().unwrap_or_default()) {
                // Whether an address is verified is no text to put into a message.
                let own = COLUMNS.contains(&name) && name != "email_verified";
                let filled = definition.enrich.iter().any(|field| field == name && field != "contact");
                if !own && !filled && !found.iter().any(|(_, known)| known == name) {
                    found.push((format!("steps[{index}].{field}"), name.to_owned()));
                }
            }
        }
    }
    found
}
