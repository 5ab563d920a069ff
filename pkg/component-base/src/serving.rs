//! Serving HTTP/1.1 and HTTP/2, plain or over TLS, with upgrades and a graceful end.
//!
//! Upstream: staging/src/k8s.io/apiserver/pkg/server/secure_serving.go. Differences: a client certificate is never
//! verified in the handshake (see [`peer`]), and HTTP/2 connections are pinged, so that watches of vanished clients end.

pub mod options;
pub mod peer;
pub mod tls;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::http::{self, Handler, LocalAddr, RemoteAddr, Request, Response};
use crate::serving::peer::PeerCertificates;
use crate::serving::tls::{Certificates, TlsError, TlsOptions};

/// Streams per HTTP/2 connection unless configured: upstream's number.
const DEFAULT_MAX_STREAMS: u32 = 100;
/// 99 of 100 request bodies fit in this window: upstream's number.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Most bytes of headers in an HTTP/2 request, as in Go: tokens with many groups are long.
const MAX_HEADER_BYTES: u32 = 1 << 20;
/// Slow or silent clients in a TLS handshake are dropped after this.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for a request's headers, and for an idle HTTP/1.1 connection to be used again (Go's idle timeout).
const HEADER_TIMEOUT: Duration = Duration::from_secs(90);
/// A client that is silent is asked whether it is still there.
const PING_PERIOD: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// After a failed accept (too many open files, say) the listener rests.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Where and how to listen.
#[derive(Clone, Debug)]
pub struct ServingConfig {
    /// Port 0 takes a free one. An unspecified IPv4 address listens on IPv6 too, as Go does.
    pub address: SocketAddr,
    /// Without it: plain HTTP.
    pub tls: Option<TlsOptions>,
    /// `--http2-max-streams-per-connection`; 0 is the default, 100.
    pub max_streams: u32,
    /// Connections at a time; more wait in the kernel's queue. 0 is no limit.
    pub max_connections: usize,
    /// `--permit-port-sharing`: SO_REUSEPORT.
    pub share_port: bool,
    /// How long requests may go on once the server is told to stop. Then their connections are cut.
    pub shutdown_grace: Duration,
}

impl ServingConfig {
    /// Plain HTTP at an address.
    pub fn plain(address: SocketAddr) -> ServingConfig {
        ServingConfig { address, tls: None, max_streams: 0, max_connections: 0, share_port: false, shutdown_grace: Duration::from_secs(5) }
    }

    /// HTTPS at an address.
    pub fn secure(address: SocketAddr, tls: TlsOptions) -> ServingConfig {
        ServingConfig { tls: Some(tls), ..ServingConfig::plain(address) }
    }
}

/// Why a server could not start.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("failed to create listener: failed to listen on {address}: {cause}")]
    Listen { address: SocketAddr, cause: io::Error },
    /// The certificates or TLS settings cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A server that holds its port already and answers once it runs.
#[derive(Debug)]
pub struct Server {
    config: ServingConfig,
    listener: TcpListener,
    tls: Option<(TlsParts, Arc<Certificates>)>,
}

struct TlsParts(TlsAcceptor);

impl std::fmt::Debug for TlsParts {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("TlsAcceptor")
    }
}

/// Binds and serves until `stop` fires and the connections have drained.
pub async fn serve(config: ServingConfig, handler: Handler, stop: CancellationToken) -> Result<(), ServeError> {
    Server::bind(config)?.run(handler, stop).await;
    Ok(())
}

impl Server {
    /// Reads the certificates and takes the port. Must be called inside of a tokio runtime.
    pub fn bind(config: ServingConfig) -> Result<Server, ServeError> {
        let tls = match &config.tls {
            None => None,
            Some(options) => {
                let (settings, certificates) = options.build()?;
                Some((TlsParts(TlsAcceptor::from(settings)), certificates))
            }
        };
        let listener = listen(config.address, config.share_port).map_err(|cause| ServeError::Listen { address: config.address, cause })?;
        Ok(Server { config, listener, tls })
    }

    /// The address with the port that was taken.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr().map(canonical)
    }

    /// The certificates presented, for a TLS server.
    pub fn certificates(&self) -> Option<&Arc<Certificates>> {
        self.tls.as_ref().map(|(_, certificates)| certificates)
    }

    /// Serves until `stop` fires, lets the requests in flight finish within the grace period, then cuts the rest.
    pub async fn run(self, handler: Handler, stop: CancellationToken) {
        let Server { config, listener, tls } = self;
        let connections = TaskTracker::new();
        let cut = CancellationToken::new();
        let graceful = GracefulShutdown::new();
        let limit = Arc::new(Semaphore::new(match config.max_connections {
            0 => Semaphore::MAX_PERMITS,
            limit => limit,
        }));
        let acceptor = tls.as_ref().map(|(parts, _)| parts.0.clone());
        let builder = Arc::new(builder(config.max_streams));
        let local = listener.local_addr().map(canonical).unwrap_or(config.address);
        if let Some((_, certificates)) = &tls {
            for files in certificates.reloaders() {
                connections.spawn(files.run(stop.clone()));
            }
        }

        loop {
            // Accepting and waiting for a permit or the token are cancel-safe.
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = accept(&listener, &limit) => accepted,
            };
            let (socket, remote, permit) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(err = %error, "Cannot accept a connection");
                    tokio::time::sleep(ACCEPT_REST).await;
                    continue;
                }
            };
            let connection = Connection { handler: handler.clone(), remote: canonical(remote), local, builder: builder.clone() };
            let work = connection.serve(socket, acceptor.clone(), graceful.watcher());
            let cut = cut.clone();
            connections.spawn(async move {
                let _permit: OwnedSemaphorePermit = permit;
                tokio::select! {
                    () = cut.cancelled() => {}
                    () = work => {}
                }
            });
        }

        drop(listener);
        connections.close();
        let drained = tokio::time::timeout(config.shutdown_grace, async {
            graceful.shutdown().await;
            connections.wait().await;
        })
        .await;
        if drained.is_err() {
            tracing::debug!(connections = connections.len(), "Cutting connections that did not drain in time");
            cut.cancel();
            connections.wait().await;
        }
    }
}

async fn accept(listener: &TcpListener, limit: &Arc<Semaphore>) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = limit.clone().acquire_owned().await.expect("the semaphore is never closed");
    let (socket, remote) = listener.accept().await?;
    Ok((socket, remote, permit))
}

fn builder(max_streams: u32) -> auto::Builder<TokioExecutor> {
    let streams = if max_streams == 0 { DEFAULT_MAX_STREAMS } else { max_streams };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW.saturating_mul(streams).min(i32::MAX as u32))
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(PING_PERIOD)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// What one connection needs to answer its requests.
struct Connection {
    handler: Handler,
    remote: SocketAddr,
    local: SocketAddr,
    builder: Arc<auto::Builder<TokioExecutor>>,
}

impl Connection {
    async fn serve(self, socket: TcpStream, acceptor: Option<TlsAcceptor>, watcher: Watcher) {
        // Small frames of a watch must not wait for an acknowledgement.
        let _ = socket.set_nodelay(true);
        let Some(acceptor) = acceptor else {
            return self.speak(socket, None, watcher).await;
        };
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await {
            Ok(Ok(socket)) => {
                let chain = socket.get_ref().1.peer_certificates().unwrap_or_default();
                let peer = (!chain.is_empty()).then(|| PeerCertificates::new(chain.to_vec()));
                self.speak(socket, peer, watcher).await;
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                tracing::debug!(remote = %self.remote, err = %error, "http: TLS handshake error");
            }
            Ok(Err(error)) => tracing::info!(remote = %self.remote, err = %error, "http: TLS handshake error"),
            Err(_) => tracing::info!(remote = %self.remote, err = "timeout", "http: TLS handshake error"),
        }
    }

    async fn speak<S>(self, socket: S, peer: Option<PeerCertificates>, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Connection { handler, remote, local, builder } = self;
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let mut request =
                request.map(|body| if body.is_end_stream() { http::empty() } else { body.map_err(Into::into).boxed_unsync() });
            request.extensions_mut().insert(RemoteAddr(remote));
            request.extensions_mut().insert(LocalAddr(local));
            if let Some(peer) = &peer {
                request.extensions_mut().insert(peer.clone());
            }
            let answer = answer(&handler, request);
            async move { Ok::<Response, std::convert::Infallible>(answer.await) }
        });
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(socket), service).into_owned();
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(remote = %remote, err = %error, "Connection ended with an error");
        }
    }
}

/// Calls the handler; a panic in it becomes an answer, so that the other streams of the connection live on.
fn answer(handler: &Handler, request: Request) -> impl Future<Output = Response> + Send + use<> {
    let handler = handler.clone();
    AssertUnwindSafe(async move { handler(request).await }).catch_unwind().map(|result| {
        result.unwrap_or_else(|_| {
            http::text(hyper::StatusCode::INTERNAL_SERVER_ERROR, "This request caused the server to panic. Look in the logs for details.\n")
        })
    })
}

fn listen(address: SocketAddr, share_port: bool) -> io::Result<TcpListener> {
    if address.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
        // The kernel maps IPv4 clients into this one. Machines without IPv6 take the address as it was given.
        let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port()));
        match listen_on(both, share_port) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(_) => {}
            Ok(listener) => return Ok(listener),
        }
    }
    listen_on(address, share_port)
}

fn listen_on(address: SocketAddr, share_port: bool) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    if share_port {
        socket.set_reuseport(true)?;
    }
    socket.bind(address)?;
    socket.listen(4096)
}

/// An IPv4 client of an IPv6 socket, as IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests;
