//! OpenAPI: the shape of every served object, for clients that check, explain or patch by it. Upstream: kube-openapi.
//!
//! Documents are made from the schemas of the generated types and the table of what is served, when they are first asked for. They carry no
//! descriptions.

mod definitions;
mod operations;

use std::collections::HashMap;
use std::sync::OnceLock;

use apimachinery::Value;
use apimachinery::status::{StatusError, reason};
use apimachinery::value::Object;
use bytes::Bytes;
use component_base::http::{Request, Response};
use http::header::{ACCEPT, CACHE_CONTROL, ETAG, EXPIRES, HeaderValue, IF_NONE_MATCH, LOCATION, VARY};
use http::{Method, StatusCode};

use crate::handlers::query::Query;
use crate::handlers::respond;
use crate::server::Resources;

/// Which OpenAPI is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    V2,
    V3,
}

impl Dialect {
    fn reference(self, name: &str) -> Value {
        let place = match self {
            Dialect::V2 => "definitions",
            Dialect::V3 => "components/schemas",
        };
        let mut object = Object::new();
        object.insert("$ref", format!("#/{place}/{name}"));
        object.into()
    }
}

/// The documents, made when they are first asked for.
#[derive(Debug)]
pub(crate) struct OpenApi {
    /// `api/v1`, `apis/apps/v1`: their tags, and their documents.
    versions: HashMap<String, (String, OnceLock<Bytes>)>,
    index: Bytes,
    v2: OnceLock<(Bytes, HeaderValue)>,
}

impl OpenApi {
    /// For these resources.
    pub fn new(resources: &Resources) -> OpenApi {
        let mut versions = HashMap::new();
        for (group, served) in resources.groups() {
            for version in served {
                let path = match group.name {
                    "" => format!("api/{version}"),
                    name => format!("apis/{name}/{version}"),
                };
                // The content hangs on nothing but the build and what is served.
                let mut seed = format!("{} {path}", component_base::version::GIT_VERSION);
                for endpoint in resources.of_version(group.name, version) {
                    seed += &format!(" {}", endpoint.facts.resource);
                    for (name, _) in &endpoint.kind.def.subresources {
                        seed += &format!("/{name}");
                    }
                }
                versions.insert(path, (digest(seed.as_bytes()), OnceLock::new()));
            }
        }
        let mut paths = Object::new();
        let mut names: Vec<&String> = versions.keys().collect();
        names.sort();
        for path in names {
            let mut entry = Object::new();
            entry.insert("serverRelativeURL", format!("/openapi/v3/{path}?hash={}", versions[path].0));
            paths.insert(path.as_str(), entry);
        }
        let mut index = Object::new();
        index.insert("paths", paths);
        OpenApi { versions, index: Bytes::from(Value::from(index).to_vec()), v2: OnceLock::new() }
    }

    /// Answers paths below `/openapi`.
    pub fn answer(&self, request: &Request, resources: &Resources) -> Option<Result<Response, StatusError>> {
        let path = request.uri().path();
        if request.method() != Method::GET && path.starts_with("/openapi/v") {
            return Some(Err(crate::handlers::method_not_allowed()));
        }
        match path {
            "/openapi/v2" => Some(self.second(request, resources)),
            "/openapi/v3" | "/openapi/v3/" => {
                // The index is sent as text upstream, and clients have come to live with it.
                Some(Ok(respond::typed(StatusCode::OK, HeaderValue::from_static("text/plain; charset=utf-8"), self.index.clone())))
            }
            _ => self.third(path.strip_prefix("/openapi/v3/")?, request, resources),
        }
    }

    fn third(&self, path: &str, request: &Request, resources: &Resources) -> Option<Result<Response, StatusError>> {
        let (tag, document) = self.versions.get(path)?;
        if let Some(refusal) = protobuf_only(request) {
            return Some(Err(refusal));
        }
        let query = Query::parse(request.uri().query());
        let asked = query.get("hash");
        if !asked.is_empty() && asked != tag {
            let mut response = Response::new(component_base::http::empty());
            *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
            if let Ok(location) = HeaderValue::try_from(format!("/openapi/v3/{path}?hash={tag}")) {
                response.headers_mut().insert(LOCATION, location);
            }
            return Some(Ok(response));
        }
        let (group, version) = match path.split('/').collect::<Vec<_>>()[..] {
            ["api", version] => ("", version),
            ["apis", group, version] => (group, version),
            _ => return None,
        };
        let body = document.get_or_init(|| Bytes::from(document_v3(resources, group, version).to_vec()));
        let etag = HeaderValue::try_from(format!("\"{tag}\"")).expect("hex digits and quotes can stand in a header");
        let mut response = conditional(request, body, &etag);
        if !asked.is_empty() {
            // The address changes with the content.
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
            response.headers_mut().insert(EXPIRES, HeaderValue::from_static("Fri, 31 Dec 2099 23:59:59 GMT"));
        }
        Some(Ok(response))
    }

    fn second(&self, request: &Request, resources: &Resources) -> Result<Response, StatusError> {
        if let Some(refusal) = protobuf_only(request) {
            return Err(refusal);
        }
        let (body, etag) = self.v2.get_or_init(|| {
            let body = Bytes::from(document_v2(resources).to_vec());
            let etag = HeaderValue::try_from(format!("\"{}\"", digest(&body))).expect("hex digits and quotes can stand in a header");
            (body, etag)
        });
        Ok(conditional(request, body, etag))
    }
}

/// 406 for clients that take nothing but protobuf, which is not written here; they fall back to JSON.
fn protobuf_only(request: &Request) -> Option<StatusError> {
    let accept: Vec<&str> = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let accept = accept.join(",");
    let json = accept.is_empty()
        || accept
            .split(',')
            .any(|clause| matches!(clause.split(';').next().unwrap_or("").trim(), "application/json" | "application/*" | "*/*"));
    (!json).then(|| StatusError::new(406, reason::NOT_ACCEPTABLE, "only the following media types are accepted: application/json"))
}

fn conditional(request: &Request, body: &Bytes, etag: &HeaderValue) -> Response {
    let mut response = if request.headers().get(IF_NONE_MATCH) == Some(etag) {
        let mut response = Response::new(component_base::http::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        respond::typed(StatusCode::OK, HeaderValue::from_static("application/json"), body.clone())
    };
    response.headers_mut().insert(ETAG, etag.clone());
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    response
}

fn digest(data: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, data);
    digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect()
}

fn info() -> Object {
    let mut info = Object::new();
    info.insert("title", "Kubernetes");
    info.insert("version", component_base::version::GIT_VERSION);
    info
}

/// The document of one group version.
fn document_v3(resources: &Resources, group: &str, version: &str) -> Value {
    let endpoints = resources.of_version(group, version);
    let schemas = definitions::of(&endpoints, Dialect::V3, &[(group, version)]);
    let mut scheme = Object::new();
    scheme.insert("type", "apiKey");
    scheme.insert("name", "authorization");
    scheme.insert("in", "header");
    let mut security = Object::new();
    security.insert("BearerToken", scheme);
    let mut components = Object::new();
    components.insert("schemas", schemas);
    components.insert("securitySchemes", security);
    let mut document = Object::new();
    document.insert("openapi", "3.0.0");
    document.insert("info", info());
    document.insert("paths", operations::paths(&endpoints, Dialect::V3));
    document.insert("components", components);
    document.into()
}

/// The document of everything.
fn document_v2(resources: &Resources) -> Value {
    let mut paths = Object::new();
    let mut all = Vec::new();
    let mut versions = Vec::new();
    for (group, served) in resources.groups() {
        for version in served {
            let endpoints = resources.of_version(group.name, version);
            paths.extend(operations::paths(&endpoints, Dialect::V2));
            all.extend(endpoints);
            versions.push((group.name, version));
        }
    }
    let mut document = Object::new();
    document.insert("swagger", "2.0");
    document.insert("info", info());
    document.insert("paths", paths);
    document.insert("definitions", definitions::of(&all, Dialect::V2, &versions));
    document.into()
}
