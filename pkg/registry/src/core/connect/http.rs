//! Carries a request on to another server, and its answer back.

use apimachinery::status::StatusError;
use component_base::http::{Body, BoxError, Request, Response, empty, full};
use http::header::{AUTHORIZATION, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{Method, StatusCode, Uri};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use streaming::BoxIo;

/// Headers that are about one connection only.
const HOP_BY_HOP: [HeaderName; 5] = [CONNECTION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// An answer of another server that is no success is cut after so many bytes.
const MAX_ERROR_BYTES: usize = 2048;

/// Takes away what the client proved its identity with: it is meant for this server alone.
pub fn remove_credentials(headers: &mut HeaderMap) {
    headers.remove(AUTHORIZATION);
    let own: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("impersonate-") || name.as_str().starts_with("x-remote-"))
        .cloned()
        .collect();
    for name in own {
        headers.remove(name);
    }
}

/// What a server that cannot be reached is answered with.
pub fn unreachable(error: impl std::fmt::Display) -> StatusError {
    StatusError::service_unavailable(format!("error trying to reach service: {error}"))
}

/// Sends one request over a connection made for it; the answer's body comes as it is read.
pub async fn exchange(io: BoxIo, request: Request) -> Result<http::Response<hyper::body::Incoming>, StatusError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.map_err(unreachable)?;
    // Ends with the exchange.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(err = %error, "a proxied connection broke");
        }
    });
    sender.send_request(request).await.map_err(unreachable)
}

/// A GET without headers of the client's.
pub fn get(uri: &Uri) -> Request {
    let mut request = Request::new(empty());
    *request.method_mut() = Method::GET;
    set_target(&mut request, uri);
    request
}

fn set_target(request: &mut Request, uri: &Uri) {
    if let Some(host) = uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok()) {
        request.headers_mut().insert(HOST, host);
    }
    // Origin form: the connection is to the server itself.
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
}

/// A client's request as it goes on to `uri`.
pub fn onward(mut request: Request, uri: &Uri) -> Request {
    let (host, path) = (request.headers().get(HOST).cloned(), request.uri().path().to_owned());
    let headers = request.headers_mut();
    remove_credentials(headers);
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    if let Some(host) = host {
        headers.insert("x-forwarded-host", host);
    }
    headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    if let Ok(path) = HeaderValue::from_str(&path) {
        headers.insert("x-forwarded-uri", path);
    }
    set_target(&mut request, uri);
    *request.version_mut() = http::Version::HTTP_11;
    request
}

/// Another server's answer for the client.
pub fn back(response: http::Response<hyper::body::Incoming>) -> Response {
    let (mut parts, body) = response.into_parts();
    for name in HOP_BY_HOP {
        parts.headers.remove(name);
    }
    parts.version = http::Version::HTTP_11;
    Response::from_parts(parts, boxed(body))
}

pub fn boxed(body: hyper::body::Incoming) -> Body {
    body.map_err(|error| Box::new(error) as BoxError).boxed_unsync()
}

/// A stream's answer for the client.
pub fn from_bytes(response: http::Response<bytes::Bytes>) -> Response {
    response.map(full)
}

/// The start of an answer that is no success, as text.
pub async fn error_text(body: hyper::body::Incoming) -> String {
    let mut text = Vec::new();
    let mut body = body;
    while text.len() < MAX_ERROR_BYTES
        && let Some(Ok(frame)) = body.frame().await
    {
        if let Ok(chunk) = frame.into_data() {
            text.extend_from_slice(&chunk);
        }
    }
    text.truncate(MAX_ERROR_BYTES);
    String::from_utf8_lossy(&text).into_owned()
}

/// True for an answer that can be passed on as it is.
pub fn is_success(status: StatusCode) -> bool {
    status.is_success()
}
