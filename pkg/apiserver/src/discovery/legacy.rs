//! `/api`, `/apis`, `/apis/GROUP`, `/apis/GROUP/VERSION`.

use apimachinery::List;
use apimachinery::json::JsonWriter;
use apimachinery::meta::v1::{
    APIGroup, APIGroupList, APIResource, APIResourceList, APIVersions, GroupVersionForDiscovery, ServerAddressByClientCIDR,
};
use apimachinery::proto;
use apimachinery::wire::{Kind, join_api_version};
use bytes::Bytes;

use super::Document;
use crate::facts;
use crate::server::{Endpoint, Resources};

fn document<K: Kind>(object: &K, api_version: &str) -> Document {
    let mut writer = JsonWriter::new();
    writer.set_type(K::KIND, api_version);
    object.json_write(&mut writer);
    let mut json = writer.into_vec();
    json.push(b'\n');
    Document { json: Bytes::from(json), protobuf: Bytes::from(proto::encode_envelope("v1", K::KIND, &proto::to_vec(object))) }
}

fn strings(texts: &[&str]) -> List<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn strings_or_nil(texts: &[&str]) -> List<String> {
    if texts.is_empty() { List::nil() } else { strings(texts) }
}

/// `/api`. Has no apiVersion of its own, as upstream.
pub(super) fn versions(resources: &Resources, address: &str) -> Document {
    let served: Vec<&str> =
        resources.groups().into_iter().filter(|(group, _)| group.name.is_empty()).flat_map(|(_, versions)| versions).collect();
    let address = ServerAddressByClientCIDR { client_cidr: "0.0.0.0/0".to_owned(), server_address: address.to_owned() };
    document(&APIVersions { versions: strings(&served), server_address_by_client_cidrs: vec![address].into(), ..Default::default() }, "")
}

fn api_group(group: &facts::Group, versions: &[&str]) -> APIGroup {
    let of = |version: &str| GroupVersionForDiscovery { group_version: join_api_version(group.name, version), version: version.to_owned() };
    APIGroup {
        name: group.name.to_owned(),
        versions: versions.iter().map(|version| of(version)).collect(),
        preferred_version: versions.first().map(|version| of(version)).unwrap_or_default(),
        ..Default::default()
    }
}

/// `/apis`.
pub(super) fn groups(resources: &Resources) -> Document {
    let groups = resources.groups().into_iter().filter(|(group, _)| !group.name.is_empty());
    document(&APIGroupList { groups: groups.map(|(group, versions)| api_group(group, &versions)).collect(), ..Default::default() }, "v1")
}

/// `/apis/GROUP`.
pub(super) fn group(group: &facts::Group, versions: &[&str]) -> Document {
    document(&api_group(group, versions), "v1")
}

/// `/apis/GROUP/VERSION`. The core group's has no apiVersion of its own, as upstream.
pub(super) fn resources(resources: &Resources, group: &str, version: &str) -> Document {
    let mut list = APIResourceList { group_version: join_api_version(group, version), ..Default::default() };
    for Endpoint { kind, facts, .. } in resources.of_version(group, version) {
        list.resources.push(APIResource {
            name: facts.resource.to_owned(),
            singular_name: facts.singular.to_owned(),
            namespaced: facts.namespaced,
            kind: facts.kind.to_owned(),
            verbs: strings(facts.verbs).into_vec().into(),
            short_names: strings_or_nil(facts.short_names),
            categories: strings_or_nil(facts.categories),
            storage_version_hash: facts.hash.to_owned(),
            ..Default::default()
        });
        for sub in facts.subresources.iter().filter(|sub| kind.def.subresource(sub.name).is_some()) {
            list.resources.push(APIResource {
                name: format!("{}/{}", facts.resource, sub.name),
                namespaced: facts.namespaced,
                group: sub.group.to_owned(),
                version: sub.version.to_owned(),
                kind: sub.kind.to_owned(),
                verbs: strings(sub.verbs).into_vec().into(),
                ..Default::default()
            });
        }
    }
    document(&list, if group.is_empty() { "" } else { "v1" })
}
