//! Auto-buy: what a workspace asks for.

use axum::extract::State;
use axum::http::StatusCode;
use billing::units::MAX_CREDITS;
use serde::{Deserialize, Serialize};

use super::caller::In;
use super::error::Error;
use super::extract::Json;
use super::{Answer, about};
use crate::app::App;
use crate::money;
use crate::store::auto_buy::AutoBuy;

/// As many packs as anybody could want in a period.
const MOST: i64 = 1_000;

/// Credits that are bought by themselves on the saved method.
#[derive(Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AutoTopUp {
    enabled: bool,
    /// Fewer available credits than this buy more: as many packs as close the whole gap, in one payment. 0
    /// until it is set.
    #[schema(minimum = 0)]
    below: i64,
    pack: String,
    /// The most packs in a period, pending ones included. 0 until it is set.
    #[schema(minimum = 0, maximum = 1000)]
    max_per_period: i64,
}

fn view(asked: AutoBuy) -> AutoTopUp {
    let AutoBuy { enabled, below, pack, most } = asked;
    AutoTopUp { enabled, below, pack, max_per_period: most }
}

/// Whether and when credits are bought by themselves; off until somebody asks for it.
#[utoipa::path(get, path = "/v1/workspaces/{ws}/auto_topup", params(("ws" = String, Path)), responses((status = 200, body = AutoTopUp)))]
pub async fn get(State(app): State<App>, here: In) -> Answer {
    let asked = app.store.auto_buy(here.workspace).await?;
    let nothing = || AutoBuy { enabled: false, below: 0, pack: String::new(), most: 0 };
    about(&app, here.workspace, StatusCode::OK, &view(asked.unwrap_or_else(nothing))).await
}

/// Turn auto-buy on or off. With fewer credits than the threshold it buys at once.
#[utoipa::path(put, path = "/v1/workspaces/{ws}/auto_topup", params(("ws" = String, Path)), request_body = AutoTopUp, responses((status = 200, body = AutoTopUp)))]
pub async fn put(State(app): State<App>, here: In, Json(body): Json<AutoTopUp>) -> Answer {
    if !(1..=MAX_CREDITS).contains(&body.below) {
        return Err(Error::field("below", "must be a whole number from 1 to 1000000000000000"));
    }
    if !(1..=MOST).contains(&body.max_per_period) {
        return Err(Error::field("max_per_period", "must be a whole number from 1 to 1000"));
    }
    if app.catalog().pack(&body.pack).is_none() {
        return Err(Error::field("pack", "the catalog has no such pack").code("unknown_pack"));
    }
    if body.enabled {
        money::provider(&app)?;
    }
    let AutoTopUp { enabled, below, pack, max_per_period: most } = body;
    let asked = AutoBuy { enabled, below, pack, most };
    app.store.set_auto_buy(here.workspace, asked.clone(), here.caller.actor()).await?;
    app.nudge();
    about(&app, here.workspace, StatusCode::OK, &view(asked)).await
}
