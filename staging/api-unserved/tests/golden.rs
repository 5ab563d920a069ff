//! Every golden object of upstream decodes from JSON and protobuf and encodes back: protobuf to the same bytes, JSON to the same text.
//!
//! The objects are read from `../shared/golden` beside the project, or from `GOLDEN_DIR`; where neither is there the test says so and passes.

use std::path::PathBuf;

use apimachinery::proto::{decode_envelope, encode_envelope};
use apimachinery::wire::TypeInfo;

fn golden_dir() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/golden");
    std::env::var_os("GOLDEN_DIR").map(PathBuf::from).into_iter().chain([beside]).find(|dir| dir.is_dir())
}

/// `apps.v1.Deployment` -> the kind's entry; a group may have dots of its own.
fn type_of(stem: &str) -> Option<&'static TypeInfo> {
    let mut parts = stem.rsplitn(3, '.');
    let (kind, version, group) = (parts.next()?, parts.next()?, parts.next()?);
    let group = if group == "core" { "" } else { group };
    api::kinds().chain(api_unserved::KINDS).find(|info| info.kind == kind && info.version == version && info.group == group)
}

/// White space outside strings removed; keys stay in order.
fn compact(json: &[u8]) -> String {
    let mut writer = apimachinery::json::JsonWriter::new();
    writer.compacted(json);
    String::from_utf8(writer.into_vec()).unwrap()
}

fn first_difference(a: &str, b: &str) -> String {
    let at = a.bytes().zip(b.bytes()).position(|(x, y)| x != y).unwrap_or(a.len().min(b.len()));
    let from = at.saturating_sub(60);
    format!(
        "ours ...{}\n  want ...{}",
        a.get(from..(at + 60).min(a.len())).unwrap_or(""),
        b.get(from..(at + 60).min(b.len())).unwrap_or("")
    )
}

#[test]
fn golden_objects_survive_both_encodings() {
    let Some(dir) = golden_dir() else {
        println!("skipped: no golden objects beside the project");
        return;
    };
    let mut failures = Vec::new();
    let (mut seen, mut without_metadata) = (0, Vec::new());
    let mut files: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "json")).collect();
    files.sort();
    for path in files {
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let Some(info) = type_of(&stem) else {
            without_metadata.push(stem);
            continue;
        };
        seen += 1;
        let json = std::fs::read(&path).unwrap();
        let proto = std::fs::read(path.with_extension("pb")).unwrap();
        let envelope = decode_envelope(&proto).unwrap();
        let (from_json, notes) = match (info.from_json)(&json, true) {
            Ok(decoded) => decoded,
            Err(err) => {
                failures.push(format!("{stem}: JSON does not decode: {err}"));
                continue;
            }
        };
        if !notes.is_empty() {
            failures.push(format!("{stem}: {notes:?}"));
        }
        let mut from_proto = match (info.from_proto)(envelope.raw) {
            Ok(object) => object,
            Err(err) => {
                failures.push(format!("{stem}: protobuf does not decode: {err}"));
                continue;
            }
        };
        let text = String::from_utf8(from_json.to_json()).unwrap();
        let wanted = compact(&json);
        if text != wanted {
            failures.push(format!("{stem}: JSON differs\n  {}", first_difference(&text, &wanted)));
        }
        let bytes = encode_envelope(envelope.api_version, envelope.kind, &from_proto.to_proto());
        if bytes != proto {
            failures.push(format!("{stem}: protobuf differs: {} bytes for {}", bytes.len(), proto.len()));
        }
        // Raw parts keep the white space they came with, so the comparison starts from the compact text.
        let (from_compact, _) = (info.from_json)(wanted.as_bytes(), false).unwrap();
        if from_compact.to_proto() != envelope.raw {
            failures.push(format!("{stem}: protobuf made from JSON differs"));
        }
        *from_proto.type_meta_mut() = from_json.type_meta().clone();
        if String::from_utf8(from_proto.to_json()).unwrap() != wanted {
            failures.push(format!("{stem}: JSON made from protobuf differs"));
        }
    }
    assert!(failures.is_empty(), "{} of {seen}:\n{}", failures.len(), failures.join("\n"));
    assert!(seen > 150, "only {seen} golden objects were found");
    println!("{seen} golden objects; not kinds with metadata: {without_metadata:?}");
}
