//! Objects in other versions, for fields that were recorded in those.

use apimachinery::Value;
use apimachinery::apply::Versions;
use apimachinery::typed::TypeRef;

use crate::kinds::{Kind, VersionId};
use crate::managed_fields::tree;

/// The versions of one kind, seen from one of them.
pub(crate) struct KindVersions<'a> {
    pub kind: &'a Kind,
    /// The version of the trees that are to be converted.
    pub from: VersionId,
}

impl Versions for KindVersions<'_> {
    fn convert(&self, object: &Value, api_version: &str) -> Option<(Value, TypeRef<'_>)> {
        let to = self.kind.versions.iter().position(|version| version.api_version == api_version)?;
        let (decoded, _) = (self.kind.versions[self.from].info.from_json)(&object.to_vec(), false).ok()?;
        let hub = self.kind.to_hub(decoded, self.from);
        let mut converted = self.kind.from_hub(hub, to);
        *converted.type_meta_mut() = Default::default();
        Some((tree(converted.as_ref()), TypeRef::of(self.kind.versions[to].info.schema)))
    }
}
