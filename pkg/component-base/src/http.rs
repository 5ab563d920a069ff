//! Bodies, requests, responses and handlers: the types that every server of the project speaks.
//!
//! A request body is boxed as a response body is, so that a handler can be called in a test without a socket.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderName, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use tokio::sync::mpsc;

/// Any error that crosses an HTTP body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// The one body type, for requests and responses.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;
/// A request as a [`Handler`] gets it. `hyper::upgrade::on` works on it.
pub type Request = http::Request<Body>;
/// What a [`Handler`] answers.
pub type Response = http::Response<Body>;
/// A boxed future that may move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// Answers every request of a server. Shared by all its connections.
pub type Handler = Arc<dyn Fn(Request) -> BoxFuture<Response> + Send + Sync>;

/// Makes a [`Handler`] of an async function.
pub fn handler<F, R>(answer: F) -> Handler
where
    F: Fn(Request) -> R + Send + Sync + 'static,
    R: Future<Output = Response> + Send + 'static,
{
    Arc::new(move |request| Box::pin(answer(request)))
}

/// The client's address, among the extensions of every request that came over a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteAddr(pub SocketAddr);

/// The address the request arrived at, among the extensions of every request that came over a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAddr(pub SocketAddr);

/// A body that is in memory already.
pub fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).map_err(|never| match never {}).boxed_unsync()
}

/// No body.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// A body made of chunks as they come; an error breaks the response off.
pub fn stream<S>(chunks: S) -> Body
where
    S: Stream<Item = Result<Bytes, BoxError>> + Send + 'static,
{
    StreamBody::new(chunks.map(|chunk| chunk.map(Frame::data))).boxed_unsync()
}

/// A body fed by another task. `capacity` chunks may wait; the sender fails once the reader has gone away.
pub fn channel(capacity: usize) -> (mpsc::Sender<Result<Bytes, BoxError>>, Body) {
    let (sender, receiver) = mpsc::channel(capacity);
    (sender, ChannelBody { receiver }.boxed_unsync())
}

struct ChannelBody {
    receiver: mpsc::Receiver<Result<Bytes, BoxError>>,
}

impl http_body::Body for ChannelBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.receiver.poll_recv(context).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }
}

/// Why a body could not be read whole.
#[derive(Debug)]
pub enum ReadError {
    /// The body is longer than the limit, in bytes.
    TooLarge(usize),
    /// The connection broke.
    Broken(BoxError),
}

impl fmt::Display for ReadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::TooLarge(limit) => write!(out, "limit is {limit}"),
            ReadError::Broken(_) => out.write_str("cannot read the body"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ReadError::TooLarge(_) => None,
            ReadError::Broken(cause) => Some(cause.as_ref()),
        }
    }
}

/// Reads a body to its end, or fails as soon as it is known to be longer than `limit` bytes.
pub async fn read_all<B>(mut body: B, limit: usize) -> Result<Bytes, ReadError>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    if body.size_hint().lower() > limit as u64 {
        return Err(ReadError::TooLarge(limit));
    }
    let mut first: Option<Bytes> = None;
    let mut joined: Vec<u8> = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|cause| ReadError::Broken(cause.into()))?;
        let Ok(chunk) = frame.into_data() else { continue };
        length += chunk.len();
        if length > limit {
            return Err(ReadError::TooLarge(limit));
        }
        match &first {
            None => first = Some(chunk),
            Some(start) => {
                if joined.is_empty() {
                    joined.extend_from_slice(start);
                }
                joined.extend_from_slice(&chunk);
            }
        }
    }
    Ok(if joined.is_empty() { first.unwrap_or_default() } else { Bytes::from(joined) })
}

/// A plain-text response, with the headers upstream sends along.
pub fn text(status: StatusCode, content: impl Into<Bytes>) -> Response {
    let mut response = with_type(status, "text/plain; charset=utf-8", content);
    response.headers_mut().insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    response
}

/// A JSON response from bytes that are JSON already.
pub fn json(status: StatusCode, content: impl Into<Bytes>) -> Response {
    with_type(status, "application/json", content)
}

/// A response of the given media type.
pub fn with_type(status: StatusCode, media_type: &'static str, content: impl Into<Bytes>) -> Response {
    let mut response = Response::new(full(content));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// One parameter of a query string, percent-decoded; `Some("")` for a bare name.
pub fn query_value(query: Option<&str>, name: &str) -> Option<String> {
    query_pairs(query).find(|(key, _)| key == name).map(|(_, value)| value)
}

/// All values of one parameter of a query string, percent-decoded.
pub fn query_values(query: Option<&str>, name: &str) -> Vec<String> {
    query_pairs(query).filter(|(key, _)| key == name).map(|(_, value)| value).collect()
}

fn query_pairs(query: Option<&str>) -> impl Iterator<Item = (String, String)> + '_ {
    query.unwrap_or("").split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (unescape(key), unescape(value))
    })
}

/// Undoes percent and plus escapes; what is no valid escape stays as it is.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let hex = |at: usize| bytes.get(at).and_then(|byte| (*byte as char).to_digit(16));
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                plain.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', _, _) => plain.push(b' '),
            (byte, _, _) => plain.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_parameters_are_unescaped() {
        let query = Some("verbose&exclude=a%2Fb&exclude=c+d&bad=%zz");
        assert_eq!(query_value(query, "verbose").as_deref(), Some(""));
        assert_eq!(query_values(query, "exclude"), ["a/b", "c d"]);
        assert_eq!(query_value(query, "bad").as_deref(), Some("%zz"));
        assert_eq!(query_value(None, "verbose"), None);
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        let (sender, body) = channel(4);
        for chunk in ["ab", "cd", "e"] {
            sender.send(Ok(Bytes::from(chunk))).await.unwrap();
        }
        drop(sender);
        assert_eq!(read_all(body, 5).await.unwrap(), "abcde");
        assert!(matches!(read_all(full("abcdef"), 5).await, Err(ReadError::TooLarge(5))));
        assert_eq!(read_all(empty(), 0).await.unwrap(), "");
    }
}
