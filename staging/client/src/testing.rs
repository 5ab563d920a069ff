//! An HTTP server inside a test's own process, whose every answer the test decides.
//!
//! Knows nothing of API objects: a handler sees a request and says what goes back, once or piece by piece.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use apimachinery::StatusError;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::Config;

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Counts the server's connections from 0.
    pub connection: usize,
    pub http2: bool,
}

impl Seen {
    /// The value of a query parameter, with the few escapes tests need undone.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let (_, value) = self.query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?;
        Some(value.replace("%3D", "=").replace("%2C", ",").replace("%2F", "/"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// `GET /path`.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// What goes back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    body: AnswerBody,
}

#[derive(Debug)]
enum AnswerBody {
    Bytes(Option<Bytes>),
    /// Ends when the sender is dropped.
    Pieces(mpsc::Receiver<Bytes>),
}

impl Answer {
    pub fn json(status: u16, body: impl Into<Bytes>) -> Answer {
        Answer { status, headers: vec![("content-type", "application/json".into())], body: AnswerBody::Bytes(Some(body.into())) }
    }

    pub fn ok(body: impl Into<Bytes>) -> Answer {
        Answer::json(200, body)
    }

    /// A `Status` of kind Failure.
    pub fn failure(code: u16, reason: &str, message: &str) -> Answer {
        Answer::json(code, StatusError::new(code, reason, message).to_value().to_string())
    }

    /// An answer that goes on until the returned sender is dropped.
    pub fn pieces() -> (mpsc::Sender<Bytes>, Answer) {
        let (sender, receiver) = mpsc::channel(64);
        let answer = Answer { status: 200, headers: vec![("content-type", "application/json".into())], body: AnswerBody::Pieces(receiver) };
        (sender, answer)
    }

    pub fn with_header(mut self, name: &'static str, value: &str) -> Answer {
        self.headers.retain(|(old, _)| *old != name);
        self.headers.push((name, value.to_string()));
        self
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            AnswerBody::Bytes(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            AnswerBody::Pieces(receiver) => receiver.poll_recv(cx).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }
}

/// A running server on a loopback port of its own. Stops, connections and all, when dropped.
pub struct Server {
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: CancellationToken,
    _stop: DropGuard,
}

impl Server {
    /// Serves plain HTTP/1.1.
    pub async fn start(handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Server {
        Server::start_with(None, handler).await
    }

    /// Serves over TLS, with the protocols `tls` offers.
    pub async fn start_with(tls: Option<TlsAcceptor>, handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let stop = CancellationToken::new();
        let connections = stop.child_token();
        let seen = Arc::default();
        let handler: Arc<Handler> = Arc::new(handler);
        let accepting = Accepting {
            listener,
            tls,
            handler,
            seen: Arc::clone(&seen),
            stop: stop.clone(),
            breakers: Arc::new(Mutex::new(connections.clone())),
        };
        let server = Server { url: format!("{scheme}://127.0.0.1:{port}"), seen, connections, _stop: stop.drop_guard() };
        tokio::spawn(accepting.run());
        server
    }

    /// Client settings for this server, without a rate limit.
    pub fn config(&self) -> Config {
        let mut config = Config::new(self.url.clone());
        config.qps = -1.0;
        config
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// `METHOD /path` of every request so far.
    pub fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }

    /// Cuts every open connection; the server goes on listening for no more: it is gone.
    pub fn cut(&self) {
        self.connections.cancel();
    }
}

type Handler = dyn Fn(&Seen) -> Answer + Send + Sync;

struct Accepting {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    handler: Arc<Handler>,
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: CancellationToken,
    breakers: Arc<Mutex<CancellationToken>>,
}

impl Accepting {
    async fn run(self) {
        for connection in 0.. {
            let stream = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = self.listener.accept() => match accepted { Ok((stream, _)) => stream, Err(_) => return },
            };
            let breaker = self.breakers.lock().clone();
            let (tls, handler, seen) = (self.tls.clone(), self.handler.clone(), self.seen.clone());
            tokio::spawn(async move {
                let serving = async move {
                    match tls {
                        None => serve(TokioIo::new(stream), connection, handler, seen).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(TokioIo::new(stream), connection, handler, seen).await;
                            }
                        }
                    }
                };
                tokio::select! {
                    () = breaker.cancelled() => {}
                    () = serving => {}
                }
            });
        }
    }
}

async fn serve<I>(io: I, connection: usize, handler: Arc<Handler>, seen: Arc<Mutex<Vec<Seen>>>)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (handler, all) = (handler.clone(), seen.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let seen = Seen {
                method: parts.method,
                path: parts.uri.path().to_string(),
                query: parts.uri.query().unwrap_or_default().to_string(),
                headers: parts.headers,
                body,
                connection,
                http2: parts.version == http::Version::HTTP_2,
            };
            all.lock().push(seen.clone());
            let answer = handler(&seen);
            let mut response = http::Response::new(answer.body);
            *response.status_mut() = StatusCode::from_u16(answer.status).expect("the test names a real status");
            for (name, value) in answer.headers {
                response.headers_mut().append(name, value.parse().expect("the test names a real header value"));
            }
            Ok::<_, Infallible>(response)
        }
    });
    // Tests end connections abruptly; that is no news.
    drop(auto::Builder::new(TokioExecutor::new()).serve_connection(io, service).await);
}
