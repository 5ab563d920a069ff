//! What form an answer takes: media type, and whether it is the object, its metadata or a Table. Upstream: apiserver/pkg/endpoints/handlers/negotiation.

use apimachinery::status::{StatusError, reason};
use http::HeaderMap;
use http::header::ACCEPT;

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    /// Asked for with `pretty=true`.
    PrettyJson,
    Yaml,
    Protobuf,
}

impl Format {
    pub fn media_type(self) -> &'static str {
        match self {
            Format::Json | Format::PrettyJson => "application/json",
            Format::Yaml => "application/yaml",
            Format::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }
}

/// What is written of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Object,
    /// `as=Table` of meta.k8s.io/v1 or v1beta1.
    Table {
        v1: bool,
    },
    /// `as=PartialObjectMetadata` or its list.
    Metadata {
        v1: bool,
    },
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output {
    pub format: Format,
    pub shape: Shape,
    /// The client asked for `stream=watch` by name.
    pub stream: bool,
}

impl Output {
    /// What errors are sent as when nothing else is known.
    pub const JSON: Output = Output { format: Format::Json, shape: Shape::Object, stream: false };
}

/// What the handler can answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Objects, lists: any format; tables and metadata too.
    Objects { list: bool },
    /// A stream of events.
    Watch,
    /// Any format, but no other shape than the object itself.
    Plain,
}

struct Clause<'a> {
    media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut found: Vec<Clause<'_>> = accept
        .split(',')
        .map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default();
            let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
            let quality = parameters.iter().find(|(name, _)| *name == "q").and_then(|(_, value)| value.parse().ok()).unwrap_or(1.0);
            Clause { media_type, parameters, quality }
        })
        .filter(|clause| !clause.media_type.is_empty())
        .collect();
    // Stable: of equal ones the first wins.
    found.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    found
}

/// Chooses the answer's form from the Accept header. 406 if nothing fits.
pub fn negotiate(headers: &HeaderMap, pretty: bool, offer: Offer) -> Result<Output, StatusError> {
    let json = if pretty { Format::PrettyJson } else { Format::Json };
    let accept: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let accept = accept.join(",");
    if accept.is_empty() {
        return Ok(Output { format: json, shape: Shape::Object, stream: false });
    }
    for clause in clauses(&accept) {
        let format = match clause.media_type {
            "*/*" | "application/*" | "application/json" => json,
            "application/yaml" if offer != Offer::Watch => Format::Yaml,
            "application/vnd.kubernetes.protobuf" => Format::Protobuf,
            _ => continue,
        };
        if let Some((shape, stream)) = accepted(&clause, offer) {
            return Ok(Output { format, shape, stream });
        }
    }
    Err(not_acceptable(offer))
}

fn accepted(clause: &Clause<'_>, offer: Offer) -> Option<(Shape, bool)> {
    let get = |wanted: &str| clause.parameters.iter().find(|(name, _)| *name == wanted).map_or("", |(_, value)| *value);
    let stream = match get("stream") {
        "" => false,
        "watch" if offer == Offer::Watch => true,
        _ => return None,
    };
    let v1 = match (get("g"), get("v")) {
        ("", "") if get("as").is_empty() => return Some((Shape::Object, stream)),
        ("meta.k8s.io", "v1") => true,
        ("meta.k8s.io", "v1beta1") => false,
        _ => return None,
    };
    let shape = match (get("as"), offer) {
        (_, Offer::Plain) => return None,
        ("Table", _) => Shape::Table { v1 },
        ("PartialObjectMetadata", Offer::Objects { list: false } | Offer::Watch) => Shape::Metadata { v1 },
        ("PartialObjectMetadataList", Offer::Objects { list: true }) => Shape::Metadata { v1 },
        _ => return None,
    };
    Some((shape, stream))
}

fn not_acceptable(offer: Offer) -> StatusError {
    let types = match offer {
        Offer::Watch => "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch",
        _ => "application/json, application/yaml, application/vnd.kubernetes.protobuf",
    };
    StatusError::new(406, reason::NOT_ACCEPTABLE, format!("only the following media types are accepted: {types}"))
}

/// The format of a Status: the first acceptable one of the request, whatever shape it asks for.
pub fn error_format(headers: &HeaderMap) -> Format {
    for accept in headers.get_all(ACCEPT) {
        for clause in clauses(accept.to_str().unwrap_or_default()) {
            match clause.media_type {
                "application/json" | "*/*" | "application/*" => return Format::Json,
                "application/yaml" => return Format::Yaml,
                "application/vnd.kubernetes.protobuf" => return Format::Protobuf,
                _ => {}
            }
        }
    }
    Format::Json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_clause_that_fits_wins() {
        let lists = Offer::Objects { list: true };
        for (accept, offer, wanted) in [
            ("", lists, Some((Format::Json, Shape::Object))),
            ("*/*", lists, Some((Format::Json, Shape::Object))),
            ("text/html, application/yaml", lists, Some((Format::Yaml, Shape::Object))),
            ("application/json;q=0.5, application/vnd.kubernetes.protobuf", lists, Some((Format::Protobuf, Shape::Object))),
            ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", lists, Some((Format::Json, Shape::Table { v1: true }))),
            ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", lists, Some((Format::Json, Shape::Object))),
            ("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", lists, None),
            ("application/yaml", Offer::Watch, None),
            ("application/json;stream=watch", Offer::Watch, Some((Format::Json, Shape::Object))),
            ("text/html", lists, None),
        ] {
            let mut headers = HeaderMap::new();
            if !accept.is_empty() {
                headers.insert(ACCEPT, accept.parse().unwrap());
            }
            let found = negotiate(&headers, false, offer).ok().map(|output| (output.format, output.shape));
            assert_eq!(found, wanted, "{accept}");
        }
    }
}
