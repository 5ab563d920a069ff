//! Answers: objects, lists and Statuses in the form that was negotiated.

use apimachinery::json::JsonWriter;
use apimachinery::meta::v1::{ListMeta, StatusCause, StatusDetails};
use apimachinery::proto::{self, ProtoWriter};
use apimachinery::status::StatusError;
use apimachinery::wire::Message;
use apimachinery::{Object, Value};
use bytes::{BufMut, Bytes, BytesMut};
use component_base::http::{Response, full};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{HeaderName, StatusCode};

use super::negotiate::Format;

/// Every answer that is not meant for caches says so.
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache, private");

/// An answer of encoded bytes.
pub fn bytes(status: StatusCode, format: Format, body: impl Into<Bytes>) -> Response {
    typed(status, HeaderValue::from_static(format.media_type()), body)
}

/// An answer of another media type.
pub fn typed(status: StatusCode, media_type: HeaderValue, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response.headers_mut().insert(CACHE_CONTROL, NO_CACHE);
    response
}

/// A text answer, as `http.Error` of Go writes it.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response {
    let mut response = typed(status, HeaderValue::from_static("text/plain; charset=utf-8"), body);
    response.headers_mut().insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    response
}

/// `404 page not found`.
pub fn page_not_found() -> Response {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// JSON (no kind needed) in the format that was asked for; a JSON text becomes YAML or is indented.
pub fn json_as(status: StatusCode, format: Format, json: Vec<u8>) -> Response {
    match format {
        Format::Json | Format::Protobuf => bytes(status, Format::Json, json),
        Format::PrettyJson | Format::Yaml => match Value::parse(&json) {
            Ok(value) => value_as(status, format, &value),
            Err(_) => bytes(status, Format::Json, json),
        },
    }
}

fn value_as(status: StatusCode, format: Format, value: &Value) -> Response {
    let body = match format {
        Format::Json | Format::Protobuf => {
            let mut json = value.to_vec();
            json.push(b'\n');
            json
        }
        Format::PrettyJson => value.to_vec_indented("  "),
        Format::Yaml => apimachinery::yaml::to_string(value).into_bytes(),
    };
    bytes(status, format, body)
}

/// The document of one object: its body (without kind and apiVersion) wrapped.
pub fn object_document(format: Format, kind: &str, api_version: &str, body: &Bytes) -> Bytes {
    match format {
        Format::Protobuf => Bytes::from(proto::encode_envelope(api_version, kind, body)),
        Format::Json => {
            let mut json = BytesMut::with_capacity(body.len() + kind.len() + api_version.len() + 32);
            put_typed_json(&mut json, kind, api_version, body);
            json.put_u8(b'\n');
            json.freeze()
        }
        Format::PrettyJson | Format::Yaml => {
            let mut json = BytesMut::new();
            put_typed_json(&mut json, kind, api_version, body);
            match Value::parse(&json) {
                Ok(value) if format == Format::Yaml => Bytes::from(apimachinery::yaml::to_string(&value)),
                Ok(value) => Bytes::from(value.to_vec_indented("  ")),
                Err(_) => json.freeze(),
            }
        }
    }
}

/// `{"kind":...,"apiVersion":...,` and the rest of the body.
pub fn put_typed_json(out: &mut BytesMut, kind: &str, api_version: &str, body: &[u8]) {
    out.put_slice(b"{\"kind\":\"");
    out.put_slice(kind.as_bytes());
    out.put_slice(b"\",\"apiVersion\":\"");
    out.put_slice(api_version.as_bytes());
    out.put_u8(b'"');
    if body.len() > 2 {
        out.put_u8(b',');
    }
    out.put_slice(body.get(1..).unwrap_or(b"}"));
}

/// The document of a list of bodies.
pub fn list_document(format: Format, kind: &str, api_version: &str, meta: &ListMeta, items: &[Bytes]) -> Bytes {
    let size: usize = items.iter().map(|item| item.len() + 8).sum();
    match format {
        Format::Protobuf => {
            let mut raw = ProtoWriter::with_capacity(size + 128);
            for item in items.iter().rev() {
                raw.bytes_field(2, item);
            }
            raw.message_field(1, |writer| meta.proto_write_fields(writer));
            Bytes::from(proto::encode_envelope(api_version, kind, &raw.into_vec()))
        }
        Format::Json => {
            let mut json = BytesMut::with_capacity(size + 256);
            put_list_json(&mut json, kind, api_version, meta, items);
            json.put_u8(b'\n');
            json.freeze()
        }
        Format::PrettyJson | Format::Yaml => {
            let mut json = BytesMut::with_capacity(size + 256);
            put_list_json(&mut json, kind, api_version, meta, items);
            match Value::parse(&json) {
                Ok(value) if format == Format::Yaml => Bytes::from(apimachinery::yaml::to_string(&value)),
                Ok(value) => Bytes::from(value.to_vec_indented("  ")),
                Err(_) => json.freeze(),
            }
        }
    }
}

fn put_list_json(out: &mut BytesMut, kind: &str, api_version: &str, meta: &ListMeta, items: &[Bytes]) {
    out.put_slice(b"{\"kind\":\"");
    out.put_slice(kind.as_bytes());
    out.put_slice(b"\",\"apiVersion\":\"");
    out.put_slice(api_version.as_bytes());
    out.put_slice(b"\",\"metadata\":");
    out.put_slice(&apimachinery::json::part_to_vec(meta));
    out.put_slice(b",\"items\":[");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        out.put_slice(item);
    }
    out.put_slice(b"]}");
}

/// Any object as it is, in its own version.
pub fn object(status: StatusCode, format: Format, object: &dyn Object) -> Response {
    let api_version = object.api_version();
    match format {
        Format::Protobuf => bytes(status, format, object.to_proto_envelope()),
        _ => {
            let mut writer = JsonWriter::new();
            writer.set_type(object.kind(), &api_version);
            object.write_json(&mut writer);
            let mut json = writer.into_vec();
            json.push(b'\n');
            json_as(status, format, json)
        }
    }
}

/// A failed request.
pub fn error(format: Format, error: &StatusError) -> Response {
    let status = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = match format {
        Format::Protobuf => bytes(status, format, error_proto(error)),
        format => value_as(status, format, &error.to_value()),
    };
    if let Some(seconds) = error.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A failure as enveloped protobuf.
pub fn error_proto(error: &StatusError) -> Vec<u8> {
    let status = apimachinery::meta::v1::Status {
        status: "Failure".to_owned(),
        message: error.message.clone(),
        reason: error.reason.clone(),
        code: i32::from(error.code),
        details: error.details.as_ref().map(|details| {
            Box::new(StatusDetails {
                name: details.name.clone(),
                group: details.group.clone(),
                kind: details.kind.clone(),
                uid: details.uid.clone(),
                causes: details
                    .causes
                    .iter()
                    .map(|cause| StatusCause { reason: cause.reason.clone(), message: cause.message.clone(), field: cause.field.clone() })
                    .collect(),
                retry_after_seconds: details.retry_after_seconds,
            })
        }),
        ..Default::default()
    };
    proto::encode_envelope("v1", "Status", &proto::to_vec(&status))
}

/// `{"kind":"Status","status":"Success"}`, with details where the deletion of an object is told.
pub fn success(status: StatusCode, format: Format, details: Option<StatusDetails>) -> Response {
    let has_code = details.is_none();
    let answer = apimachinery::meta::v1::Status {
        status: "Success".to_owned(),
        code: if has_code { i32::from(status.as_u16()) } else { 0 },
        details: details.map(Box::new),
        ..Default::default()
    };
    match format {
        Format::Protobuf => bytes(status, format, proto::encode_envelope("v1", "Status", &proto::to_vec(&answer))),
        format => {
            let mut json = apimachinery::json::to_vec(&answer);
            json.push(b'\n');
            json_as(status, format, json)
        }
    }
}
