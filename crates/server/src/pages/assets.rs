//! Style, scripts and the icon, from the program itself.

use std::collections::HashMap;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::app::hex;

struct Asset {
    kind: &'static str,
    bytes: &'static [u8],
    etag: String,
}

static ASSETS: LazyLock<HashMap<&'static str, Asset>> = LazyLock::new(|| {
    let (css, script, svg) = ("text/css; charset=utf-8", "text/javascript; charset=utf-8", "image/svg+xml");
    let files: [(&str, &str, &[u8]); 5] = [
        ("style.css", css, include_bytes!("../../assets/style.css")),
        ("htmx.min.js", script, include_bytes!("../../assets/htmx.min.js")),
        ("hx-sse.min.js", script, include_bytes!("../../assets/hx-sse.min.js")),
        ("app.js", script, include_bytes!("../../assets/app.js")),
        ("icon.svg", svg, include_bytes!("../../assets/icon.svg")),
    ];
    let asset = |(name, kind, bytes): (&'static str, &'static str, &'static [u8])| {
        let etag = format!("\"{}\"", hex(&Sha256::digest(bytes)[..12]));
        (name, Asset { kind, bytes, etag })
    };
    files.into_iter().map(asset).collect()
});

/// One of them. Their names carry no version, so browsers ask each time; the answer is mostly that nothing changed.
pub async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    let Some(asset) = ASSETS.get(name.as_str()) else { return StatusCode::NOT_FOUND.into_response() };
    let known = headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok()).unwrap_or_default();
    let same = known.split(',').any(|tag| tag.trim().trim_start_matches("W/") == asset.etag);
    let fixed = [
        (header::ETAG, asset.etag.as_str()),
        (header::CACHE_CONTROL, "public, no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_TYPE, asset.kind),
    ];
    if same {
        return (StatusCode::NOT_MODIFIED, fixed).into_response();
    }
    (fixed, asset.bytes).into_response()
}
