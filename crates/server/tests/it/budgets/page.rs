//! Limits on the Billing page.

use std::sync::Arc;

use billing::{Command, Labels};
use reqwest::{Method, StatusCode};
use scrip::app::LinkRole;
use scrip::id;
use scrip::store::committer::Post;
use scrip::store::jobs::NewJob;

use crate::pages::Site;
use crate::sample;

#[tokio::test]
async fn admins_set_and_remove_limits_and_members_see_them() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    let member = site.sign_in(Some(workspace), LinkRole::Member).await;
    // A host product's own label is known once something was charged under it.
    let mut charge = sample::hold("work", 1, 1, 900);
    charge.labels = Arc::new(Labels { campaign: Some("<b>spring</b>".into()), ..Labels::default() });
    site.app.store.post(Post::new(workspace, Command::Charge(charge), "test")).await.expect("covered");
    let good = [("scope", "campaign"), ("label", " <b>spring</b> "), ("per", "day"), ("credits", "1500")];
    let limits = || site.app.store.budgets(workspace);
    assert_eq!(member.post("/billing/limits/set", &good).await.0, StatusCode::FORBIDDEN);
    assert!(limits().await.expect("limits").is_empty());
    for credits in ["1500", "2500"] {
        let form = [good[0], good[1], good[2], ("credits", credits)];
        let (status, to) = admin.post("/billing/limits/set", &form).await;
        assert_eq!((status, &*to), (StatusCode::SEE_OTHER, "/billing#limits"));
    }
    let known = limits().await.expect("limits");
    assert_eq!(
        (known.len(), known[0].budget.credits, known[0].budget.label.as_deref()),
        (1, 2_500, Some("<b>spring</b>"))
    );
    for (browser, may_change) in [(&admin, true), (&member, false)] {
        let (_, page) = browser.get("/billing").await;
        assert!(page.contains("spring") && page.contains("2,500") && !page.contains("<b>spring"), "{page}");
        assert_eq!(page.contains("/billing/limits/"), may_change);
    }
    for (field, value) in [
        ("scope", "team"),
        ("per", "hour"),
        ("credits", "-1"),
        ("credits", "1.5"),
        ("credits", ""),
        ("credits", "1000000000000001"),
        ("label", "a\u{7}b"),
        ("label", &"x".repeat(201)),
        ("scope", "workspace"),
    ] {
        let form = good.map(|(name, old)| (name, if name == field { value } else { old }));
        let answer = admin.send(Method::POST, "/billing/limits/set", &form).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{field} {value}");
        let page = answer.text().await.expect("text");
        assert!(page.contains("wrong-limit"), "{field} {value}");
        assert!(
            field == "credits" || page.contains("value=\"1500\""),
            "what was typed stays: {field} {value}"
        );
    }
    assert_eq!(limits().await.expect("limits")[0].budget.credits, 2_500);
    assert_eq!(admin.post("/billing/limits/other", &good).await.0, StatusCode::NOT_FOUND);
    let (status, _) = admin.post("/billing/limits/remove", &good[..3]).await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    assert!(limits().await.expect("limits").is_empty());
    let lines = site.app.store.logbook(Some(workspace), None, 10).await.expect("a logbook");
    assert_eq!(lines.iter().filter(|line| line.what == "budgets").count(), 3);
    site.audit();
}

#[tokio::test]
async fn a_campaign_is_named_as_people_know_it() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    let make = async |name: &str| {
        let new = NewJob { name: name.to_owned(), ..sample::one_mail() };
        let number = site.app.store.create_job(workspace, new).await.expect("a campaign").id;
        id::inside("camp", workspace, number)
    };
    let (autumn, _, _) = (make("Autumn").await, make("Twice").await, make("Twice").await);
    let send = async |label: &str| {
        let form = [("scope", "campaign"), ("label", label), ("per", "total"), ("credits", "50")];
        let answer = admin.send(Method::POST, "/billing/limits/set", &form).await;
        (answer.status(), answer.text().await.expect("text"))
    };
    for typed in ["Autumn", &autumn, " Autumn "] {
        assert_eq!(send(typed).await.0, StatusCode::SEE_OTHER, "{typed}");
        let limits = site.app.store.budgets(workspace).await.expect("limits");
        assert_eq!((limits.len(), limits[0].budget.label.as_deref()), (1, Some(&*autumn)), "{typed}");
    }
    let (_, page) = admin.get("/billing").await;
    assert!(page.contains("<span>Autumn</span>"), "{page}");
    for typed in ["autum", "Twice", &id::inside("camp", workspace + 1, 1), &id::inside("camp", workspace, 1)]
    {
        let (status, page) = send(typed).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{typed}");
        assert!(page.contains("wrong-limit") && page.contains(typed), "{typed}: {page}");
    }
    assert_eq!(site.app.store.budgets(workspace).await.expect("limits").len(), 1);
    site.audit();
}
