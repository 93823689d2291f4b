//! Every number on the Billing page leads to the lines that make it, and equals them.

use std::sync::Arc;

use billing::budget::{Budget, Per, Scope};
use billing::ledger::{Command, HoldTerms};
use billing::units::DAY;
use billing::{Labels, Seq, Time};
use reqwest::StatusCode;
use scrip::app::LinkRole;
use scrip::id;
use scrip::store::committer::Post;
use scrip::store::work::{Ending, Held};

use crate::chance::Chance;
use crate::pages::{Browser, Site, after};
use crate::sample;

const DAYS: i64 = 40;

async fn post(site: &Site, workspace: i64, command: Command) -> Option<Seq> {
    site.app.store.post(Post::new(workspace, command, "test")).await.expect("a post").hold.map(|hold| hold.id)
}

/// Charges of all sorts over some weeks, some of them given back, and one hold that stays.
async fn live(site: &Site, workspace: i64) {
    let mut chance = Chance::new(11);
    let begun = site.app.clock.now();
    for day in 0..DAYS {
        for _ in 0..chance.within(0, 6) {
            site.app.clock.set(Time(begun.0 + day * DAY + chance.within(0, DAY - 1)));
            let pick = |chance: &mut Chance, of: &[&str]| {
                let it = of[chance.within(0, of.len() as i64 - 1) as usize];
                (!it.is_empty()).then(|| Arc::from(it))
            };
            let operation =
                pick(&mut chance, &["email_send", "linkedin_send", "clue_result", "message_generation"]);
            let labels = Labels {
                campaign: pick(&mut chance, &["", "Spring", "a&b=\"c\""]),
                member: pick(&mut chance, &["", "one@example.com"]),
                channel: pick(&mut chance, &["", "email"]),
                reference: pick(&mut chance, &["", "=1+1"]),
                lead: pick(&mut chance, &["", "Lead 0001"]),
            };
            let price = site.app.unit(&operation.expect("an operation"), chance.within(1, 3));
            let terms = HoldTerms { price, labels: Arc::new(labels), seconds: 900, epoch: 0 };
            let hold = post(site, workspace, Command::Charge(terms)).await.expect("a charge");
            if chance.once_in(4) {
                post(site, workspace, Command::Refund { hold, quantity: Some(1) }).await;
            }
        }
    }
    site.app.clock.set(Time(begun.0 + DAYS * DAY));
    let terms =
        HoldTerms { price: site.app.unit("email_send", 3), labels: Arc::default(), seconds: 900, epoch: 0 };
    post(site, workspace, Command::Hold(terms)).await;
}

/// The links in a part of a page, each with its number.
fn figures<'a>(part: &'a str, to: &str) -> Vec<(String, i64)> {
    let number = |text: &'a str| {
        let text = &text[text.find('>').expect("an end") + 1..];
        let digits = text.split('<').next().expect("a text").replace(',', "");
        let digits: String = digits.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or_else(|_| panic!("no number in {text}"))
    };
    let links = part.split("<a href=\"").skip(1).filter(|link| link.contains(to));
    let link = |link: &'a str| (link.split('"').next().expect("a link").replace("&#38;", "&"), number(link));
    links.map(link).collect()
}

/// The sum of all lines behind a link to the history, as its file has them.
async fn lines(browser: &Browser<'_>, link: &str) -> (i64, String) {
    let query = link.split(['?', '#']).nth(1).expect("a query");
    let (status, csv) = browser.get(&format!("/billing/history.csv?{query}")).await;
    assert_eq!(status, StatusCode::OK, "{link}");
    let sum = |line: csv::StringRecord| line[4].parse::<i64>().expect("a change");
    let sum =
        csv::Reader::from_reader(csv.as_bytes()).into_records().map(|line| sum(line.expect("a line"))).sum();
    (sum, csv)
}

#[tokio::test]
async fn every_number_on_billing_is_the_sum_of_the_lines_behind_it() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    live(&site, workspace).await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    let mut compared = 0;
    for range in ["7d", "30d", "period"] {
        for group in ["operation", "campaign", "member", "channel"] {
            let (status, page) = admin.get(&format!("/billing?range={range}&group={group}")).await;
            assert_eq!(status, StatusCode::OK);
            let usage = page
                .split("id=\"usage\"")
                .nth(1)
                .expect("usage")
                .split("id=\"history\"")
                .next()
                .expect("usage");
            for (link, figure) in figures(usage, "#history") {
                let (sum, csv) = lines(&admin, &link).await;
                let used = if link.contains("show=used") { -sum } else { sum };
                assert_eq!(used, figure, "{range} {group} {link}\n{csv}");
                let (status, page) = admin.get(link.split('#').next().expect("a path")).await;
                assert_eq!(status, StatusCode::OK, "{link}");
                if figure > 0 && link.contains("show=used") {
                    let credits =
                        page.split("All lines that fit: ").nth(1).expect("a sum").split(" credit").next();
                    let credits =
                        credits.expect("credits").rsplit(' ').next().expect("a number").replace(',', "");
                    assert_eq!(credits.parse::<i64>().expect("a number"), figure, "{link}");
                }
                compared += 1;
            }
        }
    }
    assert!(compared > 60, "{compared}");
    site.audit();
}

#[tokio::test]
async fn filters_are_kept_and_what_is_wrong_in_them_is_said() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    live(&site, workspace).await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    let query = "show=used&operation=email_send&campaign=a%26b%3D%22c%22&from=2026-11-25&to=2026-12-20";
    let (status, page) = admin.get(&format!("/billing?{query}")).await;
    assert_eq!(status, StatusCode::OK);
    let form = page
        .split("action=\"/billing#history\"")
        .nth(1)
        .expect("a form")
        .split("</form>")
        .next()
        .expect("it");
    for kept in [
        "value=\"2026-11-25\"",
        "value=\"2026-12-20\"",
        "value=\"email_send\" selected",
        "a&#38;b=&#34;c&#34;",
    ] {
        assert!(form.contains(kept), "{kept} in {form}");
    }
    let (_, csv) = lines(&admin, &format!("?{query}#")).await;
    assert!(csv.lines().count() > 1 && csv.lines().skip(1).all(|line| line.contains("E-mail send")), "{csv}");
    for (field, typed) in [("from", "2026-13-01"), ("to", "<b>"), ("from", "99999999999999999999")] {
        let (status, page) = admin.get(&format!("/billing?{field}={typed}")).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{typed}");
        assert!(page.contains("A day looks like") && page.contains("aria-invalid=\"true\""), "{page}");
        let (status, page) = admin.get(&format!("/billing/history.csv?{field}={typed}")).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{page}");
    }
    let many = vec!["x"; 4_000].join(",");
    for odd in
        [format!("operation={many}"), "before=-1".to_owned(), "before=x".to_owned(), "without=all".to_owned()]
    {
        assert_eq!(admin.get(&format!("/billing?{odd}")).await.0, StatusCode::OK, "{odd}");
    }
}

#[tokio::test]
async fn a_line_has_a_receipt_that_only_its_workspace_sees() {
    let site = Site::open().await;
    let (workspace, foreign) =
        (site.workspace("Workspace 0001").await, site.workspace("Workspace 0002").await);
    live(&site, workspace).await;
    let admin = site.sign_in(Some(workspace), LinkRole::Member).await;
    let other = site.sign_in(Some(foreign), LinkRole::Admin).await;
    let (_, csv) = admin.get("/billing/history.csv").await;
    let mut kinds = std::collections::BTreeSet::new();
    for line in csv::Reader::from_reader(csv.as_bytes()).into_records() {
        let line = line.expect("a line");
        let (status, page) = admin.get(&format!("/billing/history/{}", &line[0])).await;
        assert_eq!(status, StatusCode::OK, "{line:?}");
        let change: i64 = line[4].parse().expect("a change");
        let moved: i64 = figures_of_table(&page).iter().sum();
        assert_eq!(moved, change.abs(), "the credits of the grants are those of the line: {line:?}\n{page}");
        if line[2].contains("send") && change < 0 {
            assert!(page.contains("price list 1") && page.contains("Plan credits of "), "{page}");
        }
        kinds.insert(line[2].to_owned());
        let expected = if line[0].parse::<i64>().expect("a number") > 1 {
            StatusCode::NOT_FOUND
        } else {
            StatusCode::OK
        };
        assert_eq!(other.get(&format!("/billing/history/{}", &line[0])).await.0, expected, "{line:?}");
    }
    assert!(kinds.len() > 6, "{kinds:?}");
    for number in ["0", "-1", "x", "9999999", "99999999999999999999"] {
        assert_eq!(
            admin.get(&format!("/billing/history/{number}")).await.0,
            StatusCode::NOT_FOUND,
            "{number}"
        );
    }
}

/// The last column of the first table.
fn figures_of_table(page: &str) -> Vec<i64> {
    let body =
        page.split("<tbody>").nth(1).and_then(|rest| rest.split("</tbody>").next()).unwrap_or_default();
    let last = |row: &str| after_last(row).replace(',', "").parse::<i64>().expect("a number");
    body.split("<tr>").skip(1).map(last).collect()
}

fn after_last(row: &str) -> &str {
    row.rsplit("<td class=\"number\">").next().and_then(|cell| cell.split('<').next()).expect("a cell")
}

#[tokio::test]
async fn what_is_reserved_and_available_is_listed_and_adds_up() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    live(&site, workspace).await;
    let admin = site.sign_in(Some(workspace), LinkRole::Member).await;
    let (_, page) = admin.get("/billing/credits").await;
    let (grants, reserved) = page.split_once("id=\"reserved\"").expect("two tables");
    assert_eq!(figures_of_table(grants).iter().sum::<i64>(), site.available(workspace).await);
    assert_eq!(figures_of_table(reserved), [6]);
    assert!(reserved.contains("E-mail send"), "{reserved}");
    let link = after(reserved, "<a href=\"");
    let (status, page) = admin.get(link).await;
    assert!(status == StatusCode::OK && page.contains("reserved until"), "{page}");
    let name = id::workspace(workspace);
    assert!(!page.contains(&name), "a page of its own needs no number of the workspace");
}

#[tokio::test]
async fn what_is_in_doubt_in_a_campaign_is_listed_and_leads_the_operator_to_its_decision() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let store = &site.app.store;
    let job = sample::launched(store, workspace, &["ada", "bob"]).await;
    let claim = store.claim(10).await.expect("claims").remove(0);
    let Held::Yes(hold) = store.hold_piece(&claim, sample::piece(&claim)).await.expect("an answer") else {
        panic!("there are credits");
    };
    assert!(store.dispatch_piece(&claim, hold.id).await.expect("an answer"));
    let doubt = Ending::Doubt("who knows".into());
    assert!(store.finish_piece(&claim, Some(hold.id), doubt).await.expect("an answer"));
    let name = claim.lead.as_ref().expect("a lead").name.clone();

    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    let path = format!("/campaigns/{}", id::inside("camp", workspace, job));
    let (_, all) = admin.get(&path).await;
    assert!(all.contains(&format!("{path}?state=in_doubt#leads\">1</a>")), "{all}");
    assert!(!all.contains("Decide what is unconfirmed"), "only the operator decides");
    let (status, page) = admin.get(&format!("{path}?state=in_doubt")).await;
    let leads = page.split("id=\"leads\"").nth(1).expect("leads");
    assert!(status == StatusCode::OK && leads.contains(&name), "{leads}");
    assert_eq!(leads.matches("<th scope=\"row\">").count(), 1, "{leads}");
    let (status, receipt) = admin.get(&format!("/billing/history/{}", hold.id.0)).await;
    assert!(status == StatusCode::OK && receipt.contains("unconfirmed: may have been sent"), "{receipt}");
    assert!(leads.contains(&format!("<a href=\"/billing/history/{}\">", hold.id.0)), "{leads}");

    let operator = site.sign_in(Some(workspace), LinkRole::Operator).await;
    let (_, page) = operator.get(&path).await;
    let decide = after(page.split("never sent to twice.").nth(1).expect("words"), "<a href=\"");
    let (status, console) = operator.get(decide.split('#').next().expect("a path")).await;
    let named = id::inside("hold", workspace, hold.id.0);
    assert!(status == StatusCode::OK && console.contains(&named), "{console}");
}

#[tokio::test]
async fn what_a_limit_is_used_by_leads_to_its_lines() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    live(&site, workspace).await;
    let of = |scope, label: Option<&str>, per| {
        let label = label.map(Arc::from);
        Budget { scope, label, per, credits: 100_000 }
    };
    let limits = [
        of(Scope::Workspace, None, Per::Total),
        of(Scope::Workspace, None, Per::Period),
        of(Scope::Workspace, None, Per::Day),
        of(Scope::Campaign, None, Per::Total),
        of(Scope::Campaign, Some("a&b=\"c\""), Per::Period),
        of(Scope::Member, None, Per::Total),
    ];
    let all = limits.to_vec();
    let change = move |_| Ok(all.clone());
    site.app.store.change_budgets(workspace, "test".to_owned(), change).await.expect("set");
    let price = site.app.unit("email_send", 2);
    for day in 0..2 {
        site.app.clock.set(Time(site.app.clock.now().0 + day * DAY));
        let terms = HoldTerms { price: price.clone(), labels: Arc::default(), seconds: 900, epoch: 0 };
        let hold = post(&site, workspace, Command::Charge(terms)).await.expect("a charge");
        post(&site, workspace, Command::Refund { hold, quantity: Some(1) }).await;
    }
    for campaign in [None, Some("a&b=\"c\""), Some("Spring")] {
        let labels = Labels { campaign: campaign.map(Arc::from), ..Labels::default() };
        let price = price.clone();
        let terms = HoldTerms { price, labels: Arc::new(labels), seconds: 900, epoch: 0 };
        post(&site, workspace, Command::Hold(terms)).await;
    }
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    let (_, page) = admin.get("/billing").await;
    let table =
        page.split("id=\"limits\"").nth(1).and_then(|part| part.split("</table>").next()).expect("limits");
    let rows: Vec<&str> = table.split("<tr>").skip(2).collect();
    assert_eq!(rows.len(), limits.len());
    for row in rows {
        let used = row.split("class=\"number\">").nth(1).expect("a number");
        let used: String = used.chars().filter(|c| *c != ',').take_while(char::is_ascii_digit).collect();
        let mut parts = 0;
        for (link, figure) in figures(row, "#") {
            let (sum, way) = match &link {
                link if link.contains("show=used") => (lines(&admin, link).await.0, -1),
                link if link.contains("show=refunded") => (lines(&admin, link).await.0, 1),
                link => {
                    let (_, page) = admin.get(link.split('#').next().expect("a path")).await;
                    (figures_of_table(page.split_once("id=\"reserved\"").expect("it").1).into_iter().sum(), 1)
                }
            };
            assert_eq!(sum * way, figure, "{link}");
            parts += if link.contains("show=refunded") { -figure } else { figure };
        }
        assert_eq!(used.parse::<i64>().expect("a number"), parts, "{row}");
        assert!(parts > 0, "{row}");
    }
    site.audit();
}
