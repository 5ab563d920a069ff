//! What the server serves. Upstream: `client-go/discovery`.
//!
//! Asks for everything at once (aggregated discovery, two requests), and group by group where a server is too old for that.

use api::apidiscovery::v2::{APIGroupDiscoveryList, APIResourceDiscovery};
use apimachinery::Kind;
use apimachinery::gvk::{GroupVersion, GroupVersionKind, GroupVersionResource};
use apimachinery::meta::v1::{APIGroupList, APIResourceList, APIVersions};

use crate::client::Client;
use crate::encoding::{JSON, decode};
use crate::error::Error;
use crate::request::Request;

/// A resource in one version.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ApiResource {
    pub group: String,
    pub version: String,
    /// In URLs: `deployments`.
    pub resource: String,
    pub singular: String,
    pub kind: String,
    pub namespaced: bool,
    pub verbs: Vec<String>,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub subresources: Vec<ApiSubresource>,
}

/// `status`, `scale`, `log`, ...
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ApiSubresource {
    pub name: String,
    /// The kind it answers with, which may be of another group.
    pub kind: GroupVersionKind,
    pub verbs: Vec<String>,
}

/// A group and its versions, preferred first, as the server orders them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ApiGroup {
    pub name: String,
    pub versions: Vec<ApiVersion>,
}

/// A version of a group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ApiVersion {
    pub version: String,
    pub resources: Vec<ApiResource>,
    /// The server could not ask whoever serves this group: what is known may be old or nothing.
    pub stale: bool,
}

/// All a server serves: the core group first, then in the server's order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Discovery {
    pub groups: Vec<ApiGroup>,
}

impl ApiResource {
    pub fn group_version(&self) -> GroupVersion {
        GroupVersion::new(self.group.clone(), self.version.clone())
    }

    pub fn gvr(&self) -> GroupVersionResource {
        self.group_version().with_resource(self.resource.clone())
    }

    pub fn gvk(&self) -> GroupVersionKind {
        self.group_version().with_kind(self.kind.clone())
    }

    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }

    pub fn subresource(&self, name: &str) -> Option<&ApiSubresource> {
        self.subresources.iter().find(|subresource| subresource.name == name)
    }
}

impl Discovery {
    /// Asks the server.
    pub async fn fetch(client: &Client) -> Result<Discovery, Error> {
        let core = client.fetch(Request::get("/api").accept(&aggregated())).await?;
        let named = client.fetch(Request::get("/apis").accept(&aggregated())).await?;
        let mut groups = Vec::new();
        match is_aggregated(&core) {
            true => groups.extend(groups_of(decode(&core)?)),
            false => groups.push(legacy_core(client, decode(&core)?).await?),
        }
        match is_aggregated(&named) {
            true => groups.extend(groups_of(decode(&named)?)),
            false => groups.extend(legacy_groups(client, decode(&named)?).await?),
        }
        Ok(Discovery { groups })
    }

    /// Every resource in every version.
    pub fn all(&self) -> impl Iterator<Item = &ApiResource> {
        self.groups.iter().flat_map(|group| &group.versions).flat_map(|version| &version.resources)
    }

    /// Every resource once, in the first version of its group that has it: `ServerPreferredResources`.
    pub fn preferred(&self) -> Vec<&ApiResource> {
        let mut seen = std::collections::HashSet::new();
        self.all().filter(|resource| seen.insert((&resource.group, &resource.resource))).collect()
    }

    /// The groups that could not be asked for their resources.
    pub fn stale(&self) -> Vec<GroupVersion> {
        let of = |group: &ApiGroup| {
            let stale = group.versions.iter().filter(|version| version.stale);
            stale.map(|version| GroupVersion::new(group.name.clone(), version.version.clone())).collect::<Vec<_>>()
        };
        self.groups.iter().flat_map(of).collect()
    }

    pub fn serves(&self, group_version: &GroupVersion) -> bool {
        let group = self.groups.iter().find(|group| group.name == group_version.group);
        group.is_some_and(|group| group.versions.iter().any(|version| version.version == group_version.version))
    }
}

fn aggregated() -> String {
    let profile = |version: &str| format!("{JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    format!("{},{},{JSON}", profile("v2"), profile("v2beta1"))
}

fn is_aggregated(body: &[u8]) -> bool {
    let meta: Result<apimachinery::meta::v1::TypeMeta, _> = apimachinery::json::from_slice(body);
    meta.is_ok_and(|meta| meta.kind == APIGroupDiscoveryList::KIND)
}

fn groups_of(list: APIGroupDiscoveryList) -> Vec<ApiGroup> {
    let group = |group: api::apidiscovery::v2::APIGroupDiscovery| {
        let name = group.metadata.name;
        let versions = group.versions.into_iter().map(|version| ApiVersion {
            stale: version.freshness == "Stale",
            resources: version.resources.into_iter().filter_map(|resource| resource_of(&name, &version.version, resource)).collect(),
            version: version.version,
        });
        ApiGroup { versions: versions.collect(), name: name.clone() }
    };
    list.items.into_iter().map(group).collect()
}

/// `None` for what stands there only for its subresources.
fn resource_of(group: &str, version: &str, found: APIResourceDiscovery) -> Option<ApiResource> {
    let kind = found.response_kind?;
    if kind.kind.is_empty() {
        return None;
    }
    let own = |given: String, otherwise: &str| if given.is_empty() { otherwise.to_string() } else { given };
    let subresources = found.subresources.into_iter().map(|subresource| {
        let kind = subresource.response_kind.map(|kind| *kind).unwrap_or_default();
        ApiSubresource {
            name: subresource.subresource,
            kind: GroupVersionKind::new(own(kind.group, group), own(kind.version, version), kind.kind),
            verbs: subresource.verbs.into_vec(),
        }
    });
    Some(ApiResource {
        group: own(kind.group, group),
        version: own(kind.version, version),
        resource: found.resource,
        singular: found.singular_resource,
        kind: kind.kind,
        namespaced: found.scope == "Namespaced",
        verbs: found.verbs.into_vec(),
        short_names: found.short_names.into_vec(),
        categories: found.categories.into_vec(),
        subresources: subresources.collect(),
    })
}

async fn legacy_core(client: &Client, versions: APIVersions) -> Result<ApiGroup, Error> {
    let mut group = ApiGroup::default();
    for version in versions.versions {
        let resources = legacy_resources(client, "", &version, &format!("/api/{version}")).await?;
        group.versions.push(ApiVersion { version, resources, stale: false });
    }
    Ok(group)
}

async fn legacy_groups(client: &Client, list: APIGroupList) -> Result<Vec<ApiGroup>, Error> {
    let mut groups = Vec::new();
    for found in list.groups {
        let mut group = ApiGroup { name: found.name, versions: Vec::new() };
        let mut versions: Vec<String> = found.versions.into_iter().map(|version| version.version).collect();
        // The preferred one leads; the rest keep their order.
        versions.sort_by_key(|version| *version != found.preferred_version.version);
        for version in versions {
            let path = format!("/apis/{}/{version}", group.name);
            let answer = legacy_resources(client, &group.name, &version, &path).await;
            // One group that is down must not hide the others.
            let stale = answer.is_err();
            group.versions.push(ApiVersion { version, resources: answer.unwrap_or_default(), stale });
        }
        groups.push(group);
    }
    Ok(groups)
}

async fn legacy_resources(client: &Client, group: &str, version: &str, path: &str) -> Result<Vec<ApiResource>, Error> {
    let list: APIResourceList = decode(&client.fetch(Request::get(path).accept(JSON)).await?)?;
    let mut resources: Vec<ApiResource> = Vec::new();
    let own = |given: String, otherwise: &str| if given.is_empty() { otherwise.to_string() } else { given };
    for found in list.resources {
        let verbs = found.verbs.iter().cloned().collect();
        if let Some((parent, name)) = found.name.split_once('/') {
            let kind = GroupVersionKind::new(own(found.group, group), own(found.version, version), found.kind);
            let subresource = ApiSubresource { name: name.to_string(), kind, verbs };
            if let Some(parent) = resources.iter_mut().find(|resource| resource.resource == parent) {
                parent.subresources.push(subresource);
            }
            continue;
        }
        resources.push(ApiResource {
            group: own(found.group, group),
            version: own(found.version, version),
            resource: found.name,
            singular: found.singular_name,
            kind: found.kind,
            namespaced: found.namespaced,
            verbs,
            short_names: found.short_names.into_vec(),
            categories: found.categories.into_vec(),
            subresources: Vec::new(),
        });
    }
    Ok(resources)
}
