//! One running server: the routes on a listener, the loops beside it, and their end.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;

use crate::api::extract::MAX_BODY;
use crate::app::App;
use crate::{api, delivery, pages, runner, scheduler};

/// How long requests in flight may take to end once the server stops.
const GRACE: Duration = Duration::from_secs(10);

/// Every route of the server.
pub fn router(app: &App) -> Router {
    let (api, document) = api::router();
    let document: Arc<str> = document.to_json().unwrap_or_default().into();
    let openapi = get(move || async move { ([("content-type", "application/json")], document.to_string()) });
    let router = api.merge(pages::router(app)).route("/openapi.json", openapi).fallback(lost);
    router
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
            let error = api::error::Error::new(
                axum::http::StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "this request broke",
            );
            axum::response::IntoResponse::into_response(error)
        }))
        .layer(middleware::from_fn_with_state(app.clone(), count))
        .with_state(app.clone())
}

async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let served = &app.served;
    served.requests.fetch_add(1, Ordering::Relaxed);
    match response.status().as_u16() {
        400..=499 => drop(served.refused.fetch_add(1, Ordering::Relaxed)),
        500.. => drop(served.failed.fetch_add(1, Ordering::Relaxed)),
        _ => {}
    }
    response
}

/// An address that nothing answers: a problem document for programs, a page for people.
async fn lost(state: State<App>, request: Request) -> Response {
    if request.uri().path().starts_with("/v1/") {
        return axum::response::IntoResponse::into_response(api::lost());
    }
    pages::not_found(state, request).await
}

/// Binds an address.
///
/// # Errors
/// One line for the operator.
pub async fn bind(address: &str) -> Result<(TcpListener, SocketAddr), String> {
    let listener =
        TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address}: {error}"))?;
    let bound = listener.local_addr().map_err(|error| format!("cannot listen on {address}: {error}"))?;
    Ok((listener, bound))
}

/// Serves until `stop` ends, then finishes what is under way. An error when the database failed.
pub async fn serve(
    app: App,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), String> {
    let mut loops = tokio::task::JoinSet::new();
    // Under a manual clock the loops work inside `advance` alone.
    if !app.clock.is_manual() {
        loops.spawn(runner::run(app.clone()));
        loops.spawn(scheduler::run(app.clone()));
        loops.spawn(delivery::run(app.clone()));
    }
    let (failed, store) = (tokio::sync::watch::channel(false), app.store.clone());
    let (tell, died) = failed;
    let stopping = app.clone();
    let end = async move {
        tokio::select! {
            () = stop => {}
            () = store.died() => drop(tell.send(true)),
        }
        stopping.stop();
    };
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| drop(stream.set_nodelay(true)));
    let (ended, at_end) = tokio::sync::oneshot::channel::<()>();
    let graceful = async move {
        end.await;
        let _ = ended.send(());
    };
    let serving = axum::serve(listener, router(&app)).with_graceful_shutdown(graceful);
    let serving = tokio::spawn(async move { serving.await });
    let _ = at_end.await;
    // Streams would hold the server open for ever: they get the grace period and no more.
    let _ = tokio::time::timeout(GRACE, serving).await;
    let _ = tokio::time::timeout(GRACE, async { while loops.join_next().await.is_some() {} }).await;
    if *died.borrow() {
        Err("the database failed: the server stopped so that nothing wrong is acknowledged".to_owned())
    } else {
        Ok(())
    }
}

/// Ends on SIGTERM or Ctrl-C.
pub async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
