//! One running server: the routes on a listener, the loops beside it, and their end.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tower_service::Service;

use crate::api::extract::MAX_BODY;
use crate::app::App;
use crate::network::Peer;
use crate::{api, delivery, mailboxes, pages, reconcile, runner, scheduler, webhooks};

/// How long requests in flight may take to end once the server stops.
const GRACE: Duration = Duration::from_secs(10);

/// Every route of the server.
fn router(app: &App) -> Router {
    let (api, document) = api::router();
    let document: Arc<str> = document.to_json().unwrap_or_default().into();
    let openapi = get(move || async move { ([("content-type", "application/json")], document.to_string()) });
    let router = api.merge(pages::router(app)).route("/openapi.json", openapi);
    router.fallback(nothing_here).with_state(app.clone())
}

/// What every request passes: a panic is an answer, the credits left are told, and all of it is counted.
async fn answer(
    app: App,
    router: Router,
    peer: Peer,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let about = api::around::workspace(request.uri().path());
    let answering = AssertUnwindSafe(handle(&app, router, peer, request)).catch_unwind();
    let answer = answering.await.unwrap_or_else(|_| Ok(api::error::Error::broke().into_response()));
    let response = api::around::available(&app, about, answer?).await;
    count(&app, response.status());
    Ok(response)
}

async fn handle(
    app: &App,
    mut router: Router,
    peer: Peer,
    mut request: Request<Incoming>,
) -> Result<Response, Infallible> {
    if let Some((shortcut, id)) = api::shortcut::find(&request) {
        return Ok(api::shortcut::take(app, shortcut, id, request).await.into_response());
    }
    request.extensions_mut().insert(peer);
    DefaultBodyLimit::max(MAX_BODY).apply(&mut request);
    router.call(request).await
}

/// Programs are told in their words, people in theirs.
async fn nothing_here(app: State<App>, request: axum::extract::Request) -> Response {
    let path = request.uri().path();
    if path == "/v1" || path.starts_with("/v1/") {
        return api::error::Error::not_found().into_response();
    }
    pages::not_found(app, request).await
}

fn count(app: &App, status: StatusCode) {
    let served = &app.served;
    served.requests.fetch_add(1, Ordering::Relaxed);
    match status.as_u16() {
        400..=499 => drop(served.refused.fetch_add(1, Ordering::Relaxed)),
        500.. => drop(served.failed.fetch_add(1, Ordering::Relaxed)),
        _ => {}
    }
}

/// Answers connections until `stop` ends, then lets each finish what it has begun.
async fn answer_all(app: App, mut listener: TcpListener, stop: impl Future<Output = ()>) {
    let (router, connections) = (router(&app), GracefulShutdown::new());
    let http = http1::Builder::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let (stream, address) = tokio::select! {
            connection = Listener::accept(&mut listener) => connection,
            () = &mut stop => break,
        };
        // An answer is written at once and whole: waiting for more only delays it.
        let _ = stream.set_nodelay(true);
        let (app, router, peer) = (app.clone(), router.clone(), Peer(address.ip()));
        let service = service_fn(move |request| answer(app.clone(), router.clone(), peer, request));
        tokio::spawn(connections.watch(http.serve_connection(TokioIo::new(stream), service)));
    }
    drop(listener);
    connections.shutdown().await;
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

/// Serves until `stop` ends, then finishes what is under way. An error when the database failed, or payments would go to another
/// account than before.
pub async fn serve(
    app: App,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), String> {
    reconcile::know_account(&app).await?;
    let mut loops = tokio::task::JoinSet::new();
    // Under a manual clock the loops work inside `advance` alone.
    if !app.clock.is_manual() {
        loops.spawn(runner::run(app.clone()));
        loops.spawn(scheduler::run(app.clone()));
        loops.spawn(delivery::run(app.clone()));
        loops.spawn(webhooks::run(app.clone()));
        loops.spawn(mailboxes::run(app.clone()));
        loops.spawn(reconcile::run(app.clone()));
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
    let (ended, at_end) = tokio::sync::oneshot::channel::<()>();
    let graceful = async move {
        end.await;
        let _ = ended.send(());
    };
    let serving = tokio::spawn(answer_all(app, listener, graceful));
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
