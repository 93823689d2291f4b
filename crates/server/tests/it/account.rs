//! The pages under Account as a browser meets them.

use reqwest::{Method, StatusCode};
use scrip::app::LinkRole;

use crate::pages::{Site, after};

#[tokio::test]
async fn an_admin_adds_a_webhook_endpoint_sees_its_secret_once_and_its_log() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    let (_, page) = admin.get("/settings").await;
    assert!(page.contains("href=\"/settings/webhooks\""), "{page}");
    let (status, page) = admin.get("/settings/webhooks").await;
    assert_eq!(status, StatusCode::OK);
    let key = after(&page, "name=\"form_key\" value=\"").to_owned();

    let wrong = [
        ("form_key", key.as_str()),
        ("url", "http://10.0.0.1/<b>"),
        ("description", "mine"),
        ("event", "credits.out"),
    ];
    let answer = admin.send(Method::POST, "/settings/webhooks", &wrong).await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let page = answer.text().await.expect("text");
    assert!(
        page.contains("value=\"http://10.0.0.1/&#60;b&#62;\"") && page.contains("value=\"mine\""),
        "{page}"
    );
    assert!(
        page.contains("value=\"credits.out\" checked")
            && page.contains("id=\"wrong-url\">It must be a public"),
        "{page}"
    );

    let right = [
        ("form_key", key.as_str()),
        ("url", "https://example.com/hook"),
        ("event", "credits.out"),
        ("event", "credits.restored"),
    ];
    let answer = admin.send(Method::POST, "/settings/webhooks", &right).await;
    assert_eq!(
        (answer.status(), answer.headers()["cache-control"].to_str().ok()),
        (StatusCode::OK, Some("no-store"))
    );
    let page = answer.text().await.expect("text");
    let secret = after(&page, "<code>whsec_").split('<').next().expect("a secret").to_owned();
    assert!(page.contains("credits.out, credits.restored"), "{page}");
    assert_eq!(
        admin.post("/settings/webhooks", &right).await.1,
        "/settings/webhooks",
        "a double click is one endpoint"
    );
    let (_, page) = admin.get("/settings/webhooks").await;
    assert_eq!(page.matches("href=\"/settings/webhooks/whe_").count(), 1);
    assert!(!page.contains(&secret));
    let one = format!("/settings/webhooks/{}", after(&page, "href=\"/settings/webhooks/"));
    assert!(!admin.get(&one).await.1.contains(&secret), "a secret is shown once");
    let rotated = admin.send(Method::POST, &format!("{one}/rotate"), &[]).await.text().await.expect("text");
    assert!(rotated.contains("whsec_") && !rotated.contains(&secret));
    assert_eq!(admin.post(&format!("{one}/off"), &[]).await, (StatusCode::SEE_OTHER, one.clone()));
    assert!(admin.get(&one).await.1.contains("<span>off</span>"));

    let member = site.sign_in(Some(workspace), LinkRole::Member).await;
    for path in ["/settings/webhooks", &one] {
        assert_eq!(member.get(path).await.0, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(member.post("/settings/webhooks", &right).await.0, StatusCode::FORBIDDEN);
    let other = site.workspace("Workspace 0002").await;
    let foreign = site.sign_in(Some(other), LinkRole::Admin).await;
    assert_eq!(foreign.get(&one).await.0, StatusCode::NOT_FOUND);
    for act in ["on", "off", "rotate", "delete", "retry", "nothing"] {
        assert_eq!(member.post(&format!("{one}/{act}"), &[]).await.0, StatusCode::FORBIDDEN, "{act}");
        assert_eq!(foreign.post(&format!("{one}/{act}"), &[]).await.0, StatusCode::NOT_FOUND, "{act}");
    }
    assert_eq!(admin.post(&format!("{one}/delete"), &[]).await.1, "/settings/webhooks");
    assert_eq!(admin.get(&one).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn an_admin_says_when_warnings_go_out_and_to_whom() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    let (_, page) = admin.get("/settings").await;
    assert!(page.contains("name=\"low\" value=\"20%\"") && page.contains("<dd>2,000</dd>"), "{page}");
    for (low, critical, emails, wrong) in [
        ("101%", "5%", "", "wrong-low"),
        ("-1", "5%", "", "wrong-low"),
        ("half", "5%", "", "wrong-low"),
        ("20%", "1.5", "", "wrong-critical"),
        ("20%", "9000000000000000000", "", "wrong-critical"),
        ("20%", "5%", "\"><script>", "wrong-emails"),
        ("20%", "5%", &"a@example.com,".repeat(21), "wrong-emails"),
    ] {
        let form = [("low", low), ("critical", critical), ("emails", emails)];
        let answer = admin.send(Method::POST, "/settings/alerts", &form).await;
        assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY, "{form:?}");
        let page = answer.text().await.expect("text");
        assert_eq!(page.matches("class=\"wrong\"").count(), 1, "{page}");
        assert!(page.contains(&format!("id=\"{wrong}\"")) && !page.contains("<script>"), "{page}");
        assert!(page.contains(&format!("value=\"{low}\"")), "what was typed is kept: {page}");
    }
    let form = [("low", "1,500"), ("critical", "3 %"), ("emails", "ana@example.com; ben@example.com")];
    let member = site.sign_in(Some(workspace), LinkRole::Member).await;
    assert_eq!(member.post("/settings/alerts", &form).await.0, StatusCode::FORBIDDEN);
    assert!(!member.get("/settings").await.1.contains("name=\"low\""));
    assert_eq!(admin.post("/settings/alerts", &form).await.0, StatusCode::SEE_OTHER);
    let (_, page) = admin.get("/settings").await;
    assert!(page.contains("<dd>1,500</dd>") && page.contains("<dd>300</dd>"), "{page}");
    let is = site.app.store.workspace(workspace).await.expect("a workspace");
    assert_eq!((is.low.as_str(), is.critical.as_str()), ("1500", "3%"));
    assert_eq!(is.emails, ["ana@example.com", "ben@example.com"]);
}

#[tokio::test]
async fn an_admin_says_what_messages_know_of_the_workspace() {
    let site = Site::open().await;
    let workspace = site.workspace("Workspace 0001").await;
    let admin = site.sign_in(Some(workspace), LinkRole::Admin).await;
    let long = "x".repeat(1_001);
    let wrong = [("offer", "</textarea><b>"), ("tone", long.as_str())];
    let answer = admin.send(Method::POST, "/settings/strategy", &wrong).await;
    assert_eq!(answer.status(), StatusCode::UNPROCESSABLE_ENTITY);
    let page = answer.text().await.expect("text");
    assert!(page.contains("&#60;/textarea&#62;&#60;b&#62;") && page.contains(&long), "{page}");
    assert!(page.matches("class=\"wrong\"").count() == 1 && page.contains("id=\"wrong-tone\""), "{page}");
    assert_eq!(site.app.store.strategy(workspace).await.expect("one").offer, "", "nothing is half kept");
    let right = [("offer", " Two\r\nlines "), ("tone", "calm")];
    assert_eq!(admin.post("/settings/strategy", &right).await.0, StatusCode::SEE_OTHER);
    let kept = site.app.store.strategy(workspace).await.expect("one");
    assert_eq!((kept.offer.as_str(), kept.tone.as_str(), kept.proof.as_str()), ("Two\nlines", "calm", ""));
    let (_, page) = admin.get("/settings/strategy").await;
    assert!(page.contains("Two\nlines</textarea>"), "{page}");
    let member = site.sign_in(Some(workspace), LinkRole::Member).await;
    assert_eq!(member.get("/settings/strategy").await.0, StatusCode::FORBIDDEN);
    assert_eq!(member.post("/settings/strategy", &right).await.0, StatusCode::FORBIDDEN);
}
