//! Large answers go out compressed to clients that can read that. Upstream: apiserver/pkg/endpoints/handlers/responsewriters/writers.go.

use std::io::Write as _;

use bytes::Bytes;
use component_base::http::{Response, full, read_all};
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HeaderValue, VARY};
use http::{HeaderMap, StatusCode};
use http_body::Body as _;

/// Smaller answers are not worth the work. Upstream's number.
const LEAST: u64 = 128 * 1024;

/// Whether the client can read gzip.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok()).flat_map(|list| list.split(',')).any(|coding| {
        let (name, quality) = coding.split_once(';').unwrap_or((coding, ""));
        name.trim() == "gzip" && quality.trim() != "q=0"
    })
}

/// Compresses an answer that is in memory and large.
pub(super) async fn compress(response: Response) -> Response {
    let large = response.body().size_hint().exact().is_some_and(|size| size > LEAST);
    if !large || response.status() != StatusCode::OK || response.headers().contains_key(CONTENT_ENCODING) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let plain = match read_all(body, usize::MAX).await {
        Ok(plain) => plain,
        Err(error) => {
            tracing::error!(err = %error, "An answer in memory cannot be read");
            Bytes::new()
        }
    };
    // Some ten milliseconds for a megabyte: too long for a thread that serves others.
    let packed = tokio::task::spawn_blocking(move || {
        let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 8), Compression::fast());
        encoder.write_all(&plain).and_then(|()| encoder.finish()).map_err(|_| plain)
    })
    .await;
    match packed {
        Ok(Ok(packed)) => {
            parts.headers.remove(CONTENT_LENGTH);
            parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            parts.headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
            Response::from_parts(parts, full(packed))
        }
        Ok(Err(plain)) => Response::from_parts(parts, full(plain)),
        Err(_) => crate::handlers::respond::text(StatusCode::INTERNAL_SERVER_ERROR, "compression failed\n"),
    }
}
