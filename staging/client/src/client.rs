//! Sending a request: credentials, the client's own rate limit, a connection, and the retries the server asked for.
//!
//! Upstream: `client-go/rest/request.go` and `with_retry.go`.

use std::sync::Arc;
use std::time::Duration;

use apimachinery::StatusError;
use apimachinery::gvk::GroupResource;
use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, HeaderMap, HeaderValue, RETRY_AFTER, UPGRADE, USER_AGENT, WARNING};
use http::{Method, StatusCode, Uri};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::config::{Config, ConfigError};
use crate::credentials::{Credentials, TokenSource};
use crate::encoding::status_error;
use crate::error::Error;
use crate::metrics::ClientMetrics;
use crate::rate_limit::RateLimiter;
use crate::request::{Request, Response, ResponseBody, Timeout};
use crate::transport::{Connector, Pool, RequestBody, TlsSource};

/// Upstream's limit on how often one request is sent again.
const MAX_RETRIES: u32 = 10;
/// Pause before a GET whose connection broke is sent again, as upstream.
const LOST_CONNECTION_PAUSE: Duration = Duration::from_secs(1);
/// Most of an error's body that is read.
const MAX_ERROR_BODY: usize = 1 << 20;
/// A wait for the client's own rate limit beyond this is worth a line, as upstream's `longThrottleLatency`.
const LONG_THROTTLE: Duration = Duration::from_secs(1);

/// A handle on one API server as one identity. Clones share connections, credentials and the rate limit.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    pool: Arc<Pool>,
    credentials: Arc<Credentials>,
    limiter: Arc<RateLimiter>,
    metrics: Arc<ClientMetrics>,
    user_agent: HeaderValue,
    timeout: Option<Duration>,
    protobuf: bool,
    on_warning: Arc<dyn Fn(&str) + Send + Sync>,
    server: String,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("server", &self.inner.server).finish_non_exhaustive()
    }
}

/// A connection that has left HTTP behind, and the head of the answer that did it.
pub struct Upgraded {
    pub headers: HeaderMap,
    pub io: TokioIo<hyper::upgrade::Upgraded>,
}

impl Client {
    /// Checks the settings and reads the files they name. Opens no connection.
    pub fn new(config: &Config) -> Result<Client, ConfigError> {
        let tls = Arc::new(TlsSource::new(&config.tls)?);
        let credentials = Credentials::new(&config.auth, &config.impersonate, tls.identity())?;
        let connector = Connector::new(config, tls)?;
        let server = connector.endpoint.authority.clone();
        Ok(Client {
            inner: Arc::new(Inner {
                pool: Arc::new(Pool::new(connector)),
                credentials: Arc::new(credentials),
                limiter: Arc::new(RateLimiter::new(config.qps, config.burst)),
                metrics: Arc::new(ClientMetrics::new(&server)),
                user_agent: user_agent(&config.user_agent)?,
                timeout: config.timeout,
                protobuf: config.protobuf,
                on_warning: Arc::new(|text| tracing::warn!(text, "warning from the API server")),
                server,
            }),
        })
    }

    /// A handle that differs in some settings and shares the connections.
    fn with(&self, change: impl FnOnce(&mut Inner)) -> Client {
        let mut inner = (*self.inner).clone();
        change(&mut inner);
        Client { inner: Arc::new(inner) }
    }

    /// The same server and connections under another name and with its own rate limit: what upstream makes one client per
    /// controller for.
    pub fn with_user_agent(&self, name: &str, qps: f32, burst: u32) -> Result<Client, ConfigError> {
        let name = user_agent(name)?;
        Ok(self.with(|inner| (inner.user_agent, inner.limiter) = (name, Arc::new(RateLimiter::new(qps, burst)))))
    }

    /// The same server and connections, each request signed by a token of `source`: many identities over one connection.
    ///
    /// For a client made without credentials of its own; a client certificate would win over the token.
    pub fn with_tokens(&self, source: Arc<dyn TokenSource>) -> Client {
        self.with(|inner| inner.credentials = Arc::new(Credentials::of_source(source)))
    }

    /// The same connections with another limit on how long a request may take.
    pub fn with_timeout(&self, timeout: Option<Duration>) -> Client {
        self.with(|inner| inner.timeout = timeout)
    }

    /// Objects as JSON or protobuf from here on.
    pub fn with_protobuf(&self, protobuf: bool) -> Client {
        self.with(|inner| inner.protobuf = protobuf)
    }

    /// Tells `show` of each warning the server sends along, instead of the log. kubectl prints them.
    pub fn with_warnings(&self, show: impl Fn(&str) + Send + Sync + 'static) -> Client {
        self.with(|inner| inner.on_warning = Arc::new(show))
    }

    /// Whether typed requests go out as protobuf.
    pub fn uses_protobuf(&self) -> bool {
        self.inner.protobuf
    }

    /// `host:port` of the server.
    pub fn server(&self) -> &str {
        &self.inner.server
    }

    /// Requests from now on use new connections; the kubelet does this when the server seems dead behind a live connection.
    pub fn close_connections(&self) {
        self.inner.pool.close_idle();
    }

    /// Sends `request` and returns the answer whatever its status, after the retries the server asked for.
    pub async fn send_raw(&self, request: Request) -> Result<Response, Error> {
        let mut request = request;
        if let Some(problem) = request.invalid.take() {
            return Err(Error::Request(problem));
        }
        let timeout = match request.timeout {
            Timeout::Default => self.inner.timeout,
            Timeout::None => None,
            Timeout::After(timeout) => Some(timeout),
        };
        let deadline = timeout.map(|timeout| (Instant::now() + timeout, timeout));
        match deadline {
            None => self.send_until(request, None).await,
            Some((at, timeout)) => match tokio::time::timeout_at(at, self.send_until(request, deadline)).await {
                Ok(answer) => answer,
                Err(_) => Err(Error::Timeout(timeout)),
            },
        }
    }

    /// Sends `request`; an answer outside 2xx becomes an [`Error::Api`].
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        let (method, about) = (request.method.clone(), request.about.clone());
        let response = self.send_raw(request).await?;
        if response.status.is_success() { Ok(response) } else { Err(refusal(response, &method, &about).await) }
    }

    /// Sends `request` and collects the answer.
    pub async fn fetch(&self, request: Request) -> Result<Bytes, Error> {
        self.send(request).await?.bytes().await
    }

    async fn send_until(&self, mut request: Request, deadline: Option<(Instant, Duration)>) -> Result<Response, Error> {
        let mut stream = request.stream.take();
        let repeatable = stream.is_none();
        let mut attempt = 0;
        loop {
            let waited = self.inner.limiter.acquire().await;
            self.inner.metrics.throttled(&request.method, waited);
            if waited > LONG_THROTTLE {
                tracing::info!(
                    elapsed_ms = waited.as_millis() as u64,
                    path = request.path,
                    "waited before sending request: client-side throttling"
                );
            }
            let body = stream.take().map_or_else(|| RequestBody::from(request.body.clone()), |stream| stream.0.into_inner());
            let may_retry = repeatable && attempt < MAX_RETRIES;
            let (pause, code) = match self.send_once(&request, body, deadline).await {
                Ok(response) => {
                    if response.status == StatusCode::UNAUTHORIZED {
                        self.inner.credentials.refused().await;
                    }
                    match retry_after_header(&response.headers) {
                        Some(pause) if may_retry && asks_again(response.status) => (pause, response.status.as_str().to_string()),
                        _ => return Ok(response),
                    }
                }
                // The answer to a GET may be asked for twice; what a write did is for the caller to find out.
                Err(Error::Http(err)) if may_retry && request.method == Method::GET && was_cut(&err) => {
                    (LOST_CONNECTION_PAUSE, "<error>".to_string())
                }
                Err(err) => return Err(err),
            };
            attempt += 1;
            self.inner.metrics.retried(&request.method, &code);
            tracing::debug!(path = request.path, attempt, elapsed_ms = pause.as_millis() as u64, "sending request again");
            tokio::time::sleep(pause).await;
        }
    }

    /// One exchange. A connection that turns out to be closed before it took the request is replaced without a word.
    async fn send_once(&self, request: &Request, body: RequestBody, deadline: Option<(Instant, Duration)>) -> Result<Response, Error> {
        let mut message = self.message(request, body).await?;
        let started = Instant::now();
        loop {
            let mut lease = match self.inner.pool.lease().await {
                Ok(lease) => lease,
                Err(err) => {
                    self.inner.metrics.answered(&request.method, "<error>", started.elapsed());
                    return Err(err);
                }
            };
            self.address(&mut message, lease.is_http2())?;
            match lease.send(message).await {
                Ok(response) => {
                    let (parts, incoming) = response.into_parts();
                    self.inner.metrics.answered(&request.method, parts.status.as_str(), started.elapsed());
                    for warning in parts.headers.get_all(WARNING).iter().filter_map(|value| warning_text(value.to_str().ok()?)) {
                        (self.inner.on_warning)(&warning);
                    }
                    return Ok(Response {
                        status: parts.status,
                        headers: parts.headers,
                        body: ResponseBody::new(incoming, lease, deadline),
                    });
                }
                Err(failed) => match failed.request {
                    // Only a connection that had worked before may have gone stale; a new one that fails tells of a real fault.
                    Some(unsent) if lease.used => message = unsent,
                    _ => {
                        self.inner.metrics.answered(&request.method, "<error>", started.elapsed());
                        return Err(Error::Http(failed.error));
                    }
                },
            }
        }
    }

    /// The request with all its headers; where it goes is filled in by [`address`](Self::address).
    async fn message(&self, request: &Request, body: RequestBody) -> Result<http::Request<RequestBody>, Error> {
        let mut message = http::Request::new(body);
        *message.method_mut() = request.method.clone();
        *message.uri_mut() = self.uri(&request.path_and_query())?;
        let headers = message.headers_mut();
        headers.extend(request.headers.clone());
        if !headers.contains_key(ACCEPT) {
            headers.insert(ACCEPT, HeaderValue::from_static("application/json, */*"));
        }
        headers.entry(USER_AGENT).or_insert_with(|| self.inner.user_agent.clone());
        self.inner.credentials.apply(headers).await.map_err(Error::Auth)?;
        Ok(message)
    }

    fn uri(&self, path_and_query: &str) -> Result<Uri, Error> {
        let endpoint = &self.inner.pool.connector.endpoint;
        let scheme = if endpoint.https { "https" } else { "http" };
        let text = format!("{scheme}://{}{}{path_and_query}", endpoint.authority, endpoint.prefix);
        text.parse().map_err(|_| Error::Request(format!("{path_and_query:?} is not a valid path")))
    }

    fn address(&self, message: &mut http::Request<RequestBody>, http2: bool) -> Result<(), Error> {
        let endpoint = &self.inner.pool.connector.endpoint;
        let path = message.uri().path_and_query().cloned().ok_or_else(|| Error::Request("a request needs a path".into()))?;
        if http2 {
            message.headers_mut().remove(HOST);
            let scheme = if endpoint.https { "https" } else { "http" };
            let absolute = format!("{scheme}://{}{path}", endpoint.authority);
            *message.uri_mut() = absolute.parse().map_err(|_| Error::Request(format!("{path} is not a valid path")))?;
        } else {
            let host = HeaderValue::from_str(&endpoint.authority).map_err(|_| Error::Request("invalid host".into()))?;
            message.headers_mut().insert(HOST, host);
            *message.uri_mut() = Uri::from(path);
        }
        Ok(())
    }

    /// Leaves HTTP behind: sends `request` with `Upgrade: protocol` over a connection of its own and hands that out.
    ///
    /// The caller adds the headers its protocol wants (`Sec-WebSocket-*`, `X-Stream-Protocol-Version`).
    pub async fn upgrade(&self, request: Request, protocol: &str) -> Result<Upgraded, Error> {
        let (method, path) = (request.method.clone(), request.path.clone());
        if let Some(problem) = request.invalid {
            return Err(Error::Request(problem));
        }
        self.inner.limiter.acquire().await;
        let mut message = self.message(&request, RequestBody::from(request.body.clone())).await?;
        self.address(&mut message, false)?;
        let headers = message.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_str(protocol).map_err(|_| Error::Request("invalid protocol".into()))?);
        let connection = self.inner.pool.connector.connect(true).await?;
        let (mut sender, driver) = http1::handshake(TokioIo::new(connection.io)).await.map_err(Error::Http)?;
        // Owned by the upgraded stream, or by the answer's body: ends when those are dropped.
        tokio::spawn(async move {
            if let Err(err) = driver.with_upgrades().await {
                tracing::debug!(err = &err as &dyn std::error::Error, "upgrade connection ended");
            }
        });
        let mut response = sender.send_request(message).await.map_err(Error::Http)?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let io = hyper::upgrade::on(&mut response).await.map_err(Error::Http)?;
            return Ok(Upgraded { headers: response.headers().clone(), io: TokioIo::new(io) });
        }
        let status = response.status();
        let body = read_limited(response.into_body()).await;
        Err(match status_error(&body) {
            Some(error) => error.into(),
            None if status.is_success() || body.is_empty() => Error::Upgrade(format!("the server answered {status} to {method} {path}")),
            None => Error::Upgrade(String::from_utf8_lossy(&body).trim().to_string()),
        })
    }
}

/// Tries a read-change-write again while it meets a conflict, five times at most, as upstream's `retry.RetryOnConflict`.
///
/// `attempt` reads the object afresh each time; the last conflict is returned.
pub async fn retry_on_conflict<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    const TRIES: usize = 5;
    const PAUSE: Duration = Duration::from_millis(10);
    for _ in 1..TRIES {
        match attempt().await {
            Err(err) if err.is_conflict() => tokio::time::sleep(PAUSE).await,
            done => return done,
        }
    }
    attempt().await
}

fn user_agent(name: &str) -> Result<HeaderValue, ConfigError> {
    HeaderValue::from_str(name).map_err(|_| ConfigError::Header { what: "user agent" })
}

/// The text of a `Warning` header (`299 - "text"`). Other codes are not for users.
fn warning_text(header: &str) -> Option<String> {
    let quoted = header.strip_prefix("299 ")?.split_once(' ')?.1.trim_start().strip_prefix('"')?;
    let mut text = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '"' => return Some(text),
            '\\' => text.push(chars.next()?),
            c => text.push(c),
        }
    }
}

/// Whether the connection broke, as opposed to the other side saying in TLS or HTTP what it did not like.
fn was_cut(error: &hyper::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return matches!(io.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof);
        }
        source = cause.source();
    }
    error.is_incomplete_message() || error.is_canceled() || error.is_closed()
}

/// 429 and 5xx with `Retry-After` are the server's way to say "not now, but do come back".
fn asks_again(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error()
}

/// Upstream reads seconds only, and so do we.
fn retry_after_header(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

async fn read_limited<B>(mut body: B) -> Vec<u8>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let mut all = Vec::new();
    while let Some(Ok(frame)) = http_body_util::BodyExt::frame(&mut body).await {
        if let Ok(data) = frame.into_data() {
            all.extend_from_slice(&data);
        }
        if all.len() >= MAX_ERROR_BODY {
            break;
        }
    }
    all
}

/// What a request was about, for the words of an error.
#[derive(Clone, Debug, Default)]
pub(crate) struct About {
    pub(crate) resource: GroupResource,
    pub(crate) name: String,
}

/// Turns an answer outside 2xx into an error: the Status it carries, or what its code tells.
async fn refusal(response: Response, method: &Method, about: &About) -> Error {
    let (code, after) = (response.status.as_u16(), retry_after_header(&response.headers));
    let body = read_limited(response.body).await;
    let seconds = after.map_or(0, |after| i32::try_from(after.as_secs()).unwrap_or(i32::MAX));
    match status_error(&body) {
        Some(error) if error.retry_after().is_some() || seconds == 0 => error.into(),
        Some(error) => error.with_retry_after(seconds).into(),
        None => {
            let text = String::from_utf8_lossy(&body);
            let text = if text.trim().is_empty() { "unknown" } else { text.trim() };
            StatusError::generic(code, method.as_str(), &about.resource, &about.name, text, seconds, true).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::warning_text;

    #[test]
    fn warnings_are_read_as_rfc_7234_quotes_them() {
        assert_eq!(warning_text(r#"299 - "a \"b\" c\\d""#).as_deref(), Some(r#"a "b" c\d"#));
        assert_eq!(warning_text(r#"199 - "a""#), None);
        assert_eq!(warning_text(r#"299 - "a"#), None);
    }
}
