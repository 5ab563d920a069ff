//! Paths and what can be done there.

use apimachinery::Value;
use apimachinery::value::Object;

use super::Dialect;
use crate::facts;
use crate::rest::Subresource;
use crate::server::Endpoint;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// What an operation is called in its identifier, its method, and the verb it needs.
const OBJECT: [(&str, &str, &str); 4] =
    [("get", "get", "read"), ("update", "put", "replace"), ("patch", "patch", "patch"), ("delete", "delete", "delete")];
const COLLECTION: [(&str, &str, &str); 3] =
    [("list", "get", "list"), ("create", "post", "create"), ("deletecollection", "delete", "delete")];

const WRITE: [&str; 3] = ["dryRun", "fieldManager", "fieldValidation"];
const LIST: [&str; 11] = [
    "allowWatchBookmarks",
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "shardSelector",
    "timeoutSeconds",
    "watch",
];
const DELETE: [&str; 5] =
    ["dryRun", "gracePeriodSeconds", "ignoreStoreReadErrorWithClusterBreakingPotential", "orphanDependents", "propagationPolicy"];

/// The paths of these endpoints.
pub(super) fn paths(endpoints: &[&Endpoint], dialect: Dialect) -> Object {
    let mut paths = Object::new();
    for endpoint in endpoints {
        let maker = Maker { endpoint, facts: endpoint.facts, dialect };
        let facts = endpoint.facts;
        let base = match facts.group {
            "" => format!("/api/{}", facts.version),
            group => format!("/apis/{group}/{}", facts.version),
        };
        let own = if facts.namespaced {
            format!("{base}/namespaces/{{namespace}}/{}", facts.resource)
        } else {
            format!("{base}/{}", facts.resource)
        };
        if facts.namespaced && facts.has_verb("list") {
            let mut item = Object::new();
            item.insert("get", maker.operation("list", "get", "list", None, "ForAllNamespaces"));
            item.insert("parameters", maker.parameters(&[]));
            paths.insert(format!("{base}/{}", facts.resource), item);
        }
        let spaces: &[&str] = if facts.namespaced { &["namespace"] } else { &[] };
        let mut item = Object::new();
        for (verb, method, action) in COLLECTION {
            if facts.has_verb(verb) {
                item.insert(method, maker.operation(verb, method, action, None, ""));
            }
        }
        if !item.is_empty() {
            item.insert("parameters", maker.parameters(spaces));
            paths.insert(own.clone(), item);
        }
        let named: Vec<&str> = std::iter::once("name").chain(spaces.iter().copied()).collect();
        let mut item = Object::new();
        for (verb, method, action) in OBJECT {
            if facts.has_verb(verb) {
                item.insert(method, maker.operation(verb, method, action, None, ""));
            }
        }
        if !item.is_empty() {
            item.insert("parameters", maker.parameters(&named));
            paths.insert(format!("{own}/{{name}}"), item);
        }
        for sub in facts.subresources {
            let Some(served) = endpoint.kind.def.subresource(sub.name) else { continue };
            let mut item = Object::new();
            let connects = matches!(served, Subresource::Connect(_)) && sub.name != "log";
            for (verb, method, action) in OBJECT.into_iter().chain([("create", "post", "create")]) {
                if sub.verbs.contains(&verb) {
                    let action = if connects { "connect" } else { action };
                    item.insert(method, maker.operation(verb, method, action, Some(sub), ""));
                }
            }
            item.insert("parameters", maker.parameters(&named));
            paths.insert(format!("{own}/{{name}}/{}", sub.name), item);
        }
    }
    paths
}

struct Maker<'a> {
    endpoint: &'a Endpoint,
    facts: &'static facts::Resource,
    dialect: Dialect,
}

impl Maker<'_> {
    fn operation(&self, verb: &str, method: &str, action: &str, sub: Option<&facts::Subresource>, suffix: &str) -> Object {
        let facts = self.facts;
        let info = self.endpoint.kind.versions[self.endpoint.version].info;
        let (group, version, kind) = match sub {
            Some(sub) if !sub.version.is_empty() => (sub.group, sub.version, sub.kind),
            Some(sub) => (facts.group, facts.version, sub.kind),
            None => (facts.group, facts.version, facts.kind),
        };
        let schema = match sub {
            None => Some(info.schema.full_name.to_owned()),
            Some(_) => api::type_info(group, version, kind).map(|info| info.schema.full_name.to_owned()),
        };
        let answer = match verb {
            "list" => Some(format!("{}List", info.schema.full_name)),
            "delete" | "deletecollection" => Some(format!("{META}.Status")),
            _ => schema.clone(),
        };
        let body = match verb {
            "create" | "update" => schema.clone(),
            "patch" => Some(format!("{META}.Patch")),
            "delete" | "deletecollection" if action != "connect" => Some(format!("{META}.DeleteOptions")),
            _ => None,
        };

        let title: String = group_title(facts.group);
        let version_title = capital(facts.version);
        let collection = if verb == "deletecollection" { "Collection" } else { "" };
        let scope = if facts.namespaced && suffix.is_empty() { "Namespaced" } else { "" };
        let method_title = if action == "connect" { capital(method) } else { String::new() };
        let sub_title = sub.map(|sub| capital(sub.name)).unwrap_or_default();
        let id = format!("{action}{title}{version_title}{method_title}{collection}{scope}{}{sub_title}{suffix}", facts.kind);
        let tag = format!("{}_{}", if facts.group.is_empty() { "core".to_owned() } else { group_tag(facts.group) }, facts.version);

        let mut operation = Object::new();
        operation.insert("tags", Value::Array(vec![tag.into()]));
        operation.insert("operationId", id);
        let mut parameters: Vec<Value> = Vec::new();
        let names: Vec<&str> = match verb {
            _ if action == "connect" => Vec::new(),
            "list" => LIST.into(),
            "create" | "update" => WRITE.into(),
            "patch" => WRITE.into_iter().chain(["force"]).collect(),
            "delete" => DELETE.into(),
            "deletecollection" => {
                let mut names: Vec<&str> =
                    LIST.into_iter().filter(|name| !matches!(*name, "allowWatchBookmarks" | "watch")).chain(DELETE).collect();
                names.sort_unstable();
                names
            }
            _ => Vec::new(),
        };
        parameters.extend(names.into_iter().map(|name| self.parameter(name, "query", false)));
        if let Some(body) = &body {
            self.add_body(&mut operation, &mut parameters, body, verb);
        }
        if !parameters.is_empty() {
            operation.insert("parameters", Value::Array(parameters));
        }
        let codes: &[&str] = match verb {
            "create" => &["200", "201", "202"],
            "update" | "patch" => &["200", "201"],
            "delete" => &["200", "202"],
            _ => &["200"],
        };
        let mut responses = Object::new();
        for code in codes {
            responses.insert(*code, self.response(answer.as_deref(), verb));
        }
        responses.insert("401", description("Unauthorized"));
        operation.insert("responses", responses);
        let action_name = match verb {
            "create" => "post",
            "update" => "put",
            verb => verb,
        };
        operation.insert("x-kubernetes-action", if action == "connect" { "connect" } else { action_name });
        let mut gvk = Object::new();
        gvk.insert("group", group);
        gvk.insert("version", version);
        gvk.insert("kind", kind);
        operation.insert("x-kubernetes-group-version-kind", gvk);
        operation
    }

    fn add_body(&self, operation: &mut Object, parameters: &mut Vec<Value>, schema: &str, verb: &str) {
        let required = matches!(verb, "create" | "update" | "patch");
        match self.dialect {
            Dialect::V2 => {
                let mut body = Object::new();
                body.insert("name", "body");
                body.insert("in", "body");
                if required {
                    body.insert("required", true);
                }
                body.insert("schema", self.dialect.reference(schema));
                parameters.push(body.into());
            }
            Dialect::V3 => {
                let types: &[&str] = match verb {
                    "patch" => &[
                        "application/apply-patch+yaml",
                        "application/json-patch+json",
                        "application/merge-patch+json",
                        "application/strategic-merge-patch+json",
                    ],
                    _ => &["*/*"],
                };
                let mut body = Object::new();
                body.insert("content", self.content(schema, types));
                if required {
                    body.insert("required", true);
                }
                operation.insert("requestBody", body);
            }
        }
    }

    fn content(&self, schema: &str, types: &[&str]) -> Object {
        let mut content = Object::new();
        for media_type in types {
            let mut entry = Object::new();
            entry.insert("schema", self.dialect.reference(schema));
            content.insert(*media_type, entry);
        }
        content
    }

    fn response(&self, schema: Option<&str>, verb: &str) -> Object {
        let mut response = description("OK");
        let Some(schema) = schema else { return response };
        match self.dialect {
            Dialect::V2 => response.insert("schema", self.dialect.reference(schema)),
            Dialect::V3 => {
                let mut types = vec!["application/json", "application/vnd.kubernetes.protobuf", "application/yaml"];
                if verb == "list" {
                    types.extend(["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"]);
                }
                response.insert("content", self.content(schema, &types))
            }
        };
        response
    }

    fn parameters(&self, in_path: &[&str]) -> Value {
        let mut parameters: Vec<Value> = in_path.iter().map(|name| self.parameter(name, "path", true)).collect();
        parameters.push(self.parameter("pretty", "query", false));
        Value::Array(parameters)
    }

    fn parameter(&self, name: &str, place: &str, required: bool) -> Value {
        let kind = match name {
            "limit" | "timeoutSeconds" | "gracePeriodSeconds" => "integer",
            "allowWatchBookmarks"
            | "watch"
            | "sendInitialEvents"
            | "force"
            | "orphanDependents"
            | "ignoreStoreReadErrorWithClusterBreakingPotential" => "boolean",
            _ => "string",
        };
        let mut parameter = Object::new();
        parameter.insert("name", name);
        parameter.insert("in", place);
        if required {
            parameter.insert("required", true);
        }
        let mut schema = Object::new();
        schema.insert("type", kind);
        schema.insert("uniqueItems", true);
        match self.dialect {
            Dialect::V2 => parameter.extend(schema),
            Dialect::V3 => {
                parameter.insert("schema", schema);
            }
        }
        parameter.into()
    }
}

fn description(text: &str) -> Object {
    let mut object = Object::new();
    object.insert("description", text);
    object
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

/// `Core`, `Apps`, `RbacAuthorization`: the group without `k8s.io`, in words.
fn group_title(group: &str) -> String {
    if group.is_empty() { "Core".to_owned() } else { group.strip_suffix(".k8s.io").unwrap_or(group).split('.').map(capital).collect() }
}

fn group_tag(group: &str) -> String {
    let title = group_title(group);
    let mut characters = title.chars();
    characters.next().map(|first| first.to_lowercase().chain(characters).collect()).unwrap_or_default()
}
