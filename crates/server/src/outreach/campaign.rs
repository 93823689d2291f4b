//! What a campaign must look like, which operations it uses, and what is left to pay for it. Pure.

use std::collections::{BTreeMap, HashSet};

use billing::units::MAX_CREDITS;

use super::template::MAX_SUBJECT;
use super::{Fault, check_template, line};
use crate::id;
use crate::store::jobs::{CampaignChange, Definition, JobKind, NewJob, StepText};
use crate::store::queries::Progress;
use crate::store::work::STEPS;

/// How many steps a campaign has at most.
pub const MAX_STEPS: usize = 20;
/// How many fields are filled for a lead at most.
pub const MAX_ENRICH: usize = 20;
/// How many senders a campaign names at most.
const MAX_SENDERS: usize = 20;
/// The longest name, in characters.
const MAX_NAME: usize = 200;
/// The longest template, in characters.
const MAX_TEMPLATE: usize = 10_000;
/// The longest wait before a step, in days.
const MAX_DAYS: i64 = 365;

/// What a campaign is made of, checked.
pub fn campaign(name: String, definition: Definition, credit_cap: Option<i64>) -> Result<NewJob, Fault> {
    check_name(&name)?;
    check_definition(&definition)?;
    check_cap(credit_cap)?;
    Ok(NewJob { kind: JobKind::Campaign, name, definition, credit_cap, requested: 0, leads: Vec::new() })
}

/// What is changed of a campaign, checked. What one field must be does not depend on another, so neither on what stays.
pub fn campaign_change(change: CampaignChange) -> Result<CampaignChange, Fault> {
    change.name.as_deref().map_or(Ok(()), check_name)?;
    change.enrich.as_deref().map_or(Ok(()), |fields| check_fields("enrich", fields))?;
    change.steps.as_deref().map_or(Ok(()), check_steps)?;
    change.credit_cap.map_or(Ok(()), check_cap)?;
    Ok(change)
}

/// The numbers of senders of this workspace, each once.
pub fn senders(workspace: i64, senders: &[String]) -> Result<Vec<i64>, Fault> {
    if senders.len() > MAX_SENDERS {
        return Err(Fault::new("senders", format!("names at most {MAX_SENDERS} senders")));
    }
    let mut numbers = Vec::with_capacity(senders.len());
    for (index, sender) in senders.iter().enumerate() {
        let parsed = id::parse_inside("sender", sender).filter(|(owner, _)| *owner == workspace);
        let unknown = || Fault::new(format!("senders[{index}]"), "there is no such sender here");
        let (_, number) = parsed.ok_or_else(unknown)?;
        if !numbers.contains(&number) {
            numbers.push(number);
        }
    }
    Ok(numbers)
}

/// A campaign's name: one line, because it is the subject of e-mails that have none.
fn check_name(name: &str) -> Result<(), Fault> {
    if name.trim().is_empty() {
        return Err(Fault::new("name", "must not be empty"));
    }
    line(name, MAX_NAME).map_err(|reason| Fault::new("name", reason))
}

/// What a campaign may spend at most.
fn check_cap(cap: Option<i64>) -> Result<(), Fault> {
    match cap {
        Some(cap) if !(1..=MAX_CREDITS).contains(&cap) => {
            Err(Fault::new("credit_cap", format!("must be a whole number from 1 to {MAX_CREDITS}")))
        }
        _ => Ok(()),
    }
}

/// A campaign's fields and steps.
fn check_definition(definition: &Definition) -> Result<(), Fault> {
    check_fields("enrich", &definition.enrich)?;
    check_steps(&definition.steps)
}

fn check_steps(steps: &[StepText]) -> Result<(), Fault> {
    if !(1..=MAX_STEPS).contains(&steps.len()) {
        return Err(Fault::new("steps", format!("a campaign has 1 to {MAX_STEPS} steps")));
    }
    for (index, step) in steps.iter().enumerate() {
        let place = |(field, reason): (&str, String)| Fault::new(format!("steps[{index}].{field}"), reason);
        check_step(step).map_err(place)?;
    }
    Ok(())
}

/// Names of fields to fill: no more than [`MAX_ENRICH`], each once.
pub fn check_fields(list: &str, fields: &[String]) -> Result<(), Fault> {
    if fields.len() > MAX_ENRICH {
        return Err(Fault::new(list, format!("has at most {MAX_ENRICH} fields")));
    }
    let mut seen = HashSet::new();
    for (index, field) in fields.iter().enumerate() {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let place = format!("{list}[{index}]");
        if !(1..=64).contains(&field.len()) || !field.bytes().all(plain) {
            return Err(Fault::new(place, "has 1 to 64 of the characters a-z, 0-9 and _"));
        }
        if !seen.insert(field) {
            return Err(Fault::new(place, "is named twice"));
        }
    }
    Ok(())
}

fn check_step(step: &StepText) -> Result<(), (&'static str, String)> {
    let refuse = |field, reason: &str| Err((field, reason.to_owned()));
    if !matches!(step.channel.as_str(), "email" | "linkedin_invite" | "linkedin_message") {
        return refuse("channel", "must be email, linkedin_invite or linkedin_message");
    }
    if !matches!(step.condition.as_str(), "always" | "no_reply") {
        return refuse("condition", "must be always or no_reply");
    }
    if !(0..=MAX_DAYS).contains(&step.after_days) {
        return Err(("after_days", format!("must be a whole number from 0 to {MAX_DAYS}")));
    }
    if let Some(subject) = &step.subject {
        line(subject, MAX_SUBJECT).map_err(|reason| ("subject", reason))?;
        check_template(subject).map_err(|reason| ("subject", reason.to_owned()))?;
    }
    let template = step.template.as_deref().unwrap_or("");
    if template.trim().is_empty() && !step.generate {
        return refuse("template", "a step needs a template or generate: true");
    }
    if template.chars().count() > MAX_TEMPLATE {
        return Err(("template", format!("has at most {MAX_TEMPLATE} characters")));
    }
    if template.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return refuse("template", "must not contain control characters");
    }
    check_template(template).map_err(|reason| ("template", reason.to_owned()))
}

/// The operation that fills a field.
pub fn enrich_operation(field: &str) -> &'static str {
    if field == "contact" { "contact_enrichment" } else { "field_enrichment" }
}

/// The operation that sends on a channel.
pub fn send_operation(channel: &str) -> &'static str {
    if channel == "email" { "email_send" } else { "linkedin_send" }
}

/// The most that one lead can still cost from a stored position on; `unit` is an operation's price.
pub fn cost_left(definition: &Definition, position: i64, unit: &impl Fn(&str) -> i64) -> i64 {
    let index = |number: i64| usize::try_from(number.max(0)).unwrap_or(usize::MAX);
    let enrich = if position < STEPS { index(position) } else { usize::MAX };
    let fields = definition.enrich.iter().skip(enrich).map(|field| unit(enrich_operation(field)));
    let steps = definition.steps.iter().skip(index(position - STEPS)).map(|step| {
        let write = if step.generate { unit("message_generation") } else { 0 };
        write + unit(send_operation(&step.channel))
    });
    fields.chain(steps).fold(0, i64::saturating_add)
}

/// The most that a campaign can still cost: what is left for every lead that has not finished. A lead in doubt has its
/// present step behind it, and a message that is written is paid.
pub fn estimate(definition: &Definition, progress: &Progress, unit: &impl Fn(&str) -> i64) -> i64 {
    let waiting = progress.waiting.iter().map(|(position, leads)| (*position, *leads));
    let in_doubt = progress.in_doubt.iter().map(|(position, leads)| (position + 1, *leads));
    let cost = |(position, leads): (i64, i64)| leads.saturating_mul(cost_left(definition, position, unit));
    let whole = waiting.chain(in_doubt).map(cost).fold(0, i64::saturating_add);
    let paid = |(position, messages): &(i64, i64)| {
        let step = usize::try_from(position - STEPS).ok().and_then(|index| definition.steps.get(index));
        let generates = step.is_some_and(|step| step.generate);
        if generates { messages.saturating_mul(unit("message_generation")) } else { 0 }
    };
    progress.written.iter().map(paid).fold(whole, i64::saturating_sub)
}

/// Fewer tries of an operation than this say nothing about the next ones.
const FEW: i64 = 20;

/// What a campaign can be expected to cost, if of each operation as many of its pieces succeed as before (`success`: charged,
/// and tried without a charge); rounded up to whole credits.
pub fn expected(
    definition: &Definition,
    progress: &Progress,
    unit: &impl Fn(&str) -> i64,
    success: &BTreeMap<String, (i64, i64)>,
) -> i64 {
    let unit = |operation: &str| match success.get(operation) {
        Some((charged, not)) if charged + not >= FEW => {
            unit(operation).saturating_mul((1_000 * i128::from(*charged) / i128::from(charged + not)) as i64)
        }
        _ => unit(operation).saturating_mul(1_000),
    };
    let thousandths = estimate(definition, progress, &unit);
    thousandths / 1_000 + i64::from(thousandths % 1_000 > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step() -> StepText {
        StepText {
            channel: "email".to_owned(),
            after_days: 0,
            condition: "no_reply".to_owned(),
            subject: None,
            template: Some("Hello {{name}}".to_owned()),
            generate: false,
        }
    }

    fn check(change: impl FnOnce(&mut Definition)) -> Option<String> {
        let mut definition = Definition {
            enrich: vec!["contact".to_owned()],
            steps: vec![step(), step()],
            ..Default::default()
        };
        change(&mut definition);
        check_definition(&definition).err().map(|fault| fault.field)
    }

    #[test]
    fn what_is_wrong_with_a_campaign_is_named() {
        assert_eq!(check(|_| {}), None);
        assert_eq!(check(|d| (d.steps[0].template, d.steps[0].generate) = (None, true)), None);
        let fields =
            |d: &mut Definition, fields: &[&str]| d.enrich = fields.iter().map(|f| (*f).to_owned()).collect();
        let table = [
            (check(|d| d.steps.clear()), "steps"),
            (check(|d| d.steps = vec![step(); 21]), "steps"),
            (check(|d| d.steps[1].channel = "fax".to_owned()), "steps[1].channel"),
            (check(|d| d.steps[1].condition = "maybe".to_owned()), "steps[1].condition"),
            (check(|d| d.steps[0].after_days = -1), "steps[0].after_days"),
            (check(|d| d.steps[0].after_days = 366), "steps[0].after_days"),
            (check(|d| d.steps[0].subject = Some("a\nb".to_owned())), "steps[0].subject"),
            (check(|d| d.steps[0].subject = Some("{{name".to_owned())), "steps[0].subject"),
            (check(|d| d.steps[0].subject = Some("x".repeat(301))), "steps[0].subject"),
            (check(|d| d.steps[0].template = None), "steps[0].template"),
            (check(|d| d.steps[0].template = Some(" ".to_owned())), "steps[0].template"),
            (check(|d| d.steps[0].template = Some("{{name".to_owned())), "steps[0].template"),
            (check(|d| d.steps[0].template = Some("x".repeat(10_001))), "steps[0].template"),
            (check(|d| fields(d, &["contact", "contact"])), "enrich[1]"),
            (check(|d| fields(d, &["Company Size"])), "enrich[0]"),
            (check(|d| d.enrich = (0..21).map(|n| format!("f{n}")).collect()), "enrich"),
        ];
        for (found, expected) in table {
            assert_eq!(found.as_deref(), Some(expected));
        }
        assert!(check_cap(Some(0)).is_err() && check_cap(Some(1)).is_ok() && check_cap(None).is_ok());
        assert!(check_name("a\nb").is_err() && check_name(" ").is_err() && check_name("Spring").is_ok());
    }

    #[test]
    fn the_estimate_counts_what_is_left_for_each_lead() {
        let mut definition = Definition { steps: vec![step(), step()], ..Default::default() };
        definition.enrich = vec!["contact".to_owned(), "industry".to_owned()];
        definition.steps[1].generate = true;
        let unit = |operation: &str| match operation {
            "contact_enrichment" => 6,
            "field_enrichment" => 3,
            _ => 2,
        };
        let table = [(0, 15), (1, 9), (1_000, 6), (1_001, 4), (1_002, 0)];
        for (position, expected) in table {
            assert_eq!(cost_left(&definition, position, &unit), expected, "{position}");
        }
        let progress =
            Progress { waiting: vec![(0, 10), (1_001, 2)], in_doubt: vec![(1_000, 3)], ..Default::default() };
        assert_eq!(estimate(&definition, &progress, &unit), 150 + 8 + 12);

        let success = |tried: &[(&str, i64, i64)]| {
            let of = |(name, charged, not): &(&str, i64, i64)| ((*name).to_owned(), (*charged, *not));
            let success = tried.iter().map(of).collect();
            super::expected(&definition, &progress, &unit, &success)
        };
        assert_eq!(success(&[]), 170);
        assert_eq!(success(&[("contact_enrichment", 0, 19)]), 170, "too few to say anything");
        assert_eq!(success(&[("contact_enrichment", 15, 5)]), 170 - 15, "a quarter of ten at 6");
        assert_eq!(success(&[("contact_enrichment", 0, 20)]), 170 - 60);
        assert_eq!(success(&[("email_send", 2, 1)]), 170);
        assert_eq!(success(&[("email_send", 20, 10)]), 154, "25 mails at 2 less a third, rounded up");
    }
}
