//! Bodies of requests as objects. Upstream: apiserver/pkg/endpoints/handlers and runtime/serializer.

use apimachinery::gvk::GroupVersion;
use apimachinery::json::JsonReader;
use apimachinery::proto;
use apimachinery::status::{StatusError, reason};
use apimachinery::wire::{TypeInfo, join_api_version};
use apimachinery::{Object, gotext};
use bytes::Bytes;
use component_base::http::{Body, ReadError, read_all};
use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::query::FieldValidation;
use crate::request::RequestContext;

/// Bytes a body may have. Upstream's number.
const LIMIT: usize = 3 * 1024 * 1024;

/// Bytes of a body that is no protobuf which its refusal shows. Upstream's number.
const SHOWN: usize = 30;

/// Reads a whole body.
pub async fn read_body(body: Body) -> Result<Bytes, StatusError> {
    read_all(body, LIMIT).await.map_err(|error| match error {
        ReadError::TooLarge(limit) => StatusError::request_entity_too_large(&format!("limit is {limit}")),
        ReadError::Broken(cause) => StatusError::bad_request(format!("unable to read the body: {cause}")),
    })
}

/// The media type of a body, without parameters; JSON if there is none.
pub fn content_type(headers: &HeaderMap) -> &str {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let text = text.split(';').next().unwrap_or("").trim();
    if text.is_empty() { "application/json" } else { text }
}

/// Decodes the body of a create or an update.
pub fn decode(
    context: &RequestContext,
    headers: &HeaderMap,
    body: &[u8],
    wanted: &TypeInfo,
    validation: FieldValidation,
) -> Result<Box<dyn Object>, StatusError> {
    let strict = validation != FieldValidation::Ignore;
    let mut complaints = Vec::new();
    let object = match content_type(headers) {
        "application/json" => decode_json(body, wanted, strict, &mut complaints)?,
        "application/yaml" => {
            let parsed = apimachinery::yaml::parse_strict(body)
                .map_err(|error| StatusError::bad_request(format!("error converting YAML to JSON: {error}")))?;
            if strict && let Some(error) = parsed.duplicate_error() {
                complaints.push(error.to_string());
            }
            decode_json(&parsed.value.to_vec(), wanted, strict, &mut complaints)?
        }
        "application/vnd.kubernetes.protobuf" => decode_proto(body, wanted)?,
        _ => {
            return Err(StatusError::new(
                415,
                reason::UNSUPPORTED_MEDIA_TYPE,
                "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, \
                 application/vnd.kubernetes.protobuf",
            ));
        }
    };
    match validation {
        FieldValidation::Strict if !complaints.is_empty() => {
            let why = format!("strict decoding error: {}", complaints.join(", "));
            Err(cannot_handle(wanted.kind, wanted.version, wanted, &why))
        }
        _ => {
            for complaint in complaints {
                context.warn(complaint);
            }
            Ok(object)
        }
    }
}

fn cannot_handle(kind: &str, version: &str, wanted: &TypeInfo, why: &str) -> StatusError {
    let version = gotext::quote(version);
    StatusError::bad_request(format!("{kind} in version {version} cannot be handled as a {}: {why}", wanted.kind))
}

/// Kind and apiVersion of a JSON document, without decoding the rest.
pub fn peek_type(json: &[u8]) -> (String, String) {
    let (mut kind, mut api_version) = (String::new(), String::new());
    let mut reader = JsonReader::new(json);
    // A document that is not even an object is complained about when it is decoded.
    let _ = reader.object("", &mut |reader, key| {
        match key {
            "kind" => kind = reader.string()?.into_owned(),
            "apiVersion" => api_version = reader.string()?.into_owned(),
            _ => return Ok(false),
        }
        Ok(true)
    });
    (kind, api_version)
}

fn decode_json(json: &[u8], wanted: &TypeInfo, strict: bool, complaints: &mut Vec<String>) -> Result<Box<dyn Object>, StatusError> {
    let (kind, api_version) = peek_type(json);
    check_type(&kind, &api_version, wanted)?;
    let (mut object, notes) =
        (wanted.from_json)(json, strict).map_err(|error| cannot_handle(wanted.kind, wanted.version, wanted, &error.to_string()))?;
    complaints.extend(notes);
    *object.type_meta_mut() = Default::default();
    Ok(object)
}

fn decode_proto(body: &[u8], wanted: &TypeInfo) -> Result<Box<dyn Object>, StatusError> {
    let fail = |why: String| cannot_handle(wanted.kind, wanted.version, wanted, &why);
    let unrecognized = |why: String| {
        let message = format!("the object provided is unrecognized (must be of type {}): {why}", wanted.kind);
        StatusError::bad_request(message)
    };
    if body.is_empty() {
        return Err(unrecognized("empty data (<empty>)".to_owned()));
    }
    let envelope = proto::decode_envelope(body).map_err(|error| {
        let start: String = body.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
        unrecognized(format!("{error} ({start}{})", if body.len() > SHOWN { " ..." } else { "" }))
    })?;
    check_type(envelope.kind, envelope.api_version, wanted)?;
    let mut object = (wanted.from_proto)(envelope.raw).map_err(|error| fail(error.to_string()))?;
    *object.type_meta_mut() = Default::default();
    Ok(object)
}

/// A body may leave out its type; if it names one it must be the URL's.
fn check_type(kind: &str, api_version: &str, wanted: &TypeInfo) -> Result<(), StatusError> {
    let expected = join_api_version(wanted.group, wanted.version);
    let kind = if kind.is_empty() { wanted.kind } else { kind };
    let api_version = if api_version.is_empty() { expected.as_str() } else { api_version };
    if kind == wanted.kind && api_version == expected {
        return Ok(());
    }
    let found: GroupVersion = api_version.parse().map_err(|error| StatusError::bad_request(format!("{error}")))?;
    if api::type_info(&found.group, &found.version, kind).is_some() {
        let to = if wanted.group.is_empty() { "core" } else { wanted.group.split('.').next().unwrap_or_default() };
        let why = match kind == wanted.kind && found.group == wanted.group {
            // Another version of the same kind is converted upstream; here it has its own URL.
            true => format!("the API version in the data ({api_version}) does not match the expected API version ({expected})"),
            false => format!("converting ({}.{kind}) to ({to}.{}): unknown conversion", found.version, wanted.kind),
        };
        return Err(cannot_handle(kind, &found.version, wanted, &why));
    }
    let why = format!(
        "no kind {} is registered for version {} in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
        gotext::quote(kind),
        gotext::quote(api_version)
    );
    Err(cannot_handle(kind, &found.version, wanted, &why))
}
