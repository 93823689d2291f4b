//! Draws every page in every state from made-up values into a directory, for looking at them:
//! `cargo run --example preview -- DIR`. Nothing here is a real workspace, person or price.

mod sample;

use askama::Template;
use scrip::pages::view::*;

fn main() -> anyhow::Result<()> {
    let directory = std::env::args().nth(1).ok_or_else(|| anyhow::anyhow!("usage: preview DIR"))?;
    std::fs::create_dir_all(&directory)?;
    let write = |name: &str, page: Result<String, askama::Error>| -> anyhow::Result<()> {
        Ok(std::fs::write(format!("{directory}/{name}.html"), page?)?)
    };

    for (name, state) in sample::STATES {
        write(&format!("billing-{name}"), sample::billing(state, Role::Admin).render())?;
    }
    write("billing-member", sample::billing(sample::Case::Out, Role::Member).render())?;
    write("billing-empty", sample::empty_billing().render())?;

    write("campaigns", sample::campaigns(sample::Case::Out).render())?;
    let empty = sample::shell(sample::Case::Healthy, Role::Member, Tab::Campaigns);
    write("campaigns-empty", Campaigns { shell: empty, rows: vec![], next: None }.render())?;
    write("campaign-draft", sample::campaign(sample::Case::Low, Standing::Draft).render())?;
    write("campaign-active", sample::campaign(sample::Case::Healthy, Standing::Active).render())?;
    write("campaign-paused", sample::campaign(sample::Case::Out, Standing::Paused).render())?;

    write("campaign-messages", sample::review().render())?;
    write("campaign-messages-empty", Review { rows: vec![], waiting: 0, ..sample::review() }.render())?;

    write("leads", sample::leads().render())?;
    write("lead", sample::lead().render())?;
    write("leads-empty", sample::leads_empty().render())?;
    write("searches", sample::searches(sample::Case::Low, 1_240).render())?;
    write("searches-out", sample::searches(sample::Case::Out, 1).render())?;
    write("searches-empty", sample::searches_empty().render())?;
    write("notifications", sample::notices().render())?;
    let shell = sample::shell(sample::Case::Healthy, Role::Admin, Tab::Notices);
    write("notifications-empty", Notices { shell, rows: vec![], next: None }.render())?;
    write("settings", sample::settings().render())?;
    write("senders", sample::senders().render())?;
    write("senders-empty", Senders { rows: vec![], ..sample::senders() }.render())?;
    let wrong = Some("Hours: must be times of the day like 09:00 and 17:00.".to_owned());
    let typed = sample::sender();
    write("sender", typed.clone().render())?;
    write("sender-wrong", SenderPage { form: SenderForm { wrong, ..typed.form.clone() }, ..typed }.render())?;
    write("margin", sample::margin().render())?;
    write("margin-empty", Margin { rows: vec![], providers: vec![], ..sample::margin() }.render())?;
    write("admin", sample::admin().render())?;
    write("admin-empty", Admin { rows: vec![], query: "nothing".into(), ..sample::admin() }.render())?;
    for status in ["pending", "paid", "declined"] {
        write(&format!("checkout-{status}"), sample::checkout(status).render())?;
    }
    let reason = Some("This link has expired.".to_owned());
    let return_url = Some("https://product.example.com/billing".to_owned());
    write("signed-out", SignedOut { reason, return_url }.render())?;
    write("error", sample::error(None).render())?;
    let shell = sample::shell(sample::Case::Low, Role::Admin, Tab::Billing);
    write("error-signed-in", sample::error(Some(Shell { tab: None, ..shell })).render())?;
    write("live", sample::live().render())?;
    Ok(())
}
