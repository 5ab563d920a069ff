//! Objects as Tables and as PartialObjectMetadata. Upstream: apiserver/pkg/endpoints/handlers/response.go, registry/rest/table.go.

use apimachinery::json::JsonWriter;
use apimachinery::meta::v1::{ListMeta, PartialObjectMetadata, PartialObjectMetadataList, TableColumnDefinition};
use apimachinery::status::StatusError;
use apimachinery::value::Object as Members;
use apimachinery::{Object, Time, Value, proto};
use component_base::http::Response;
use http::StatusCode;

use super::negotiate::{Format, Output, Shape};
use super::{Call, respond};

/// What stands in a row beside its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Include {
    None,
    Metadata,
    Object,
}

/// `includeObject`.
pub(super) fn include(call: &Call) -> Result<Include, StatusError> {
    match call.query.get("includeObject") {
        "" | "Metadata" => Ok(Include::Metadata),
        "None" => Ok(Include::None),
        "Object" => Ok(Include::Object),
        other => {
            let message = format!("unrecognized includeObject value: {}", apimachinery::gotext::quote(other));
            Err(StatusError::bad_request(message))
        }
    }
}

/// One object, not in its own shape.
pub(super) fn one(call: &Call, output: Output, status: StatusCode, object: &dyn Object) -> Result<Response, StatusError> {
    let json = match output.shape {
        Shape::Metadata { v1 } => {
            if output.format == Format::Protobuf {
                let raw = proto::to_vec(&metadata_of(object));
                return Ok(respond::bytes(status, output.format, proto::encode_envelope(meta_version(v1), "PartialObjectMetadata", &raw)));
            }
            metadata_json(object, v1)
        }
        Shape::Table { v1 } => {
            refuse_protobuf(output)?;
            let meta = ListMeta { resource_version: object.metadata().resource_version.clone(), ..ListMeta::default() };
            table(call, v1, &meta, &[object], true)?
        }
        Shape::Object => unreachable!("objects in their own shape are answered from bodies"),
    };
    Ok(respond::json_as(status, output.format, with_newline(json)))
}

/// A list, not in its own shape.
pub(super) fn list(call: &Call, output: Output, meta: &ListMeta, objects: &[Box<dyn Object>]) -> Result<Response, StatusError> {
    let json = match output.shape {
        Shape::Metadata { v1 } => {
            let items: Vec<_> = objects.iter().map(|object| metadata_of(object.as_ref())).collect();
            if output.format == Format::Protobuf {
                let list = PartialObjectMetadataList { metadata: meta.clone(), items: items.into(), ..Default::default() };
                let raw = proto::encode_envelope(meta_version(v1), "PartialObjectMetadataList", &proto::to_vec(&list));
                return Ok(respond::bytes(StatusCode::OK, output.format, raw));
            }
            let mut json =
                format!("{{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"{}\",\"metadata\":", meta_version(v1)).into_bytes();
            json.extend_from_slice(&apimachinery::json::part_to_vec(meta));
            json.extend_from_slice(b",\"items\":[");
            for (index, object) in objects.iter().enumerate() {
                if index > 0 {
                    json.push(b',');
                }
                json.extend_from_slice(&metadata_json(object.as_ref(), v1));
            }
            json.extend_from_slice(b"]}");
            json
        }
        Shape::Table { v1 } => {
            refuse_protobuf(output)?;
            let objects: Vec<&dyn Object> = objects.iter().map(AsRef::as_ref).collect();
            table(call, v1, meta, &objects, true)?
        }
        Shape::Object => unreachable!("lists in their own shape are answered from bodies"),
    };
    Ok(respond::json_as(StatusCode::OK, output.format, with_newline(json)))
}

/// The JSON of one watched object in another shape. Tables name their columns in the first event only.
pub(super) fn event_json(call: &Call, shape: Shape, object: &dyn Object, first: bool) -> Result<Vec<u8>, StatusError> {
    match shape {
        Shape::Metadata { v1 } => Ok(metadata_json(object, v1)),
        Shape::Table { v1 } => {
            let meta = ListMeta { resource_version: object.metadata().resource_version.clone(), ..ListMeta::default() };
            table(call, v1, &meta, &[object], first)
        }
        Shape::Object => unreachable!("objects in their own shape are answered from bodies"),
    }
}

/// A bookmark in another shape: no rows but its own metadata.
pub(super) fn bookmark_json(call: &Call, shape: Shape, object: &dyn Object, first: bool) -> Result<Vec<u8>, StatusError> {
    event_json(call, shape, object, first)
}

fn with_newline(mut json: Vec<u8>) -> Vec<u8> {
    json.push(b'\n');
    json
}

fn meta_version(v1: bool) -> &'static str {
    if v1 { "meta.k8s.io/v1" } else { "meta.k8s.io/v1beta1" }
}

/// Rows hold any JSON: there is no protobuf for them, upstream has none either.
fn refuse_protobuf(output: Output) -> Result<(), StatusError> {
    match output.format {
        Format::Protobuf => Err(StatusError::new(
            406,
            apimachinery::status::reason::NOT_ACCEPTABLE,
            "object *v1.Table does not implement the protobuf marshalling interface and cannot be encoded to a protobuf message",
        )),
        _ => Ok(()),
    }
}

pub(super) fn metadata_of(object: &dyn Object) -> PartialObjectMetadata {
    PartialObjectMetadata { metadata: object.metadata().clone(), ..Default::default() }
}

fn metadata_json(object: &dyn Object, v1: bool) -> Vec<u8> {
    let mut writer = JsonWriter::new();
    writer.set_type("PartialObjectMetadata", meta_version(v1));
    apimachinery::wire::Field::json_write(&metadata_of(object), &mut writer);
    writer.into_vec()
}

fn table(call: &Call, v1: bool, meta: &ListMeta, objects: &[&dyn Object], header: bool) -> Result<Vec<u8>, StatusError> {
    let include = include(call)?;
    let mut json = format!("{{\"kind\":\"Table\",\"apiVersion\":\"{}\",\"metadata\":", meta_version(v1)).into_bytes();
    json.extend_from_slice(&apimachinery::json::part_to_vec(meta));
    json.extend_from_slice(b",\"columnDefinitions\":");
    if header && call.query.opt("noHeaders").is_none() {
        json.extend_from_slice(&columns(call));
    } else {
        json.extend_from_slice(b"null");
    }
    json.extend_from_slice(b",\"rows\":[");
    let now = Time::now();
    for (index, object) in objects.iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        let mut row = Members::new();
        row.insert("cells", cells(call, *object, now));
        Value::from(row).write(&mut json);
        // The object goes in as text: it need not become a tree.
        json.pop();
        match include {
            Include::None => json.extend_from_slice(b",\"object\":null"),
            Include::Metadata => {
                json.extend_from_slice(b",\"object\":");
                json.extend_from_slice(&metadata_json(*object, v1));
            }
            Include::Object => {
                json.extend_from_slice(b",\"object\":");
                let version = &call.kind.versions[call.version];
                let object = call.kind.from_hub(object.clone_object(), call.version);
                let mut writer = JsonWriter::new();
                writer.set_type(version.info.kind, &version.api_version);
                object.write_json(&mut writer);
                json.extend_from_slice(&writer.into_vec());
            }
        }
        json.push(b'}');
    }
    json.extend_from_slice(b"]}");
    Ok(json)
}

fn columns(call: &Call) -> Vec<u8> {
    let mut json = vec![b'['];
    for (index, column) in call.facts.columns().iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        let definition = TableColumnDefinition {
            name: column.name.to_owned(),
            type_: column.kind.to_owned(),
            format: column.format.to_owned(),
            description: description(column.name).to_owned(),
            priority: column.priority,
        };
        json.extend_from_slice(&apimachinery::json::part_to_vec(&definition));
    }
    json.push(b']');
    json
}

fn description(column: &str) -> &'static str {
    match column {
        "Name" => "The object's name, unique in its namespace or in the cluster.",
        "Age" | "Created At" => "When the object was created.",
        _ => "",
    }
}

fn cells(call: &Call, object: &dyn Object, now: Time) -> Value {
    let columns = call.facts.columns();
    if let Some(mut cells) = call.kind.strategy().table_cells(object, now) {
        cells.resize(columns.len(), Value::Null);
        return Value::Array(cells);
    }
    // Nothing but name and time is known of the kind.
    let metadata = object.metadata();
    columns
        .iter()
        .map(|column| match column.name {
            "Name" => Value::from(metadata.name.as_str()),
            "Created At" => Value::from(metadata.creation_timestamp.to_string()),
            "Age" => Value::from(age(metadata.creation_timestamp, now)),
            _ => Value::Null,
        })
        .collect()
}

/// `5s`, `2m10s`, `3h`, `4d2h`: how kubectl shows an age. Upstream: apimachinery/pkg/util/duration.
pub fn age(since: Time, now: Time) -> String {
    if since.is_zero() {
        return "<unknown>".to_owned();
    }
    let seconds = now.seconds_since(since);
    if seconds < 0 {
        return if seconds < -1 { "<invalid>".to_owned() } else { "0s".to_owned() };
    }
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 if seconds % 60 == 0 => format!("{minutes}m"),
        120..600 => format!("{minutes}m{}s", seconds % 60),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 if minutes % 60 == 0 => format!("{hours}h"),
        10_800..28_800 => format!("{hours}h{}m", minutes % 60),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 if hours % 24 == 0 => format!("{days}d"),
        172_800..691_200 => format!("{days}d{}h", hours % 24),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 if days % 365 == 0 => format!("{}y", days / 365),
        63_072_000..252_288_000 => format!("{}y{}d", days / 365, days % 365),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_read_as_kubectls() {
        let start = Time::from_unix(1_000_000_000);
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (660, "11m"),
            (10_800, "3h"),
            (11_000, "3h3m"),
            (30_000, "8h"),
            (180_000, "2d2h"),
            (700_000, "8d"),
            (63_072_000, "2y"),
            (64_000_000, "2y10d"),
        ] {
            assert_eq!(age(start, start.add_seconds(seconds)), text, "{seconds}");
        }
    }
}
