//! A request as a value, and the answer as a stream.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::client::About;
use crate::error::Error;
use crate::transport::{Lease, RequestBody};

/// Largest answer [`Response::bytes`] collects. A LIST of everything in a huge cluster stays below it; a runaway does not.
const MAX_COLLECTED: usize = 4 << 30;

/// One request to the API server. Building it does no I/O and cannot fail; mistakes show when it is sent.
#[derive(Debug)]
pub struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// A body that cannot be sent twice; wins over `body`.
    pub(crate) stream: Option<StreamBody>,
    pub(crate) timeout: Timeout,
    pub(crate) invalid: Option<String>,
    pub(crate) about: About,
}

/// Behind a lock only to be `Sync`: a request is borrowed across awaits.
pub(crate) struct StreamBody(pub(crate) Mutex<RequestBody>);

impl std::fmt::Debug for StreamBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StreamBody")
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Timeout {
    /// The client's own.
    Default,
    None,
    After(Duration),
}

impl Request {
    /// `path` is absolute below the server's URL, already escaped: `/api/v1/nodes`.
    pub fn new(method: Method, path: impl Into<String>) -> Request {
        Request {
            method,
            path: path.into(),
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            stream: None,
            timeout: Timeout::Default,
            invalid: None,
            about: About::default(),
        }
    }

    pub fn get(path: impl Into<String>) -> Request {
        Request::new(Method::GET, path)
    }

    /// Adds a parameter, escaping it.
    pub fn query(mut self, name: &str, value: impl Into<String>) -> Request {
        self.query.push((name.to_string(), value.into()));
        self
    }

    pub fn header(mut self, name: HeaderName, value: &str) -> Request {
        match HeaderValue::from_str(value) {
            Ok(value) => {
                self.headers.append(name, value);
            }
            Err(_) => self.invalid = Some(format!("header {name} holds characters that are not allowed")),
        }
        self
    }

    pub fn accept(self, media_types: &str) -> Request {
        self.header(ACCEPT, media_types)
    }

    pub fn body(self, content_type: &str, body: impl Into<Bytes>) -> Request {
        let mut request = self.header(CONTENT_TYPE, content_type);
        request.body = body.into();
        request
    }

    /// A body sent as it comes. Such a request is never sent twice.
    pub fn body_stream(mut self, body: RequestBody) -> Request {
        self.stream = Some(StreamBody(Mutex::new(body)));
        self
    }

    /// Longest the whole exchange may take, the body included, instead of the client's setting.
    pub fn timeout(mut self, timeout: Duration) -> Request {
        self.timeout = Timeout::After(timeout);
        self
    }

    /// For watches, logs and other answers that end when they end.
    pub fn no_timeout(mut self) -> Request {
        self.timeout = Timeout::None;
        self
    }

    /// Path and query as they go over the wire.
    pub fn path_and_query(&self) -> String {
        let mut text = self.path.clone();
        for (index, (name, value)) in self.query.iter().enumerate() {
            text.push(if index == 0 && !self.path.contains('?') { '?' } else { '&' });
            escape_into(&mut text, name);
            text.push('=');
            escape_into(&mut text, value);
        }
        text
    }
}

/// Escapes one path segment or query value: all but RFC 3986's unreserved characters.
pub(crate) fn escape_into(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
}

/// The head of an answer, with its body still to come.
#[derive(Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: ResponseBody,
}

impl Response {
    pub fn content_type(&self) -> &str {
        self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The whole body.
    pub async fn bytes(mut self) -> Result<Bytes, Error> {
        let Some(first) = self.body.chunk().await? else { return Ok(Bytes::new()) };
        let Some(second) = self.body.chunk().await? else { return Ok(first) };
        let mut all = BytesMut::with_capacity((first.len() + second.len()) * 2);
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while let Some(chunk) = self.body.chunk().await? {
            if all.len() + chunk.len() > MAX_COLLECTED {
                return Err(Error::TooLarge { limit: MAX_COLLECTED });
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }
}

/// A body as it arrives. Dropping it ends the request: over HTTP/2 the stream is reset, over HTTP/1.1 the connection closed.
pub struct ResponseBody {
    incoming: Incoming,
    lease: Lease,
    deadline: Option<(Instant, Duration)>,
}

impl std::fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResponseBody")
    }
}

impl ResponseBody {
    pub(crate) fn new(incoming: Incoming, mut lease: Lease, deadline: Option<(Instant, Duration)>) -> ResponseBody {
        if incoming.is_end_stream() {
            lease.finished();
        }
        ResponseBody { incoming, lease, deadline }
    }

    /// The next piece, or `None` at the end. Cancel-safe.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let frame = match self.deadline {
                None => BodyExt::frame(self).await,
                Some((at, timeout)) => tokio::time::timeout_at(at, BodyExt::frame(self)).await.map_err(|_| Error::Timeout(timeout))?,
            };
            match frame {
                None => return Ok(None),
                Some(Err(err)) => return Err(Error::Http(err)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data()
                        && !data.is_empty()
                    {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        if matches!(polled, Poll::Ready(None)) || (matches!(polled, Poll::Ready(Some(Ok(_)))) && self.incoming.is_end_stream()) {
            self.lease.finished();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.incoming.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped() {
        let request = Request::get("/api/v1/pods").query("labelSelector", "app in (a,b),tier=web").query("limit", "500");
        assert_eq!(request.path_and_query(), "/api/v1/pods?labelSelector=app%20in%20%28a%2Cb%29%2Ctier%3Dweb&limit=500");
        assert_eq!(Request::get("/x?y=1").query("z", "2").path_and_query(), "/x?y=1&z=2");
    }
}
