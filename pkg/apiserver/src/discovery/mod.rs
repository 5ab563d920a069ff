//! What is served, told to clients: groups, versions, resources. Upstream: apiserver/pkg/endpoints/discovery.
//!
//! All documents are made once, when the server is built.

mod aggregated;
mod legacy;

use std::collections::HashMap;

use apimachinery::status::StatusError;
use bytes::Bytes;
use component_base::http::{Request, Response};
use http::header::{ACCEPT, CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{HeaderMap, StatusCode};

use crate::handlers::negotiate::{Format, Offer, negotiate};
use crate::handlers::respond;
use crate::server::Resources;

/// The media type of aggregated discovery, as it is answered.
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The documents of discovery.
#[derive(Debug)]
pub struct Discovery {
    /// By path without its final slash.
    documents: HashMap<String, Document>,
    /// `/api` and `/apis`, aggregated.
    aggregated: HashMap<&'static str, (Bytes, HeaderValue)>,
    root: Vec<String>,
}

/// One document in both encodings.
#[derive(Debug)]
struct Document {
    json: Bytes,
    protobuf: Bytes,
}

impl Discovery {
    /// The documents of these resources. `address` is what clients outside reach the server at.
    pub fn new(resources: &Resources, address: &str) -> Discovery {
        let mut documents = HashMap::new();
        documents.insert("/api".to_owned(), legacy::versions(resources, address));
        documents.insert("/apis".to_owned(), legacy::groups(resources));
        let mut root: Vec<String> = ["/.well-known/openid-configuration", "/api", "/apis", "/apis/"].map(str::to_owned).into();
        for (group, versions) in resources.groups() {
            if !group.name.is_empty() {
                let path = format!("/apis/{}", group.name);
                root.push(path.clone());
                documents.insert(path, legacy::group(group, &versions));
            }
            for version in versions {
                let path = match group.name {
                    "" => format!("/api/{version}"),
                    name => format!("/apis/{name}/{version}"),
                };
                root.push(path.clone());
                documents.insert(path, legacy::resources(resources, group.name, version));
            }
        }
        root.extend(
            ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version"].map(str::to_owned),
        );
        root.sort();
        let aggregated = [("/api", true), ("/apis", false)].map(|(path, core)| (path, aggregated::document(resources, core)));
        Discovery { documents, aggregated: aggregated.into(), root }
    }

    /// Answers a path of discovery; 404 for all others.
    pub fn answer(&self, request: &Request, resources: &Resources) -> Result<Response, StatusError> {
        let full = request.uri().path();
        if full.contains("//") {
            return Ok(respond::page_not_found());
        }
        let path = if full.len() > 1 { full.trim_end_matches('/') } else { full };
        if full == "/" {
            let json = apimachinery::json::part_to_vec(&apimachinery::meta::v1::RootPaths { paths: self.root.clone().into() });
            return Ok(respond::bytes(StatusCode::OK, Format::Json, json));
        }
        if let Some((body, etag)) = self.aggregated.get(path)
            && wants_aggregated(request.headers())
        {
            return Ok(aggregated_answer(request.headers(), body, etag));
        }
        if let Some(document) = self.documents.get(path) {
            let output = negotiate(request.headers(), false, Offer::Plain)?;
            return Ok(match output.format {
                Format::Protobuf => respond::bytes(StatusCode::OK, output.format, document.protobuf.clone()),
                format => respond::json_as(StatusCode::OK, format, document.json.to_vec()),
            });
        }
        // A version of a group that exists is missed with a Status, anything else with a page.
        match path.strip_prefix("/apis/").and_then(|rest| rest.split_once('/')) {
            Some((group, _)) if resources.has_group(group) => Err(crate::handlers::no_such_resource()),
            _ if path.starts_with("/api/") => Err(crate::handlers::no_such_resource()),
            _ => Ok(respond::page_not_found()),
        }
    }
}

/// Whether aggregated discovery stands before what every client understands.
fn wants_aggregated(headers: &HeaderMap) -> bool {
    for accept in headers.get_all(ACCEPT) {
        for clause in accept.to_str().unwrap_or_default().split(',') {
            let mut parts = clause.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default();
            let parameters: Vec<&str> = parts.collect();
            let aggregated = ["g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"].iter().all(|wanted| parameters.contains(wanted));
            match media_type {
                "application/json" if aggregated => return true,
                "application/json" | "application/yaml" | "application/vnd.kubernetes.protobuf" | "*/*" if parameters.is_empty() => {
                    return false;
                }
                _ => {}
            }
        }
    }
    false
}

fn aggregated_answer(headers: &HeaderMap, body: &Bytes, etag: &HeaderValue) -> Response {
    let known = headers.get(IF_NONE_MATCH) == Some(etag);
    let mut response = match known {
        true => {
            let mut response = Response::new(component_base::http::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        }
        false => respond::typed(StatusCode::OK, HeaderValue::from_static(AGGREGATED), body.clone()),
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, etag.clone());
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}
