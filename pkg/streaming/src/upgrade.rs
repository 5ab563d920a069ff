//! The HTTP/1.1 exchange that turns a request into a stream connection: SPDY's and WebSocket's, both ends.

use std::fmt;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_TYPE, HOST, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
};
use http::header::{HeaderName, HeaderValue, UPGRADE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::{BoxIo, Error, spdy};

/// The stream protocols a SPDY client understands, or the one that the server chose.
pub const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED_PROTOCOLS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
/// Most bytes of a refusal's body that are kept.
const MAX_REFUSAL: usize = 64 * 1024;

/// What a connection is upgraded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `Upgrade: SPDY/3.1`.
    Spdy,
    /// `Upgrade: websocket`.
    WebSocket,
}

/// What a request asks to be upgraded to, if anything we know.
pub fn requested(headers: &HeaderMap) -> Option<Kind> {
    if !tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade")) {
        return None;
    }
    let mut wanted = tokens(headers, &UPGRADE);
    wanted.find_map(|token| match token {
        _ if token.eq_ignore_ascii_case("websocket") => Some(Kind::WebSocket),
        _ if token.eq_ignore_ascii_case(spdy::PROTOCOL) => Some(Kind::Spdy),
        _ => None,
    })
}

/// The subprotocols a request names, in the client's order of preference.
pub fn protocols(headers: &HeaderMap, kind: Kind) -> Vec<&str> {
    let name = match kind {
        Kind::Spdy => &STREAM_PROTOCOL,
        Kind::WebSocket => &SEC_WEBSOCKET_PROTOCOL,
    };
    tokens(headers, name).collect()
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

/// Why a request is not upgraded, to be sent as the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status to answer with.
    pub status: StatusCode,
    /// The answer's text.
    pub message: String,
    accepted: Vec<String>,
}

impl Refusal {
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into(), accepted: Vec::new() }
    }

    /// The answer, as plain text.
    pub fn into_response(self) -> Response<String> {
        let mut response = Response::new(self.message + "\n");
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        for protocol in self.accepted.iter().filter_map(|name| HeaderValue::from_str(name).ok()) {
            headers.append(ACCEPTED_PROTOCOLS, protocol);
        }
        response
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// An upgrade that is agreed on, and happens once the 101 answer is sent.
#[derive(Debug)]
pub struct Pending {
    /// What the connection becomes.
    pub kind: Kind,
    /// The negotiated subprotocol; empty if a WebSocket client named none.
    pub protocol: String,
    upgrade: OnUpgrade,
}

impl Pending {
    /// Waits for the connection. Call it after the answer was given to the HTTP server, in a task of its own.
    pub async fn connect(self) -> Result<BoxIo, Error> {
        let upgraded = self.upgrade.await.map_err(|err| Error::Upgrade(err.to_string()))?;
        Ok(Box::new(TokioIo::new(upgraded)))
    }
}

/// Answers an upgrade request. `spdy` and `websocket` list the subprotocols supported; the client's preference decides. A WebSocket
/// client that names no subprotocol is taken if `websocket` holds the empty one.
pub fn accept<B>(request: &mut Request<B>, spdy: &[&str], websocket: &[&str]) -> Result<(Response<()>, Pending), Refusal> {
    let headers = request.headers();
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    let kind = requested(headers).ok_or_else(|| Refusal::bad_request("unable to upgrade: missing upgrade headers in request"))?;
    let wanted = protocols(headers, kind);
    let protocol = match kind {
        Kind::Spdy => {
            let protocol = negotiate_spdy(&wanted, spdy)?;
            answer.insert(UPGRADE, HeaderValue::from_static(spdy::PROTOCOL));
            if let Ok(value) = HeaderValue::from_str(&protocol) {
                answer.insert(STREAM_PROTOCOL, value);
            }
            protocol
        }
        Kind::WebSocket => {
            let protocol = negotiate_websocket(&wanted, websocket)?;
            if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
                return Err(Refusal::bad_request("websocket: unsupported version: 13 not found in 'Sec-Websocket-Version' header"));
            }
            let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| STANDARD.decode(key).is_ok_and(|key| key.len() == 16));
            let key = key.ok_or_else(|| Refusal::bad_request("websocket: 'Sec-WebSocket-Key' header is missing or malformed"))?;
            answer.insert(SEC_WEBSOCKET_ACCEPT, accept_key(key.as_bytes()));
            answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
            if let Some(value) = HeaderValue::from_str(&protocol).ok().filter(|value| !value.is_empty()) {
                answer.insert(SEC_WEBSOCKET_PROTOCOL, value);
            }
            protocol
        }
    };
    let upgrade = hyper::upgrade::on(request);
    Ok((response, Pending { kind, protocol, upgrade }))
}

fn negotiate_spdy(wanted: &[&str], supported: &[&str]) -> Result<String, Refusal> {
    if wanted.is_empty() {
        return Err(Refusal::bad_request("unable to upgrade: X-Stream-Protocol-Version is required"));
    }
    match wanted.iter().find(|name| supported.contains(name)) {
        Some(name) => Ok((*name).to_owned()),
        None => Err(Refusal {
            status: StatusCode::FORBIDDEN,
            message: format!(
                "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
                wanted.join(" "),
                supported.join(" ")
            ),
            accepted: supported.iter().map(|name| (*name).to_owned()).collect(),
        }),
    }
}

fn negotiate_websocket(wanted: &[&str], supported: &[&str]) -> Result<String, Refusal> {
    let wanted = if wanted.is_empty() { &[""] } else { wanted };
    match wanted.iter().find(|name| supported.contains(name)) {
        Some(name) => Ok((*name).to_owned()),
        None => Err(Refusal {
            status: StatusCode::FORBIDDEN,
            message: format!("requested protocol(s) are not supported: [{}]; supports [{}]", wanted.join(" "), supported.join(" ")),
            accepted: Vec::new(),
        }),
    }
}

/// What the server answers to a `Sec-WebSocket-Key`, so that the client knows it was read.
fn accept_key(key: &[u8]) -> HeaderValue {
    let mut text = key.to_vec();
    text.extend_from_slice(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let hash = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text));
    HeaderValue::from_str(&hash).expect("base64 is visible ASCII")
}

/// A connection after its upgrade, client's end.
pub struct Upgraded {
    /// The connection, from the first byte after the answer.
    pub io: BoxIo,
    /// The subprotocol that the server chose; empty if it named none.
    pub protocol: String,
}

/// Sends an upgrade request on a connection made for it and waits for the 101. `request` brings method, path, `Host` and
/// credentials; the headers of the upgrade are added. Subprotocols come in order of preference.
pub async fn connect(io: BoxIo, mut request: Request<()>, kind: Kind, protocols: &[&str]) -> Result<Upgraded, Error> {
    let key = STANDARD.encode(rand::random::<[u8; 16]>());
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    match kind {
        Kind::Spdy => {
            headers.insert(UPGRADE, HeaderValue::from_static(spdy::PROTOCOL));
            for protocol in protocols {
                headers.append(STREAM_PROTOCOL, HeaderValue::from_str(protocol).map_err(|err| Error::Upgrade(err.to_string()))?);
            }
        }
        Kind::WebSocket => {
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_str(&key).map_err(|err| Error::Upgrade(err.to_string()))?);
            if !protocols.is_empty() {
                let list = HeaderValue::from_str(&protocols.join(", ")).map_err(|err| Error::Upgrade(err.to_string()))?;
                headers.insert(SEC_WEBSOCKET_PROTOCOL, list);
            }
            *request.method_mut() = Method::GET;
        }
    }
    let response = exchange(io, request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let code = response.status().as_u16();
        return Err(Error::Refused { code, body: String::from_utf8_lossy(&body(response).await).trim_end().to_owned() });
    }
    let headers = response.headers();
    if requested(headers) != Some(kind) {
        return Err(Error::Upgrade("missing upgrade headers in response".to_owned()));
    }
    let name = if kind == Kind::Spdy { STREAM_PROTOCOL } else { SEC_WEBSOCKET_PROTOCOL };
    let protocol = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().trim().to_owned();
    if !protocol.is_empty() && !protocols.contains(&protocol.as_str()) {
        return Err(Error::Upgrade(format!("server chose protocol {protocol:?}, which was not offered")));
    }
    if kind == Kind::WebSocket && headers.get(SEC_WEBSOCKET_ACCEPT) != Some(&accept_key(key.as_bytes())) {
        return Err(Error::Upgrade("the server's Sec-WebSocket-Accept does not fit our key".to_owned()));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(|err| Error::Upgrade(err.to_string()))?;
    Ok(Upgraded { io: Box::new(TokioIo::new(upgraded)), protocol })
}

/// Sends one request on a fresh connection.
pub(crate) async fn exchange(io: BoxIo, mut request: Request<()>) -> Result<Response<hyper::body::Incoming>, Error> {
    let failed = |err: hyper::Error| Error::Upgrade(err.to_string());
    if !request.headers().contains_key(HOST) {
        let host = request.uri().authority().map_or("localhost", |authority| authority.as_str()).to_owned();
        request.headers_mut().insert(HOST, HeaderValue::from_str(&host).map_err(|err| Error::Upgrade(err.to_string()))?);
    }
    // Origin form: this is a connection to the server itself, not to a forward proxy.
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).parse();
    *request.uri_mut() = path.map_err(|err| Error::Upgrade(format!("cannot use URI: {err}")))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.map_err(failed)?;
    // Ends with the exchange: with the answer's body, or when the upgrade takes the socket over.
    tokio::spawn(connection.with_upgrades());
    sender.send_request(request.map(|()| Empty::<Bytes>::new())).await.map_err(failed)
}

/// The start of an answer's body.
pub(crate) async fn body(response: Response<hyper::body::Incoming>) -> Bytes {
    Limited::new(response.into_body(), MAX_REFUSAL).collect().await.map(|body| body.to_bytes()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn upgrades_are_told_apart() {
        for (connection, upgrade, expected) in [
            ("Upgrade", "SPDY/3.1", Some(Kind::Spdy)),
            ("keep-alive, Upgrade", "websocket", Some(Kind::WebSocket)),
            ("upgrade", "WebSocket", Some(Kind::WebSocket)),
            ("close", "websocket", None),
            ("Upgrade", "h2c", None),
        ] {
            assert_eq!(requested(&headers(&[("connection", connection), ("upgrade", upgrade)])), expected, "{connection} {upgrade}");
        }
    }

    #[test]
    fn the_accept_key_is_that_of_the_rfc() {
        assert_eq!(accept_key(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn the_clients_preference_decides() {
        assert_eq!(negotiate_spdy(&["v9", "v3", "v4"], &["v4", "v3"]), Ok("v3".to_owned()));
        let refusal = negotiate_spdy(&["v9"], &["v4", "v3"]).unwrap_err();
        assert_eq!((refusal.status, refusal.accepted.len()), (StatusCode::FORBIDDEN, 2));
        assert_eq!(negotiate_websocket(&[], &["", "v4"]), Ok(String::new()));
        assert_eq!(negotiate_websocket(&[], &["v5"]).unwrap_err().status, StatusCode::FORBIDDEN);
    }
}
