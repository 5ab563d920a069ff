//! Everything in one document: apidiscovery.k8s.io/v2.

use apimachinery::Value;
use apimachinery::value::Object;
use bytes::Bytes;
use http::header::HeaderValue;

use crate::server::{Endpoint, Resources};

/// The list of the core group, or of all others, and its tag.
pub(super) fn document(resources: &Resources, core: bool) -> (Bytes, HeaderValue) {
    let groups = resources.groups().into_iter().filter(|(group, _)| group.name.is_empty() == core);
    let items = groups.map(|(group, versions)| {
        let mut metadata = Object::new();
        if !group.name.is_empty() {
            metadata.insert("name", group.name);
        }
        let mut item = Object::new();
        item.insert("metadata", metadata);
        item.insert("versions", versions.iter().map(|name| version(resources, group.name, name)).collect::<Value>());
        item
    });
    let mut list = Object::new();
    list.insert("kind", "APIGroupDiscoveryList");
    list.insert("apiVersion", "apidiscovery.k8s.io/v2");
    list.insert("metadata", Object::new());
    list.insert("items", items.collect::<Value>());
    let mut json = Value::from(list).to_vec();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA512, &json);
    let tag: String = digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    json.push(b'\n');
    let tag = HeaderValue::try_from(format!("\"{tag}\"")).expect("hex digits and quotes can stand in a header");
    (Bytes::from(json), tag)
}

fn version(resources: &Resources, group: &str, name: &str) -> Object {
    let mut version = Object::new();
    version.insert("version", name);
    version.insert("resources", resources.of_version(group, name).into_iter().map(resource).collect::<Value>());
    version.insert("freshness", "Current");
    version
}

fn resource(endpoint: &Endpoint) -> Object {
    let facts = endpoint.facts;
    let mut resource = Object::new();
    resource.insert("resource", facts.resource);
    resource.insert("responseKind", kind("", "", facts.kind));
    resource.insert("scope", if facts.namespaced { "Namespaced" } else { "Cluster" });
    resource.insert("singularResource", facts.singular);
    resource.insert("verbs", texts(facts.verbs));
    if !facts.short_names.is_empty() {
        resource.insert("shortNames", texts(facts.short_names));
    }
    if !facts.categories.is_empty() {
        resource.insert("categories", texts(facts.categories));
    }
    let served: Vec<_> = facts.subresources.iter().filter(|sub| endpoint.kind.def.subresource(sub.name).is_some()).collect();
    if !served.is_empty() {
        let subresources = served.into_iter().map(|sub| {
            let mut entry = Object::new();
            entry.insert("subresource", sub.name);
            entry.insert("responseKind", kind(sub.group, sub.version, sub.kind));
            entry.insert("verbs", texts(sub.verbs));
            entry
        });
        resource.insert("subresources", subresources.collect::<Value>());
    }
    resource
}

fn kind(group: &str, version: &str, kind: &str) -> Object {
    let mut object = Object::new();
    object.insert("group", group);
    object.insert("version", version);
    object.insert("kind", kind);
    object
}

fn texts(texts: &[&str]) -> Value {
    texts.iter().map(|text| Value::from(*text)).collect()
}
