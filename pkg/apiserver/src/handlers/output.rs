//! An answer's form for one call, and single objects put into it.

use apimachinery::Object;
use apimachinery::status::StatusError;
use bytes::Bytes;
use component_base::http::Response;
use http::StatusCode;

use super::negotiate::{self, Format, Offer, Output, Shape};
use super::{Call, present, respond};
use crate::cache::{Entry, Media};

/// Chooses the form of the answer.
pub(super) fn negotiate(call: &Call, offer: Offer) -> Result<Output, StatusError> {
    negotiate::negotiate(&call.headers, call.query.bool("pretty").unwrap_or_default(), offer)
}

/// The media of cached bodies that a format is made from.
pub(super) fn media(format: Format) -> Media {
    if format == Format::Protobuf { Media::Protobuf } else { Media::Json }
}

/// Answers with an object of the hub version.
pub(super) fn object(call: &Call, output: Output, status: StatusCode, object: Box<dyn Object>) -> Result<Response, StatusError> {
    if output.shape != Shape::Object {
        return present::one(call, output, status, object.as_ref());
    }
    let body = crate::cache::encode_body(&call.kind, object, call.view(media(output.format)));
    Ok(document(call, output, status, &body))
}

/// Answers with a cached object.
pub(super) fn entry(call: &Call, output: Output, entry: &Entry) -> Result<Response, StatusError> {
    if output.shape != Shape::Object {
        return present::one(call, output, StatusCode::OK, entry.object()?.as_ref());
    }
    let body = entry.body(call.view(media(output.format)))?;
    Ok(document(call, output, StatusCode::OK, &body))
}

fn document(call: &Call, output: Output, status: StatusCode, body: &Bytes) -> Response {
    let version = &call.kind.versions[call.version];
    respond::bytes(status, output.format, respond::object_document(output.format, version.info.kind, &version.api_version, body))
}
