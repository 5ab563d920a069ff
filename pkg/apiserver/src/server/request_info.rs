//! URL and method -> [`RequestInfo`]. Upstream: apiserver/pkg/endpoints/request/requestinfo.go.

use http::Method;

use crate::handlers::query::Query;
use crate::request::RequestInfo;

/// Parts of a namespace that are no resources in it.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

/// Reads what a request asks for.
pub fn parse(method: &Method, path: &str, query: &Query) -> RequestInfo {
    let mut info = RequestInfo { path: path.to_owned(), verb: lower(method), ..RequestInfo::default() };
    let parts: Vec<&str> = path.trim_matches('/').split('/').filter(|part| !part.is_empty()).collect();
    if parts.len() < 3 {
        return info;
    }
    let mut rest = match parts[0] {
        "api" => &parts[1..],
        "apis" if parts.len() < 4 => return info,
        "apis" => {
            info.group = parts[1].to_owned();
            &parts[2..]
        }
        _ => return info,
    };
    info.api_prefix = parts[0].to_owned();
    info.is_resource = true;
    info.version = rest[0].to_owned();
    rest = &rest[1..];

    info.verb = match *method {
        Method::POST => "create",
        Method::GET | Method::HEAD => "get",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "",
    };
    // The old way to watch: /api/v1/watch/...
    if rest.first() == Some(&"watch") && rest.len() > 1 {
        info.verb = "watch";
        rest = &rest[1..];
    }
    if rest.first() == Some(&"namespaces")
        && let Some(namespace) = rest.get(1)
    {
        info.namespace = (*namespace).to_owned();
        if rest.len() > 2 && !NAMESPACE_SUBRESOURCES.contains(&rest[2]) {
            rest = &rest[2..];
        }
    }
    info.resource = rest.first().copied().unwrap_or_default().to_owned();
    info.name = rest.get(1).copied().unwrap_or_default().to_owned();
    info.subresource = rest.get(2).copied().unwrap_or_default().to_owned();
    info.rest = rest.iter().skip(3).map(|part| (*part).to_owned()).collect();

    if info.name.is_empty() {
        info.verb = match info.verb {
            "get" if query.bool("watch").unwrap_or_default() => "watch",
            "get" => "list",
            "delete" => "deletecollection",
            verb => verb,
        };
    }
    if matches!(info.verb, "list" | "watch" | "deletecollection") {
        info.field_selector = query.get("fieldSelector").to_owned();
        info.label_selector = query.get("labelSelector").to_owned();
        // One object by name is authorized as such.
        if info.name.is_empty()
            && let Ok(selector) = apimachinery::fields::Selector::parse(&info.field_selector)
            && let Some(name) = selector.requires_exact_match("metadata.name")
            && apimachinery::validation::names::is_path_segment_name(name).is_empty()
        {
            info.name = name.to_owned();
        }
    }
    info
}

fn lower(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::POST => "post",
        Method::PUT => "put",
        Method::DELETE => "delete",
        Method::HEAD => "head",
        Method::OPTIONS => "options",
        Method::PATCH => "patch",
        Method::CONNECT => "connect",
        Method::TRACE => "trace",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_upstream_reads_them() {
        for (method, url, expected) in [
            ("GET", "/api/v1/pods", "list core/v1 pods"),
            ("GET", "/api/v1/pods?watch=1", "watch core/v1 pods"),
            ("GET", "/api/v1/namespaces/a", "get core/v1 namespaces ns=a name=a"),
            ("PUT", "/api/v1/namespaces/a/finalize", "update core/v1 namespaces/finalize ns=a name=a"),
            ("GET", "/api/v1/namespaces/a/pods/b/log", "get core/v1 pods/log ns=a name=b"),
            ("GET", "/api/v1/namespaces/a/pods/b/proxy/x/y", "get core/v1 pods/proxy ns=a name=b rest=x/y"),
            ("DELETE", "/apis/apps/v1/namespaces/a/deployments", "deletecollection apps/v1 deployments ns=a"),
            ("GET", "/api/v1/watch/namespaces/a/pods/b", "watch core/v1 pods ns=a name=b"),
            ("GET", "/api/v1/pods?fieldSelector=metadata.name%3Db", "list core/v1 pods name=b"),
            ("GET", "/apis/apps/v1", "get (none)"),
            ("POST", "/healthz", "post (none)"),
        ] {
            let (path, query) = url.split_once('?').unwrap_or((url, ""));
            let info = parse(&method.parse().unwrap(), path, &Query::parse(Some(query)));
            let mut text = info.verb.to_owned();
            if info.is_resource {
                let group = if info.group.is_empty() { "core" } else { &info.group };
                text += &format!(" {group}/{} {}", info.version, info.resource);
                for (label, value) in [
                    ("/", info.subresource.clone()),
                    (" ns=", info.namespace.clone()),
                    (" name=", info.name.clone()),
                    (" rest=", info.rest.join("/")),
                ] {
                    if !value.is_empty() {
                        text += &format!("{label}{value}");
                    }
                }
            } else {
                text += " (none)";
            }
            assert_eq!(text, expected, "{method} {url}");
        }
    }
}
