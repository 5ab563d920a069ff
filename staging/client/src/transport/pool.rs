//! Connections shared between requests.
//!
//! ```text
//!            +-- h2: [connection: 37 streams] [connection: 2 streams]   many requests each, up to the server's limit
//!   Pool ----+
//!            +-- h1: [idle] [idle]                                      one request each, back when its body has been read
//! ```
//! A request takes a [`Lease`]; dropping it (the response's body holds it) frees the stream or gives the connection back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;

use super::RequestBody;
use super::connect::Connector;
use crate::error::Error;

/// Streams put on one HTTP/2 connection unless the server's limit is lower. Upstream's server allows 100; leaving a few
/// free lets a request start while closed streams are still being counted on the other side.
const MAX_STREAMS: usize = 90;
/// Idle HTTP/1.1 connections kept, as upstream's `idleConnsPerHost`.
const MAX_IDLE_H1: usize = 25;
/// A silent HTTP/2 connection is pinged after this long (upstream's `ReadIdleTimeout`) ...
const PING_AFTER: Duration = Duration::from_secs(30);
/// ... and given up when the ping goes unanswered for this long (upstream's `PingTimeout`).
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// Flow-control windows: a watch that nobody reads must not starve its neighbours, so the connection's is never the limit.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 1 << 30;

pub(crate) struct Pool {
    pub(crate) connector: Connector,
    state: Arc<Mutex<State>>,
    /// Held while a connection is opened, so that a crowd of first requests shares one HTTP/2 connection.
    dialing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    generation: u64,
    h2: Vec<H2>,
    h1: Vec<http1::SendRequest<RequestBody>>,
    /// The server is known not to speak HTTP/2: dialing side by side is then right.
    only_h1: bool,
}

#[derive(Clone)]
struct H2 {
    sender: http2::SendRequest<RequestBody>,
    streams: Arc<AtomicUsize>,
    /// The server's own limit, learned by the driver.
    allowed: Arc<AtomicUsize>,
    /// It has turned a request away (it is going away): nothing new is put on it.
    retired: Arc<AtomicBool>,
}

impl H2 {
    fn has_room(&self) -> bool {
        self.streams.load(Ordering::Relaxed) < MAX_STREAMS.min(self.allowed.load(Ordering::Relaxed).max(1))
    }

    fn lease(&self) -> Lease {
        self.streams.fetch_add(1, Ordering::Relaxed);
        Lease { kind: Kind::H2(self.clone()), used: false }
    }
}

/// The right to send one request, and to read its answer.
pub(crate) struct Lease {
    kind: Kind,
    /// Whether the connection had carried requests before.
    pub(crate) used: bool,
}

enum Kind {
    H2(H2),
    H1 { sender: Option<http1::SendRequest<RequestBody>>, home: Arc<Mutex<State>>, generation: u64 },
}

impl Pool {
    pub(crate) fn new(connector: Connector) -> Pool {
        Pool { connector, state: Arc::default(), dialing: tokio::sync::Mutex::default() }
    }

    /// A connection with room for one more request, an open one if possible.
    pub(crate) async fn lease(&self) -> Result<Lease, Error> {
        if let Some(lease) = self.open_lease() {
            return Ok(lease);
        }
        if self.state.lock().only_h1 || !self.connector.endpoint.https {
            return self.dial().await;
        }
        let _dialing = self.dialing.lock().await;
        match self.open_lease() {
            Some(lease) => Ok(lease),
            None => self.dial().await,
        }
    }

    fn open_lease(&self) -> Option<Lease> {
        let generation = self.connector.tls.generation();
        let mut state = self.state.lock();
        if state.generation != generation {
            // Requests under way keep their connections; new ones prove the new identity.
            *state = State { generation, ..State::default() };
        }
        state.h2.retain(|connection| !connection.sender.is_closed() && !connection.retired.load(Ordering::Relaxed));
        if let Some(connection) = state.h2.iter().find(|connection| connection.has_room()) {
            let mut lease = connection.lease();
            lease.used = true;
            return Some(lease);
        }
        while let Some(sender) = state.h1.pop() {
            if !sender.is_closed() {
                return Some(Lease { kind: Kind::H1 { sender: Some(sender), home: self.state.clone(), generation }, used: true });
            }
        }
        None
    }

    async fn dial(&self) -> Result<Lease, Error> {
        let generation = self.connector.tls.generation();
        let connection = self.connector.connect(false).await?;
        if !connection.http2 {
            self.state.lock().only_h1 = true;
            let (sender, driver) = http1::handshake(TokioIo::new(connection.io)).await.map_err(Error::Http)?;
            tokio::spawn(drive(driver));
            return Ok(Lease { kind: Kind::H1 { sender: Some(sender), home: self.state.clone(), generation }, used: false });
        }
        let (sender, driver) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(connection.io))
            .await
            .map_err(Error::Http)?;
        let allowed = Arc::new(AtomicUsize::new(MAX_STREAMS));
        let learned = allowed.clone();
        let mut driver = Box::pin(driver);
        tokio::spawn(drive(std::future::poll_fn(move |cx| {
            let polled = driver.as_mut().poll(cx);
            learned.store(driver.current_max_send_streams(), Ordering::Relaxed);
            polled
        })));
        let connection = H2 { sender, streams: Arc::default(), allowed, retired: Arc::default() };
        let lease = connection.lease();
        let mut state = self.state.lock();
        if state.generation == generation {
            state.h2.push(connection);
        }
        Ok(lease)
    }

    /// Forgets every open connection; requests under way finish on theirs.
    pub(crate) fn close_idle(&self) {
        let mut state = self.state.lock();
        state.h2.clear();
        state.h1.clear();
    }
}

/// Runs a connection to its end. How it ended reaches the requests on it; here it is only worth a trace.
async fn drive(connection: impl Future<Output = hyper::Result<()>>) {
    if let Err(err) = connection.await {
        tracing::debug!(err = &err as &dyn std::error::Error, "connection to the server ended");
    }
}

/// A request that failed, and the request itself if not a byte of it can have been acted upon.
pub(crate) struct NotSent {
    pub(crate) error: hyper::Error,
    pub(crate) request: Option<http::Request<RequestBody>>,
}

impl Lease {
    /// HTTP/2 wants absolute URIs and no `Host`; HTTP/1.1 the reverse.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.kind, Kind::H2(_))
    }

    pub(crate) async fn send(&mut self, request: http::Request<RequestBody>) -> Result<http::Response<hyper::body::Incoming>, NotSent> {
        let sent = match &mut self.kind {
            Kind::H2(connection) => connection.sender.try_send_request(request).await,
            Kind::H1 { sender, .. } => {
                let sender = sender.as_mut().expect("a lease is used once");
                if let Err(error) = sender.ready().await {
                    return Err(NotSent { error, request: Some(request) });
                }
                sender.try_send_request(request).await
            }
        };
        if let (Err(failed), Kind::H2(connection)) = (&sent, &self.kind)
            && failed.message().is_some()
        {
            connection.retired.store(true, Ordering::Relaxed);
        }
        sent.map_err(|mut failed| NotSent { request: failed.take_message(), error: failed.into_error() })
    }

    /// Says that the answer has been read to its end, so an HTTP/1.1 connection can be used again.
    pub(crate) fn finished(&mut self) {
        if let Kind::H1 { sender, home, generation } = &mut self.kind
            && let Some(sender) = sender.take()
            && !sender.is_closed()
        {
            let mut state = home.lock();
            if state.generation == *generation && state.h1.len() < MAX_IDLE_H1 {
                state.h1.push(sender);
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Kind::H2(connection) = &self.kind {
            connection.streams.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
