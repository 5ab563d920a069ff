//! What a server serves, kept on disk in upstream's layout, so that kubectl need not ask each time.
//!
//! `<host>/servergroups.json` is an APIGroupList, `<host>/[<group>/]<version>/serverresources.json` an APIResourceList. Both kubectls
//! can read what the other wrote. Upstream: `client-go/discovery/cached/disk`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use apimachinery::Value;
use apimachinery::gvk::GroupVersionKind;
use apimachinery::value::Object;
use client::{ApiGroup, ApiResource, ApiSubresource, ApiVersion, Discovery};

/// Upstream's time to live.
const TTL: Duration = Duration::from_secs(6 * 60 * 60);

/// Reads what is cached, unless it is incomplete or too old.
pub fn load(dir: &Path) -> Option<Discovery> {
    let list = read_young(&dir.join("servergroups.json"))?;
    let mut groups = Vec::new();
    for group in list.get("groups")?.as_array()? {
        let name = group.str_at(&["name"]).unwrap_or_default().to_string();
        let preferred = group.str_at(&["preferredVersion", "version"]).unwrap_or_default();
        let mut names: Vec<&str> = group.get("versions")?.as_array()?.iter().filter_map(|version| version.str_at(&["version"])).collect();
        names.sort_by_key(|version| *version != preferred);
        let mut versions = Vec::new();
        for version in names {
            let resources = read_young(&version_file(dir, &name, version))?;
            versions.push(ApiVersion { version: version.to_string(), resources: resources_of(&name, version, &resources), stale: false });
        }
        groups.push(ApiGroup { name, versions });
    }
    Some(Discovery { groups })
}

/// Writes it all. A failure only costs time, so it is not told.
pub fn store(dir: &Path, discovery: &Discovery) {
    if !discovery.stale().is_empty() {
        return;
    }
    let mut groups = Vec::new();
    for group in &discovery.groups {
        let mut versions = Vec::new();
        for version in &group.versions {
            let group_version = if group.name.is_empty() { version.version.clone() } else { format!("{}/{}", group.name, version.version) };
            versions.push(object([("groupVersion", group_version.clone().into()), ("version", version.version.clone().into())]));
            let list = object([
                ("kind", "APIResourceList".into()),
                ("apiVersion", "v1".into()),
                ("groupVersion", group_version.into()),
                ("resources", Value::Array(version.resources.iter().flat_map(entries).collect())),
            ]);
            write(&version_file(dir, &group.name, &version.version), &list);
        }
        let preferred = versions.first().cloned().unwrap_or_default();
        groups.push(object([("name", group.name.clone().into()), ("versions", Value::Array(versions)), ("preferredVersion", preferred)]));
    }
    let list = object([("kind", "APIGroupList".into()), ("apiVersion", "v1".into()), ("groups", Value::Array(groups))]);
    write(&dir.join("servergroups.json"), &list);
}

pub fn forget(dir: &Path) {
    drop(std::fs::remove_file(dir.join("servergroups.json")));
}

fn version_file(dir: &Path, group: &str, version: &str) -> PathBuf {
    dir.join(group).join(version).join("serverresources.json")
}

fn read_young(path: &Path) -> Option<Value> {
    let age = std::fs::metadata(path).ok()?.modified().ok()?.elapsed().ok()?;
    if age > TTL {
        return None;
    }
    Value::parse(&std::fs::read(path).ok()?).ok()
}

fn write(path: &Path, value: &Value) {
    let Some(dir) = path.parent() else { return };
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&temporary, value.to_vec()));
    if written.is_ok() {
        drop(std::fs::rename(&temporary, path));
    }
}

fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let mut object = Object::new();
    for (key, value) in members {
        object.insert(key, value);
    }
    object.into()
}

fn texts(list: &[String]) -> Value {
    Value::Array(list.iter().map(|text| text.clone().into()).collect())
}

/// A resource and its subresources as APIResourceList has them.
fn entries(resource: &ApiResource) -> Vec<Value> {
    let mut entries = vec![object([
        ("name", resource.resource.clone().into()),
        ("singularName", resource.singular.clone().into()),
        ("namespaced", resource.namespaced.into()),
        ("group", resource.group.clone().into()),
        ("version", resource.version.clone().into()),
        ("kind", resource.kind.clone().into()),
        ("verbs", texts(&resource.verbs)),
        ("shortNames", texts(&resource.short_names)),
        ("categories", texts(&resource.categories)),
    ])];
    for subresource in &resource.subresources {
        entries.push(object([
            ("name", format!("{}/{}", resource.resource, subresource.name).into()),
            ("singularName", "".into()),
            ("namespaced", resource.namespaced.into()),
            ("group", subresource.kind.group.clone().into()),
            ("version", subresource.kind.version.clone().into()),
            ("kind", subresource.kind.kind.clone().into()),
            ("verbs", texts(&subresource.verbs)),
        ]));
    }
    entries
}

fn resources_of(group: &str, version: &str, list: &Value) -> Vec<ApiResource> {
    let mut resources: Vec<ApiResource> = Vec::new();
    for entry in list.get("resources").and_then(Value::as_array).unwrap_or_default() {
        let text = |key: &str| entry.str_at(&[key]).unwrap_or_default().to_string();
        let list = |key: &str| -> Vec<String> {
            let items = entry.get(key).and_then(Value::as_array).unwrap_or_default();
            items.iter().filter_map(Value::as_str).map(str::to_string).collect()
        };
        let own = |key: &str, otherwise: &str| if text(key).is_empty() { otherwise.to_string() } else { text(key) };
        let name = text("name");
        if let Some((parent, subresource)) = name.split_once('/') {
            let kind = GroupVersionKind::new(own("group", group), own("version", version), text("kind"));
            if let Some(parent) = resources.iter_mut().find(|known| known.resource == parent) {
                parent.subresources.push(ApiSubresource { name: subresource.to_string(), kind, verbs: list("verbs") });
            }
            continue;
        }
        resources.push(ApiResource {
            group: own("group", group),
            version: own("version", version),
            resource: name,
            singular: text("singularName"),
            kind: text("kind"),
            namespaced: entry.get("namespaced").and_then(Value::as_bool).unwrap_or(false),
            verbs: list("verbs"),
            short_names: list("shortNames"),
            categories: list("categories"),
            subresources: Vec::new(),
        });
    }
    resources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_loaded() {
        let pods = ApiResource {
            version: "v1".into(),
            resource: "pods".into(),
            singular: "pod".into(),
            kind: "Pod".into(),
            namespaced: true,
            verbs: vec!["get".into()],
            short_names: vec!["po".into()],
            categories: vec!["all".into()],
            subresources: vec![ApiSubresource {
                name: "status".into(),
                kind: GroupVersionKind::new("", "v1", "Pod"),
                verbs: vec!["get".into()],
            }],
            ..ApiResource::default()
        };
        let deployments =
            ApiResource { group: "apps".into(), version: "v1".into(), resource: "deployments".into(), ..ApiResource::default() };
        let version = |resource: ApiResource| ApiVersion { version: "v1".into(), resources: vec![resource], stale: false };
        let discovery = Discovery {
            groups: vec![
                ApiGroup { name: String::new(), versions: vec![version(pods)] },
                ApiGroup { name: "apps".into(), versions: vec![version(deployments)] },
            ],
        };
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()), None);
        store(dir.path(), &discovery);
        assert_eq!(load(dir.path()), Some(discovery));
        forget(dir.path());
        assert_eq!(load(dir.path()), None);
    }
}
