//! Limits on the Billing page.

use reqwest::{Method, StatusCode};
use scrip::app::LinkRole;

use crate::pages::Site;

#[tokio::test]
async fn admins_set_and_remove_limits_and_members_see_them() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    let member = site.sign_in(Some(workspace), LinkRole::Member).await;
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
