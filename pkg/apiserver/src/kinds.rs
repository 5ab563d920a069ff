//! [`Kind`]: a declared resource with all that is needed to decode, convert and encode its objects.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use apimachinery::json::JsonWriter;
use apimachinery::proto::{self, MAGIC};
use apimachinery::status::StatusError;
use apimachinery::wire::{TypeInfo, join_api_version};
use apimachinery::{Object, Value};
use bytes::Bytes;

use crate::facts;
use crate::rest::{Convert, ErasedStrategy, ResourceDef, Serving};

/// A version of a kind's objects: the hub, or one that converts to it.
#[derive(Clone)]
pub struct Version {
    pub info: TypeInfo,
    /// `v1` or `apps/v1`.
    pub api_version: String,
    /// `None` for the hub.
    convert: Option<Arc<dyn Convert>>,
}

/// A declared resource at run time. Everything that holds for all its versions.
pub struct Kind {
    pub def: ResourceDef,
    /// The facts of the hub version.
    pub facts: &'static facts::Resource,
    /// `/registry/pods/`, with the server's own prefix; empty for what is not stored.
    pub prefix: String,
    /// The hub comes first.
    pub versions: Vec<Version>,
    /// `apiVersion` of stored objects.
    storage_version: String,
    strategy: Option<Arc<dyn ErasedStrategy>>,
    /// Bytes of encodings that the cache keeps of this kind's objects beside what is stored.
    pub(crate) kept_bytes: AtomicUsize,
}

/// Resources whose deleted objects are answered; all others answer a Status. Upstream decides so per resource.
const RETURNS_DELETED: [&str; 16] = [
    "csidrivers",
    "csinodes",
    "deviceclasses",
    "persistentvolumeclaims",
    "persistentvolumes",
    "pods",
    "podtemplates",
    "resourceclaims",
    "resourceclaimtemplates",
    "resourcequotas",
    "resourceslices",
    "serviceaccounts",
    "services",
    "storageclasses",
    "volumeattachments",
    "volumeattributesclasses",
];

/// Index into [`Kind::versions`].
pub type VersionId = usize;

/// The hub's index.
pub const HUB: VersionId = 0;

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kind").field("def", &self.def).finish_non_exhaustive()
    }
}

impl Kind {
    /// Joins a declaration with its facts. Errors if there are none: the declaration is wrong.
    pub fn new(def: ResourceDef, etcd_prefix: &str) -> Result<Kind, String> {
        let facts = facts::resource(def.group, def.hub.version, def.resource)
            .ok_or_else(|| format!("nothing is known of resource {} in {}/{}", def.resource, def.group, def.hub.version))?;
        let mut versions = vec![Version { info: def.hub, api_version: join_api_version(def.hub.group, def.hub.version), convert: None }];
        for convert in &def.versions {
            let info = convert.info();
            versions.push(Version { info, api_version: join_api_version(info.group, info.version), convert: Some(convert.clone()) });
        }
        let prefix = match facts.prefix.strip_prefix("/registry") {
            Some(rest) if !facts.prefix.is_empty() => format!("{}{rest}/", etcd_prefix.trim_end_matches('/')),
            _ => String::new(),
        };
        let strategy = match &def.serving {
            Serving::Stored(strategy) => Some(strategy.clone()),
            Serving::Answered(_) => None,
        };
        let storage_version = join_api_version(facts.storage_group, facts.storage_version);
        Ok(Kind { def, facts, prefix, versions, storage_version, strategy, kept_bytes: AtomicUsize::new(0) })
    }

    /// The rules of the resource itself. Panics for resources that are not stored.
    pub fn strategy(&self) -> &dyn ErasedStrategy {
        self.strategy.as_deref().expect("only stored resources are asked for their strategy")
    }

    /// Whether objects are kept in the store.
    pub fn is_stored(&self) -> bool {
        self.strategy.is_some()
    }

    /// Whether a delete answers with the object it removed, not with a Status.
    pub fn returns_deleted(&self) -> bool {
        RETURNS_DELETED.contains(&self.def.resource)
    }

    pub fn namespaced(&self) -> bool {
        self.facts.namespaced
    }

    /// The version served as `group/version`.
    pub fn version_of(&self, group: &str, version: &str) -> Option<VersionId> {
        self.versions.iter().position(|found| found.info.version == version && found.info.group == group)
    }

    /// The key of an object below the prefix: `namespace/name` or `name`.
    pub fn key_of(&self, namespace: &str, name: &str) -> String {
        if self.namespaced() { format!("{namespace}/{name}") } else { name.to_owned() }
    }

    /// The object's key in the store.
    pub fn store_key(&self, namespace: &str, name: &str) -> Bytes {
        Bytes::from(format!("{}{}", self.prefix, self.key_of(namespace, name)))
    }

    /// A stored value as an object of the hub version: converted, defaulted, with its resource version.
    pub fn decode_stored(&self, value: &[u8], revision: u64) -> Result<Box<dyn Object>, StatusError> {
        let damaged = |why: String| StatusError::internal(format!("unable to decode a stored {}: {why}", self.facts.kind));
        let mut object = if value.starts_with(MAGIC) {
            let envelope = proto::decode_envelope(value).map_err(|err| damaged(err.to_string()))?;
            let id = self.stored_version(envelope.api_version);
            let object = (self.versions[id].info.from_proto)(envelope.raw).map_err(|err| damaged(err.to_string()))?;
            self.to_hub(object, id)
        } else {
            let api_version = Value::parse(value).map_err(|err| damaged(err.to_string()))?;
            let id = self.stored_version(api_version.str_at(&["apiVersion"]).unwrap_or_default());
            let (object, _) = (self.versions[id].info.from_json)(value, false).map_err(|err| damaged(err.to_string()))?;
            self.to_hub(object, id)
        };
        object.metadata_mut().resource_version = revision.to_string();
        *object.type_meta_mut() = Default::default();
        Ok(object)
    }

    /// Graduated kinds kept their shape: objects of a version nothing is declared for are read as the hub's.
    fn stored_version(&self, api_version: &str) -> VersionId {
        self.versions.iter().position(|version| version.api_version == api_version).unwrap_or(HUB)
    }

    /// What the store keeps of an object of the hub version.
    pub fn encode_stored(&self, object: &dyn Object) -> Bytes {
        let mut object = object.clone_object();
        let metadata = object.metadata_mut();
        metadata.resource_version.clear();
        metadata.self_link.clear();
        *object.type_meta_mut() = Default::default();
        let storage = self.versions.iter().position(|version| version.api_version == self.storage_version).unwrap_or(HUB);
        let object = self.from_hub(object, storage);
        if self.facts.json {
            let mut writer = JsonWriter::new();
            writer.set_type(object.kind(), &self.storage_version);
            object.write_json(&mut writer);
            let mut json = writer.into_vec();
            json.push(b'\n');
            return Bytes::from(json);
        }
        Bytes::from(proto::encode_envelope(&self.storage_version, object.kind(), &object.to_proto()))
    }

    /// Converts and defaults an object of a given version to the hub.
    pub fn to_hub(&self, mut object: Box<dyn Object>, from: VersionId) -> Box<dyn Object> {
        if let Some(convert) = &self.versions[from].convert {
            convert.default_object(object.as_mut());
            object = convert.to_hub(object);
        }
        if let Some(strategy) = &self.strategy {
            strategy.default_object(object.as_mut());
        }
        object
    }

    /// Converts an object of the hub version to another one.
    pub fn from_hub(&self, object: Box<dyn Object>, to: VersionId) -> Box<dyn Object> {
        match &self.versions[to].convert {
            Some(convert) => convert.from_hub(object),
            None => object,
        }
    }
}
