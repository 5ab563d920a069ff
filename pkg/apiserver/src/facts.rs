//! Facts about every API resource: what it is called, where it is stored, which verbs, columns and field selectors it has.
//!
//! The tables are generated from `api/`; nothing is parsed when the server starts.

#[rustfmt::skip]
mod generated;

pub use generated::{GROUPS, RESOURCES};

/// An API group and its versions.
#[derive(Debug)]
pub struct Group {
    /// Empty for the core group.
    pub name: &'static str,
    /// Most preferred first.
    pub versions: &'static [&'static str],
    /// Those served without `--runtime-config`.
    pub enabled: &'static [&'static str],
    pub preferred: &'static str,
}

/// A resource in one version.
#[derive(Debug)]
pub struct Resource {
    pub group: &'static str,
    pub version: &'static str,
    pub resource: &'static str,
    pub singular: &'static str,
    pub kind: &'static str,
    pub namespaced: bool,
    pub verbs: &'static [&'static str],
    pub short_names: &'static [&'static str],
    pub categories: &'static [&'static str],
    /// Served without `--runtime-config`.
    pub enabled: bool,
    /// The gate that must be on besides, or empty.
    pub feature_gate: &'static str,
    /// The storage version's hash that discovery shows; empty for what is not stored.
    pub hash: &'static str,
    pub storage_group: &'static str,
    pub storage_version: &'static str,
    /// `/registry/pods`; empty for what is not stored.
    pub prefix: &'static str,
    /// Stored as JSON, not protobuf.
    pub json: bool,
    pub subresources: &'static [Subresource],
}

/// What follows an object's name in a URL.
#[derive(Debug)]
pub struct Subresource {
    pub name: &'static str,
    /// Group and version of the kind; empty for those of the resource itself.
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub verbs: &'static [&'static str],
}

/// A column of a Table.
#[derive(Debug)]
pub struct Column {
    pub name: &'static str,
    /// `string`, `integer`, `date`, ...
    pub kind: &'static str,
    pub format: &'static str,
    /// Above 0: only in wide output.
    pub priority: i32,
}

/// Field labels of one kind.
#[derive(Debug)]
pub struct Selectable {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub labels: &'static [&'static str],
    /// Other names for labels, and what they stand for.
    pub aliases: &'static [(&'static str, &'static str)],
}

impl Resource {
    /// `v1` or `apps/v1`.
    pub fn group_version(&self) -> String {
        apimachinery::wire::join_api_version(self.group, self.version)
    }

    /// Whether the resource knows the verb.
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// What clients of a resource that has had its day are told with every answer.
    pub fn deprecation(&self) -> Option<&'static str> {
        match (self.group, self.resource) {
            ("", "endpoints") => Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"),
            ("", "componentstatuses") => Some("v1 ComponentStatus is deprecated in v1.19+"),
            _ => None,
        }
    }

    /// A subresource by name.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// What the resource's Table shows.
    pub fn columns(&self) -> &'static [Column] {
        columns(self.group, self.kind)
    }

    /// Whether the kind has field labels beyond name and namespace.
    pub fn has_own_field_labels(&self) -> bool {
        self.selectable().is_some()
    }

    fn selectable(&self) -> Option<&'static Selectable> {
        generated::SELECTABLE.iter().find(|row| row.group == self.group && row.version == self.version && row.kind == self.kind)
    }

    /// A field label as clients write it, as the label of the strategy's kind; `None` if it cannot be selected by.
    pub fn field_label<'a>(&self, label: &'a str) -> Option<&'a str> {
        let found =
            generated::SELECTABLE.iter().find(|row| row.group == self.group && row.version == self.version && row.kind == self.kind);
        match found {
            Some(row) => match row.aliases.iter().find(|(from, _)| *from == label) {
                Some((_, to)) => Some(*to),
                None => row.labels.contains(&label).then_some(label),
            },
            None => matches!(label, "metadata.name" | "metadata.namespace").then_some(label),
        }
    }
}

/// The columns of a kind's Table.
pub fn columns(group: &str, kind: &str) -> &'static [Column] {
    generated::COLUMNS.iter().find(|(g, k, _)| *g == group && *k == kind).map_or(generated::DEFAULT_COLUMNS, |(_, _, columns)| columns)
}

/// A resource by group, version and plural.
pub fn resource(group: &str, version: &str, resource: &str) -> Option<&'static Resource> {
    RESOURCES.iter().find(|row| row.resource == resource && row.version == version && row.group == group)
}
