//! `pods/NAME/log`. Upstream: LogREST of pkg/registry/core/pod/rest, LogLocation of pkg/registry/core/pod.

use std::sync::Arc;

use api::core::v1::{Node, Pod};
use apimachinery::gvk::{GroupKind, GroupResource};
use apimachinery::status::StatusError;
use apimachinery::validation::field::{Error, ErrorList, Path};
use apiserver::request::RequestContext;
use apiserver::rest::Connecter;
use async_trait::async_trait;
use component_base::http::{Request, Response, empty};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Uri};

use super::query::{Query, encode};
use super::{Connections, container_of, http as carry};
use crate::validation::fields::NOT_NEGATIVE;

/// Reads a container's log from its kubelet.
#[derive(Clone)]
pub struct LogConnecter(pub Connections);

#[async_trait]
impl Connecter for LogConnecter {
    async fn connect(&self, context: Arc<RequestContext>, request: Request) -> Result<Response, StatusError> {
        if request.method() != Method::GET {
            return Err(StatusError::method_not_supported(&GroupResource::new("", "pods/log"), &request.method().as_str().to_lowercase()));
        }
        let query = Query::parse(request.uri().query());
        let name = context.info.name.as_str();
        let errors = validate(&query);
        if !errors.is_empty() {
            return Err(StatusError::invalid(&GroupKind::new("", "PodLogOptions"), name, &errors));
        }
        let pod = self.0.pod(&context.info.namespace, name).await?;
        let container = container_of(&pod, query.get("container"))?;
        if pod.spec.node_name.is_empty() {
            // A Pod that is nowhere has said nothing.
            return Ok(plain(empty()));
        }
        let node = self.0.find("nodes", "", &pod.spec.node_name).await.map_err(|error| StatusError::bad_request(error.message))?;
        let node: &Node = node.downcast_ref().expect("nodes are Nodes");
        let (host, port) = self.0.nodes.address(node).map_err(StatusError::internal)?;
        let uri = location(&pod, container, &query, &host, port)?;
        let io =
            self.0.nodes.dial_kubelet(&host, port).await.map_err(|error| StatusError::internal(format_args!("Get \"{uri}\": {error}")))?;
        let answer = carry::exchange(io, carry::get(&uri)).await?;
        if !carry::is_success(answer.status()) {
            let code = answer.status().as_u16();
            let text = carry::error_text(answer.into_body()).await;
            let text = text.trim_end();
            return Err(match code {
                400 => StatusError::bad_request(text),
                500 => StatusError::internal(text),
                code => StatusError::generic(code, "get", &GroupResource::new("", "pods/log"), name, text, 0, false),
            });
        }
        Ok(plain(carry::boxed(answer.into_body())))
    }
}

fn plain(body: component_base::http::Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

fn number(query: &Query, name: &str) -> Option<Result<i64, ()>> {
    let text = query.get(name);
    (!text.is_empty()).then(|| text.parse().map_err(drop))
}

fn validate(query: &Query) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut check = |name: &str, min: i64, why: &str| match number(query, name) {
        Some(Ok(value)) if value < min => errors.push(Error::invalid(&Path::new(name), value, why)),
        Some(Err(())) => errors.push(Error::invalid(&Path::new(name), query.get(name), "must be an integer")),
        _ => {}
    };
    check("tailLines", 0, NOT_NEGATIVE);
    check("limitBytes", 1, "must be greater than 0");
    check("sinceSeconds", 1, "must be greater than 0");
    if !query.get("sinceSeconds").is_empty() && !query.get("sinceTime").is_empty() {
        errors.push(Error::forbidden(&Path::ROOT, "at most one of `sinceTime` or `sinceSeconds` may be specified"));
    }
    let stream = query.get("stream");
    if !matches!(stream, "" | "All" | "Stdout" | "Stderr") {
        errors.push(Error::not_supported(&Path::new("stream"), stream, &["All", "Stderr", "Stdout"]));
    }
    if matches!(stream, "Stdout" | "Stderr") && !query.get("tailLines").is_empty() {
        errors.push(Error::forbidden(&Path::ROOT, "`tailLines` and specific `stream` are mutually exclusive for now"));
    }
    errors
}

fn location(pod: &Pod, container: &str, query: &Query, host: &str, port: u16) -> Result<Uri, StatusError> {
    let mut pairs: Vec<String> =
        ["follow", "previous", "timestamps"].into_iter().filter(|name| query.is_set(name)).map(|name| format!("{name}=true")).collect();
    for name in ["sinceSeconds", "sinceTime", "tailLines", "limitBytes", "stream"] {
        let value = query.get(name);
        if !(value.is_empty() || name == "stream" && value == "All") {
            pairs.push(format!("{name}={}", encode(value)));
        }
    }
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let path = format!("/containerLogs/{}/{}/{container}", pod.metadata.namespace, pod.metadata.name);
    let query = if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) };
    format!("https://{host}:{port}{path}{query}").parse().map_err(StatusError::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_the_kubelet_in_its_words() {
        let pod: Pod = apimachinery::json::from_slice(br#"{"metadata":{"namespace":"n","name":"p"}}"#).unwrap();
        let query = Query::parse(Some("follow=true&tailLines=5&container=c&previous=false"));
        let uri = location(&pod, "c", &query, "fd00::1", 10250).unwrap();
        assert_eq!(uri.to_string(), "https://[fd00::1]:10250/containerLogs/n/p/c?follow=true&tailLines=5");
    }

    #[test]
    fn refuses_numbers_that_make_no_sense() {
        for (query, text) in [
            ("tailLines=-1", "tailLines: Invalid value: -1: must be greater than or equal to 0"),
            ("limitBytes=0", "limitBytes: Invalid value: 0: must be greater than 0"),
            ("sinceSeconds=1&sinceTime=x", "<nil>: Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"),
        ] {
            assert_eq!(validate(&Query::parse(Some(query)))[0].to_string(), text);
        }
    }
}
