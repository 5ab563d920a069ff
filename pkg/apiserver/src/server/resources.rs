//! [`Resources`]: what is served where.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::facts;
use crate::kinds::{Kind, VersionId};

/// A resource in a version that is served.
#[derive(Clone, Debug)]
pub struct Endpoint {
    pub kind: Arc<Kind>,
    pub version: VersionId,
    pub facts: &'static facts::Resource,
}

/// Every served resource of every version.
#[derive(Debug, Default)]
pub struct Resources {
    /// By plural: few groups share one.
    endpoints: HashMap<&'static str, Vec<Endpoint>>,
}

impl Resources {
    /// The served versions of these kinds. Versions that are off by default stay off.
    pub fn of(kinds: &[Arc<Kind>]) -> Resources {
        let mut endpoints: HashMap<&'static str, Vec<Endpoint>> = HashMap::new();
        for kind in kinds {
            for (version, found) in kind.versions.iter().enumerate() {
                // Versions that are only read from the store have no facts of a served one.
                let Some(facts) = facts::resource(found.info.group, found.info.version, kind.def.resource) else { continue };
                if facts.enabled {
                    endpoints.entry(facts.resource).or_default().push(Endpoint { kind: kind.clone(), version, facts });
                }
            }
        }
        Resources { endpoints }
    }

    pub fn get(&self, group: &str, version: &str, resource: &str) -> Option<&Endpoint> {
        self.endpoints.get(resource)?.iter().find(|endpoint| endpoint.facts.group == group && endpoint.facts.version == version)
    }

    fn all(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.values().flatten()
    }

    /// The served resources of a group version, by name.
    pub fn of_version(&self, group: &str, version: &str) -> Vec<&Endpoint> {
        let found: BTreeMap<&str, &Endpoint> = self
            .all()
            .filter(|endpoint| endpoint.facts.group == group && endpoint.facts.version == version)
            .map(|endpoint| (endpoint.facts.resource, endpoint))
            .collect();
        found.into_values().collect()
    }

    pub fn has_version(&self, group: &str, version: &str) -> bool {
        self.all().any(|endpoint| endpoint.facts.group == group && endpoint.facts.version == version)
    }

    pub fn has_group(&self, group: &str) -> bool {
        self.all().any(|endpoint| endpoint.facts.group == group)
    }

    /// Served groups in the order of discovery, with their served versions, most preferred first.
    pub fn groups(&self) -> Vec<(&'static facts::Group, Vec<&'static str>)> {
        facts::GROUPS
            .iter()
            .map(|group| {
                (group, group.versions.iter().copied().filter(|version| self.has_version(group.name, version)).collect::<Vec<_>>())
            })
            .filter(|(_, versions)| !versions.is_empty())
            .collect()
    }
}
