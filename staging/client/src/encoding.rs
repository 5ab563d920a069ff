//! Bodies: JSON or protobuf by media type, and the Status that may stand in for any answer.

use apimachinery::meta::v1::Status;
use apimachinery::proto::{MAGIC, decode_envelope, encode_envelope};
use apimachinery::status::{StatusCause, StatusDetails};
use apimachinery::wire::{Kind, api_version};
use apimachinery::{StatusError, Value, json, proto};

use crate::error::{BoxError, Error};

pub(crate) const JSON: &str = "application/json";
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// The media type and bytes of `object`.
pub(crate) fn encode<K: Kind>(object: &K, protobuf: bool) -> (&'static str, Vec<u8>) {
    match protobuf {
        true => (PROTOBUF, encode_envelope(&api_version::<K>(), K::KIND, &proto::to_vec(object))),
        false => (JSON, json::to_vec(object)),
    }
}

/// Reads an object. What it is encoded in shows in its first bytes, which cannot lie as a header can.
pub(crate) fn decode<K: Kind>(body: &[u8]) -> Result<K, Error> {
    decode_any(body).map_err(|source| Error::Decode { kind: K::KIND.to_string(), source })
}

fn decode_any<K: Kind>(body: &[u8]) -> Result<K, BoxError> {
    if body.starts_with(MAGIC) {
        return Ok(proto::from_slice(decode_envelope(body)?.raw)?);
    }
    Ok(json::from_slice(body)?)
}

pub(crate) fn decode_value(body: &[u8]) -> Result<Value, Error> {
    Value::parse(body).map_err(|source| Error::Decode { kind: "object".into(), source: source.into() })
}

/// The `Status` in a body, success or failure, if it is one.
pub(crate) fn status(body: &[u8]) -> Option<Status> {
    if body.starts_with(MAGIC) {
        let envelope = decode_envelope(body).ok()?;
        return if envelope.kind == Status::KIND { proto::from_slice(envelope.raw).ok() } else { None };
    }
    let status: Status = json::from_slice(body).ok()?;
    (status.type_meta.kind == Status::KIND).then_some(status)
}

/// The failure in a body.
pub(crate) fn status_error(body: &[u8]) -> Option<StatusError> {
    status(body).filter(|status| status.status != "Success").map(error_of)
}

pub(crate) fn error_of(status: Status) -> StatusError {
    let mut error = StatusError::new(u16::try_from(status.code).unwrap_or(500), &status.reason, status.message);
    if let Some(details) = status.details {
        let causes = details.causes.into_iter();
        error = error.with_details(StatusDetails {
            name: details.name,
            group: details.group,
            kind: details.kind,
            uid: details.uid,
            causes: causes.map(|cause| StatusCause { reason: cause.reason, message: cause.message, field: cause.field }).collect(),
            retry_after_seconds: details.retry_after_seconds,
        });
    }
    error
}
