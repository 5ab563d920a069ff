//! From what people and objects call a resource to the resource. Upstream: `client-go/restmapper`, `apimachinery/pkg/api/meta`.

use apimachinery::gvk::{GroupKind, GroupVersion};
use thiserror::Error;

use crate::discovery::{ApiResource, Discovery};

/// A name that means nothing, or too much.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum MapError {
    #[error("the server doesn't have a resource type \"{0}\"")]
    UnknownResource(String),
    #[error("no matches for kind {kind:?} in version {version:?}")]
    UnknownKind { kind: String, version: String },
}

/// Looks resources up in what a server serves.
#[derive(Clone, Debug)]
pub struct RestMapper {
    discovery: Discovery,
}

impl RestMapper {
    pub fn new(discovery: Discovery) -> RestMapper {
        RestMapper { discovery }
    }

    pub fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// What `kubectl get NAME` means: plural, singular, kind (any case) or short name, with `.group` or `.version.group`.
    pub fn resource(&self, name: &str) -> Result<&ApiResource, MapError> {
        let lower = name.to_lowercase();
        // The longest reading first: a resource has no dots, a version has none, a group may have some.
        let mut readings: Vec<(&str, Option<&str>, Option<&str>)> = Vec::new();
        if let Some((resource, rest)) = lower.split_once('.') {
            if let Some((version, group)) = rest.split_once('.') {
                readings.push((resource, Some(version), Some(group)));
            } else if rest.starts_with('v') {
                // `pods.v1.` is spelled with an empty group by kubectl; `pods.v1` is understood as well.
                readings.push((resource, Some(rest), None));
            }
            readings.push((resource, None, Some(rest)));
        } else {
            readings.push((&lower, None, None));
        }
        for (resource, version, group) in readings {
            if let Some(found) = self.find(resource, version, group) {
                return Ok(found);
            }
        }
        Err(MapError::UnknownResource(name.to_string()))
    }

    fn find(&self, name: &str, version: Option<&str>, group: Option<&str>) -> Option<&ApiResource> {
        let fits = |resource: &&ApiResource| {
            version.is_none_or(|version| resource.version == version)
                // A group may be given by its beginning: `deployments.apps`, `ingresses.networking`.
                && group.is_none_or(|group| resource.group == group || (!group.is_empty() && resource.group.starts_with(&format!("{group}."))))
        };
        let by = |matches: &dyn Fn(&ApiResource) -> bool| {
            // With a version asked for, any version may answer; otherwise the preferred one of each group does.
            match version {
                Some(_) => self.discovery.all().filter(fits).find(|resource| matches(resource)),
                None => self.discovery.preferred().into_iter().filter(fits).find(|resource| matches(resource)),
            }
        };
        // A real name anywhere wins over a short name in an earlier group.
        by(&|resource| resource.resource == name)
            .or_else(|| by(&|resource| resource.singular == name || resource.kind.to_lowercase() == name))
            .or_else(|| by(&|resource| resource.short_names.iter().any(|short| short == name)))
    }

    /// The resource of a kind in this very version: what an object from a file needs.
    pub fn kind(&self, api_version: &str, kind: &str) -> Result<&ApiResource, MapError> {
        let unknown = || MapError::UnknownKind { kind: kind.to_string(), version: api_version.to_string() };
        let wanted: GroupVersion = api_version.parse().map_err(|_| unknown())?;
        let mut found = self.discovery.all().filter(|resource| resource.kind == kind && resource.group_version() == wanted);
        found.next().ok_or_else(unknown)
    }

    /// The resource of a kind in whatever version the server prefers: what an owner reference may need.
    pub fn group_kind(&self, kind: &GroupKind) -> Option<&ApiResource> {
        self.discovery.preferred().into_iter().find(|resource| resource.kind == kind.kind && resource.group == kind.group)
    }

    /// The resources of a category, such as `all`.
    pub fn category(&self, name: &str) -> Vec<&ApiResource> {
        let in_category = |resource: &&ApiResource| resource.categories.iter().any(|category| category == name);
        self.discovery.preferred().into_iter().filter(in_category).collect()
    }
}
