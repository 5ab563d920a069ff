//! Bodies that nobody read to their end: a connection can only be used again once they are out of the way.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use component_base::http::{Body, BoxError, Request};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;

/// More than this is not read for a connection's sake. Go's number.
const LIMIT: usize = 256 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);

/// Lets the rest of the request's body be read, within limits, if whoever answers leaves it.
pub(super) fn drained(request: Request) -> Request {
    if request.body().is_end_stream() {
        return request;
    }
    request.map(|body| Drained { body: Some(body) }.boxed_unsync())
}

struct Drained {
    /// Taken by the drop.
    body: Option<Body>,
}

impl http_body::Body for Drained {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(http_body::Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        let Some(mut body) = self.body.take().filter(|body| !body.is_end_stream()) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let mut read = 0;
            let rest = async {
                while let Some(Ok(frame)) = body.frame().await {
                    read += frame.data_ref().map_or(0, Bytes::len);
                    if read > LIMIT {
                        return;
                    }
                }
            };
            // What takes longer is cut off with its connection.
            let _ = tokio::time::timeout(PATIENCE, rest).await;
        });
    }
}
