//! `/v1/workspaces/{ws}/strategy`: what a workspace says of itself in the messages that are written for it.

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::caller::In;
use super::extract::{self, Json};
use super::{Answer, about};
use crate::app::App;
use crate::store::strategy::Strategy;

/// Each at most 1,000 characters; nothing is said of what is empty or absent.
#[derive(Default, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = Strategy)]
pub struct View {
    /// Who writes.
    #[schema(max_length = 1000)]
    sender: String,
    /// What is offered.
    #[schema(max_length = 1000)]
    offer: String,
    /// What shows that it is worth something.
    #[schema(max_length = 1000)]
    proof: String,
    /// How it sounds.
    #[schema(max_length = 1000)]
    tone: String,
    /// What the recipient is asked to do.
    #[schema(max_length = 1000)]
    call_to_action: String,
}

fn view(strategy: Strategy) -> View {
    let Strategy { sender, offer, proof, tone, call_to_action } = strategy;
    View { sender, offer, proof, tone, call_to_action }
}

/// What messages are told about the workspace.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/strategy", params(("ws" = String, Path)), responses((status = 200, body = View)))]
pub async fn get(State(app): State<App>, here: In) -> Answer {
    let strategy = app.store.strategy(here.workspace).await?;
    about(&app, here.workspace, StatusCode::OK, &view(strategy)).await
}

/// Change what messages are told about the workspace.
#[utoipa::path(put, path = "/v1/workspaces/{ws}/strategy", params(("ws" = String, Path)), request_body = View, responses((status = 200, body = View)))]
pub async fn set(State(app): State<App>, here: In, Json(body): Json<View>) -> Answer {
    let View { sender, offer, proof, tone, call_to_action } = body;
    let strategy = Strategy { sender, offer, proof, tone, call_to_action };
    for (name, text) in strategy.texts() {
        extract::optional_text(name, Some(text), Strategy::MAX)?;
    }
    app.store.set_strategy(here.workspace, strategy.clone(), here.caller.actor()).await?;
    about(&app, here.workspace, StatusCode::OK, &view(strategy)).await
}
