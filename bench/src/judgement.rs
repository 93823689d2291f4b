//! One finished campaign before three witnesses: the mail server's log, the campaign's own account, and the ledger.

use crate::campaigns::{Campaign, address, items, text};
use crate::http::Connection;
use crate::server::Server;
use crate::smtp::Mail;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;

pub(crate) const LEADS: u64 = 50;
const STEPS: [&str; 2] = ["First note for Lead ", "Second note for Lead "];

/// What became of the steps of one campaign, or of several.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) mails: u64,
    pub(crate) sent: u64,
    pub(crate) in_doubt: u64,
    /// Skipped or failed, and listed as that.
    pub(crate) listed: u64,
}

impl Finding {
    pub(crate) fn add(&mut self, other: &Self) {
        self.mails += other.mails;
        self.sent += other.sent;
        self.in_doubt += other.in_doubt;
        self.listed += other.listed;
    }
}

/// An error at the first mail doubled, step skipped, or credit astray.
pub(crate) async fn judge(
    server: &Server,
    workspace: &str,
    campaign: &Campaign,
    mails: &[Mail],
) -> Result<Finding> {
    let mut connection = server.connect().await?;
    let shown = connection.get(&format!("/v1/campaigns/{}", campaign.id)).await?;
    let received = received(campaign, mails)?;
    let finding = compare(&shown, &received)?;
    let listed = connection.get(&format!("/v1/campaigns/{}/leads?limit=500", campaign.id)).await?;
    ensure!(items(&listed)?.len() as u64 == LEADS, "the campaign lists {} leads", items(&listed)?.len());
    check_ledger(&mut connection, workspace, campaign, &received, &finding).await?;
    Ok(finding)
}

/// Per lead's external id, how many mails of each step the mail server accepted: none or one.
fn received(campaign: &Campaign, mails: &[Mail]) -> Result<BTreeMap<String, [u64; 2]>> {
    let mut received: BTreeMap<String, [u64; 2]> =
        campaign.leads.values().map(|it| (it.clone(), [0, 0])).collect();
    let mut ours: BTreeMap<String, &mut [u64; 2]> =
        received.iter_mut().map(|(lead, counts)| (address(lead), counts)).collect();
    for mail in mails {
        let Some(counts) = ours.get_mut(&mail.to) else { continue };
        let lead = mail.to.trim_end_matches("@example.com");
        let step = STEPS
            .iter()
            .position(|it| mail.subject.strip_prefix(it) == Some(lead))
            .with_context(|| format!("an unknown mail: {mail:?}"))?;
        counts[step] += 1;
        ensure!(counts[step] == 1, "doubled: {mail:?}");
    }
    Ok(received)
}

/// The mails against the campaign's own counts, step by step.
fn compare(shown: &Value, received: &BTreeMap<String, [u64; 2]>) -> Result<Finding> {
    let mut finding = Finding::default();
    // A lead whose first step is in doubt or ended otherwise need not have reached the second.
    let mut behind = 0;
    for step in 0..STEPS.len() {
        let count = |name: &str| {
            let value = shown["steps"][step][name].as_u64();
            value.with_context(|| format!("step {step} has no {name}: {shown}"))
        };
        let (sent, in_doubt, listed) =
            (count("sent")?, count("in_doubt")?, count("skipped")? + count("failed")?);
        let mails: u64 = received.values().map(|it| it[step]).sum();
        ensure!(sent <= mails, "step {step}: {sent} called sent, {mails} mails accepted: {shown}");
        ensure!(
            mails <= sent + in_doubt,
            "step {step}: {mails} mails, only {sent} sent and {in_doubt} in doubt: {shown}"
        );
        let known = sent + in_doubt + listed;
        ensure!(known <= LEADS, "step {step}: more outcomes than leads: {shown}");
        if known + behind < LEADS {
            bail!("step {step}: {} leads skipped silently: {shown}", LEADS - known - behind);
        }
        finding.add(&Finding { mails, sent, in_doubt, listed });
        behind = in_doubt + listed;
    }
    Ok(finding)
}

/// Every step called sent charged once, no charge without its mail, each contact charged once, and the sum is the balance.
async fn check_ledger(
    connection: &mut Connection,
    workspace: &str,
    campaign: &Campaign,
    received: &BTreeMap<String, [u64; 2]>,
    finding: &Finding,
) -> Result<()> {
    let entries = all_entries(connection, workspace).await?;
    let balance = connection.get(&format!("/v1/workspaces/{workspace}/balance")).await?;
    let total: i64 = entries.iter().filter_map(|it| it["amount"].as_i64()).sum();
    ensure!(balance["balance"] == total, "the entries sum to {total}: {balance}");
    let charges = |operation: &str| -> Result<BTreeMap<&String, u64>> {
        let mut charges = BTreeMap::new();
        for entry in entries.iter().filter(|it| it["kind"] == "charge" && it["operation"] == operation) {
            if let Some(external) = campaign.leads.get(&text(entry, "lead")?) {
                *charges.entry(external).or_default() += 1;
            }
        }
        Ok(charges)
    };
    let sends = charges("email_send")?;
    let charged: u64 = sends.values().sum();
    ensure!(charged == finding.sent, "{charged} mails charged, {} called sent", finding.sent);
    for (lead, count) in sends {
        ensure!(
            count <= received[lead].iter().sum(),
            "{lead} was charged {count} mails, got {:?}",
            received[lead]
        );
    }
    let contacts = charges("contact_enrichment")?;
    ensure!(contacts.len() as u64 == LEADS, "{} contacts charged of {LEADS}", contacts.len());
    ensure!(contacts.values().all(|it| *it == 1), "a contact charged twice: {contacts:?}");
    let texts = charges("message_generation")?;
    ensure!(texts.values().all(|it| *it == 1), "a message charged twice: {texts:?}");
    Ok(())
}

async fn all_entries(connection: &mut Connection, workspace: &str) -> Result<Vec<Value>> {
    let mut entries = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/workspaces/{workspace}/entries?limit=500{cursor}");
        let page = connection.get(&path).await?;
        entries.extend(items(&page)?.iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(entries),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn campaign() -> Campaign {
        let leads = (0..LEADS).map(|it| (format!("lead_{it}"), format!("c1-{it}"))).collect();
        Campaign { id: "camp_1".into(), leads }
    }

    fn mails(step: usize, leads: std::ops::Range<u64>) -> impl Iterator<Item = Mail> {
        leads.map(move |it| Mail {
            to: format!("c1-{it}@example.com"),
            subject: format!("{}c1-{it}", STEPS[step]),
            ..Mail::default()
        })
    }

    fn shown(first: [u64; 2], second: [u64; 2]) -> Value {
        let step = |[sent, in_doubt]: [u64; 2]| json!({"waiting": 0, "sent": sent, "in_doubt": in_doubt, "skipped": 0, "failed": 0});
        json!({"steps": [step(first), step(second)]})
    }

    #[test]
    fn what_is_doubled_skipped_or_unlisted_is_found() -> Result<()> {
        let campaign = campaign();
        let all: Vec<Mail> = mails(0, 0..50).chain(mails(1, 0..49)).collect();
        let counts = received(&campaign, &all)?;
        assert_eq!(
            compare(&shown([48, 2], [48, 1]), &counts)?,
            Finding { mails: 99, sent: 96, in_doubt: 3, listed: 0 }
        );
        let says = |shown: Value| compare(&shown, &counts).err().map(|it| it.to_string()).unwrap_or_default();
        assert!(says(shown([49, 0], [49, 0])).contains("mails, only"));
        assert!(says(shown([50, 0], [49, 0])).contains("1 leads skipped silently"));
        assert!(says(shown([50, 0], [50, 0])).contains("called sent"));
        assert!(says(shown([50, 1], [49, 0])).contains("more outcomes"));
        let twice: Vec<Mail> = mails(0, 0..50).chain(mails(0, 3..4)).collect();
        assert!(received(&campaign, &twice).is_err_and(|it| it.to_string().contains("doubled")));
        Ok(())
    }
}
