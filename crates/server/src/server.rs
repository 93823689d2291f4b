//! One running server: the routes on a listener, the loops beside it, and their end.

use std::convert::Infallible;
use std::future::Future;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tower_service::Service;

use crate::api::extract::MAX_BODY;
use crate::app::App;
use crate::network::Peer;
use crate::{api, delivery, mailboxes, pages, reconcile, runner, scheduler, webhooks};

/// How long a connection may say nothing, or take to say the head of a request: longer than clients keep one for later.
const SILENCE: Duration = Duration::from_secs(120);
/// How long requests in flight may take to end once the server stops.
const GRACE: Duration = Duration::from_secs(10);

/// Every route of the server.
fn router(app: &App) -> Router {
    let (api, document) = api::router();
    let document: Arc<str> = document.to_json().unwrap_or_default().into();
    let openapi = get(move || async move { ([("content-type", "application/json")], document.to_string()) });
    let openapi = openapi.fallback(api::wrong_method);
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
    let authorization = about.and_then(|_| request.headers().get(AUTHORIZATION).cloned());
    let answering = AssertUnwindSafe(handle(&app, router, peer, request)).catch_unwind();
    let answer = answering.await.unwrap_or_else(|_| Ok(api::error::Error::broke().into_response()));
    let response = api::around::available(&app, about, authorization, answer?).await;
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

/// Where connections come in: an address, and for programs on the same machine a socket in the file system, if one is named.
pub struct Doors {
    address: TcpListener,
    socket: Option<(UnixListener, PathBuf)>,
}

/// Binds an address.
///
/// # Errors
/// One line for the operator.
pub async fn bind(address: &str) -> Result<(Doors, SocketAddr), String> {
    let cannot = |error| format!("cannot listen on {address}: {error}");
    let listener = TcpListener::bind(address).await.map_err(cannot)?;
    let bound = listener.local_addr().map_err(cannot)?;
    Ok((Doors { address: listener, socket: None }, bound))
}

impl Doors {
    /// Binds a socket besides, in the place of one that a server has left behind.
    ///
    /// # Errors
    /// One line for the operator.
    pub async fn add_socket(&mut self, path: &Path) -> Result<(), String> {
        let is_socket = path.symlink_metadata().is_ok_and(|known| known.file_type().is_socket());
        let left = |error: std::io::Error| error.kind() == ErrorKind::ConnectionRefused;
        if is_socket && UnixStream::connect(path).await.is_err_and(left) {
            let _ = std::fs::remove_file(path);
        }
        let listener = UnixListener::bind(path)
            .map_err(|error| format!("cannot listen on {}: {error}", path.display()))?;
        self.socket = Some((listener, path.to_owned()));
        Ok(())
    }
}

async fn knock(socket: &mut Option<(UnixListener, PathBuf)>) -> UnixStream {
    match socket {
        Some((listener, _)) => Listener::accept(listener).await.0,
        None => std::future::pending().await,
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        if let Some((_, path)) = &self.socket {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// What answers each connection.
struct Answering {
    app: App,
    router: Router,
    http: http1::Builder,
    connections: GracefulShutdown,
}

impl Answering {
    fn take<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, stream: S, from: IpAddr) {
        let (app, router) = (self.app.clone(), self.router.clone());
        let service = service_fn(move |request| answer(app.clone(), router.clone(), Peer(from), request));
        let connection = self.http.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(self.connections.watch(connection));
    }
}

/// Answers connections until `stop` ends, then lets each finish what it has begun.
async fn answer_all(app: App, mut doors: Doors, stop: impl Future<Output = ()>) {
    let (router, connections) = (router(&app), GracefulShutdown::new());
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(SILENCE);
    let answering = Answering { app, router, http, connections };
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            (stream, from) = Listener::accept(&mut doors.address) => {
                // An answer is written at once and whole: waiting for more only delays it.
                let _ = stream.set_nodelay(true);
                answering.take(stream, from.ip());
            }
            stream = knock(&mut doors.socket) => answering.take(stream, Ipv4Addr::LOCALHOST.into()),
            () = &mut stop => break,
        }
    }
    drop(doors);
    answering.connections.shutdown().await;
}

/// Serves until `stop` ends, then finishes what is under way. An error when the database failed, or payments would go to another
/// account than before.
pub async fn serve(
    app: App,
    doors: Doors,
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
    let serving = tokio::spawn(answer_all(app, doors, graceful));
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
