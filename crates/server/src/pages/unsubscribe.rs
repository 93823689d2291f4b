//! Where a mail's recipient takes the address off everything that a workspace sends.
//!
//! Nobody signs in here: the link is signed. Looking changes nothing, because scanners of mail follow links; a POST does it at
//! once, whatever its body, as RFC 8058 asks of one-click links.

use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::frame::{Page, Trouble, html};
use super::view::{Asked, Unsubscribe};
use crate::app::App;
use crate::outreach::block_entry;

/// Asks.
pub async fn page(State(app): State<App>, Path(token): Path<String>) -> Page {
    let (_, address) = app.open_unsubscribe(&token).ok_or_else(Trouble::not_found)?;
    html(StatusCode::OK, &Unsubscribe { address, asked: Asked::NotYet })
}

/// Does it; again changes nothing.
pub async fn end(State(app): State<App>, Path(token): Path<String>) -> Page {
    let (workspace, address) = app.open_unsubscribe(&token).ok_or_else(Trouble::not_found)?;
    let entry = block_entry(&address).map_err(|_| Trouble::not_found())?;
    app.store.block(workspace, vec![entry]).await?;
    html(StatusCode::OK, &Unsubscribe { address, asked: Asked::Done })
}
