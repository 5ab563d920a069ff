//! What every API type can do: the traits behind the generated code.
//!
//! [`Field`] is anything that can stand in a struct; [`Message`] is a struct; [`Resource`] a top-level kind with metadata; [`Object`] the same
//! behind a pointer, for code that handles any kind.

mod compound;
mod nolist;
mod scalar;
mod wrapped;

use std::any::Any;

use crate::json::{JsonError, JsonReader, JsonWriter};
use crate::meta::v1::{ListMeta, ObjectMeta, TypeMeta};
use crate::proto::{ProtoError, ProtoReader, ProtoWriter, WireType};
use crate::schema::Schema;
pub use nolist::NoList;
pub use wrapped::StringList;

/// A value that can be a field of an API type.
pub trait Field: Default {
    /// Writes the value as JSON.
    fn json_write(&self, writer: &mut JsonWriter);

    /// Reads the value from JSON; `null` sets pointers, lists and maps to nil and leaves scalars alone.
    fn json_read(&mut self, reader: &mut JsonReader<'_>) -> Result<(), JsonError>;

    /// What Go's `omitempty` leaves out: false, 0, nil pointers, empty strings, lists and maps; never a struct.
    fn is_empty(&self) -> bool;

    /// Writes the value as protobuf field `number`, tag included; unset pointers write nothing, lists one field per element.
    fn proto_write(&self, number: u32, writer: &mut ProtoWriter);

    /// Reads one occurrence of the field.
    fn proto_read(&mut self, wire: WireType, reader: &mut ProtoReader<'_>) -> Result<(), ProtoError>;
}

/// A struct of the API. Implemented by generated code.
pub trait Message: Field + Clone + PartialEq + Send + Sync + 'static {
    /// The type's description.
    const SCHEMA: &'static Schema;

    /// Writes the members of the JSON object, without its braces.
    fn json_write_fields(&self, writer: &mut JsonWriter);

    /// Reads the member `key`; false if the type has none of that name.
    fn json_read_field(&mut self, key: &str, reader: &mut JsonReader<'_>) -> Result<bool, JsonError>;

    /// Writes the message's fields, last to first.
    fn proto_write_fields(&self, writer: &mut ProtoWriter);

    /// Reads field `number`; false if the type has none.
    fn proto_read_field(&mut self, number: u32, wire: WireType, reader: &mut ProtoReader<'_>) -> Result<bool, ProtoError>;

    /// Reads all fields; unknown ones are passed over.
    fn proto_read_message(&mut self, reader: &mut ProtoReader<'_>) -> Result<(), ProtoError> {
        while let Some((number, wire)) = reader.tag()? {
            if !self.proto_read_field(number, wire, reader)? {
                reader.skip(wire)?;
            }
        }
        Ok(())
    }
}

/// A struct with `kind` and `apiVersion`: objects, lists, options, Status. Implemented by generated code.
pub trait Kind: Message {
    /// API group, empty for the core group.
    const GROUP: &'static str;
    const VERSION: &'static str;
    const KIND: &'static str;
}

/// A kind with metadata of its own. Implemented by generated code.
pub trait Resource: Kind + Object {
    /// The resource's name in URLs, empty for kinds that are not served on their own.
    const PLURAL: &'static str;
    const NAMESPACED: bool;
    /// The kind's list type.
    type List: ListResource<Item = Self>;
}

/// A list kind. Implemented by generated code.
pub trait ListResource: Kind {
    type Item: Resource;
    /// Resource version, continue token and remaining count.
    fn list_meta(&self) -> &ListMeta;
    fn list_meta_mut(&mut self) -> &mut ListMeta;
    fn items(&self) -> &[Self::Item];
    fn items_mut(&mut self) -> &mut crate::List<Self::Item>;
    fn into_items(self) -> Vec<Self::Item>;
}

/// A top-level kind behind a pointer. Implemented by generated code for every type with ObjectMeta.
pub trait Object: Any + Send + Sync + std::fmt::Debug {
    fn group(&self) -> &'static str;
    fn version(&self) -> &'static str;
    fn kind(&self) -> &'static str;
    fn type_meta(&self) -> &TypeMeta;
    fn type_meta_mut(&mut self) -> &mut TypeMeta;
    fn metadata(&self) -> &ObjectMeta;
    fn metadata_mut(&mut self) -> &mut ObjectMeta;
    fn schema(&self) -> &'static Schema;
    /// JSON with kind and apiVersion.
    fn to_json(&self) -> Vec<u8>;
    /// JSON into a writer, whose [`JsonWriter::set_type`] decides on kind and apiVersion.
    fn write_json(&self, writer: &mut JsonWriter);
    /// The bare protobuf message.
    fn to_proto(&self) -> Vec<u8>;
    fn clone_object(&self) -> Box<dyn Object>;
    /// Equal in type and value.
    fn eq_object(&self, other: &dyn Object) -> bool;
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl dyn Object {
    /// The concrete object if it is a `T`.
    pub fn downcast_ref<T: 'static>(&self) -> Option<&T> {
        self.as_any().downcast_ref()
    }

    /// The concrete object if it is a `T`.
    pub fn downcast_mut<T: 'static>(&mut self) -> Option<&mut T> {
        self.as_any_mut().downcast_mut()
    }

    /// `v1` or `apps/v1`.
    pub fn api_version(&self) -> String {
        join_api_version(self.group(), self.version())
    }

    /// Protobuf in its envelope, as stored and sent.
    pub fn to_proto_envelope(&self) -> Vec<u8> {
        crate::proto::encode_envelope(&self.api_version(), self.kind(), &self.to_proto())
    }
}

/// What is known of a kind at run time: one entry per [`Resource`] in the tables of `staging/api`.
#[derive(Clone, Copy)]
pub struct TypeInfo {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub schema: &'static Schema,
    pub new: fn() -> Box<dyn Object>,
    /// Decodes JSON; the second value holds strict complaints if asked for.
    pub from_json: fn(&[u8], bool) -> Result<(Box<dyn Object>, Vec<String>), JsonError>,
    /// Decodes the bare protobuf message.
    pub from_proto: fn(&[u8]) -> Result<Box<dyn Object>, ProtoError>,
}

impl std::fmt::Debug for TypeInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{} {}", self.group, self.version, self.kind)
    }
}

impl TypeInfo {
    /// The entry of `R`.
    pub const fn of<R: Resource>() -> Self {
        Self {
            group: R::GROUP,
            version: R::VERSION,
            kind: R::KIND,
            schema: R::SCHEMA,
            new: || Box::new(R::default()),
            from_json: |json, strict| {
                if strict {
                    crate::json::from_slice_strict::<R>(json).map(|(object, notes)| (Box::new(object) as Box<dyn Object>, notes))
                } else {
                    crate::json::from_slice::<R>(json).map(|object| (Box::new(object) as Box<dyn Object>, Vec::new()))
                }
            },
            from_proto: |bytes| crate::proto::from_slice::<R>(bytes).map(|object| Box::new(object) as Box<dyn Object>),
        }
    }
}

/// `v1` or `apps/v1` of a kind.
pub fn api_version<K: Kind>() -> String {
    join_api_version(K::GROUP, K::VERSION)
}

/// Joins group and version as `apiVersion` has it.
pub fn join_api_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Implements [`Field`] and `Debug` for a generated struct on top of its [`Message`].
#[macro_export]
macro_rules! impl_message_field {
    ($($name:ty),* $(,)?) => {$(
        impl $crate::wire::Field for $name {
            fn json_write(&self, writer: &mut $crate::json::JsonWriter) {
                writer.begin_object();
                $crate::wire::Message::json_write_fields(self, writer);
                writer.end_object();
            }
            fn json_read(&mut self, reader: &mut $crate::json::JsonReader<'_>) -> Result<(), $crate::json::JsonError> {
                reader.object(<Self as $crate::wire::Message>::SCHEMA.name, &mut |reader, key| {
                    $crate::wire::Message::json_read_field(self, key, reader)
                })
            }
            fn is_empty(&self) -> bool {
                false
            }
            fn proto_write(&self, number: u32, writer: &mut $crate::proto::ProtoWriter) {
                writer.message_field(number, |writer| $crate::wire::Message::proto_write_fields(self, writer));
            }
            fn proto_read(
                &mut self,
                wire: $crate::proto::WireType,
                reader: &mut $crate::proto::ProtoReader<'_>,
            ) -> Result<(), $crate::proto::ProtoError> {
                reader.expect(wire, $crate::proto::WireType::Len)?;
                $crate::wire::Message::proto_read_message(self, &mut reader.nested()?)
            }
        }
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::wire::debug_message(self, f)
            }
        }
    )*};
}

/// Shows a message as its JSON.
pub fn debug_message<M: Message>(message: &M, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    f.write_str(M::SCHEMA.name)?;
    f.write_str(&String::from_utf8_lossy(&crate::json::part_to_vec(message)))
}

/// Implements [`Kind`] for a generated struct.
#[macro_export]
macro_rules! impl_kind {
    ($name:ty, $group:literal, $version:literal, $kind:literal) => {
        impl $crate::wire::Kind for $name {
            const GROUP: &'static str = $group;
            const VERSION: &'static str = $version;
            const KIND: &'static str = $kind;
        }
    };
}

/// Implements [`Object`] and [`Resource`] for a generated kind.
#[macro_export]
macro_rules! impl_resource {
    ($name:ty, $list:ty, $group:literal, $version:literal, $kind:literal, $plural:literal, $namespaced:literal) => {
        impl $crate::wire::Object for $name {
            fn group(&self) -> &'static str {
                $group
            }
            fn version(&self) -> &'static str {
                $version
            }
            fn kind(&self) -> &'static str {
                $kind
            }
            fn type_meta(&self) -> &$crate::meta::v1::TypeMeta {
                &self.type_meta
            }
            fn type_meta_mut(&mut self) -> &mut $crate::meta::v1::TypeMeta {
                &mut self.type_meta
            }
            fn metadata(&self) -> &$crate::meta::v1::ObjectMeta {
                &self.metadata
            }
            fn metadata_mut(&mut self) -> &mut $crate::meta::v1::ObjectMeta {
                &mut self.metadata
            }
            fn schema(&self) -> &'static $crate::schema::Schema {
                <$name as $crate::wire::Message>::SCHEMA
            }
            fn to_json(&self) -> Vec<u8> {
                $crate::json::to_vec(self)
            }
            fn write_json(&self, writer: &mut $crate::json::JsonWriter) {
                $crate::wire::Field::json_write(self, writer);
            }
            fn to_proto(&self) -> Vec<u8> {
                $crate::proto::to_vec(self)
            }
            fn clone_object(&self) -> Box<dyn $crate::wire::Object> {
                Box::new(self.clone())
            }
            fn eq_object(&self, other: &dyn $crate::wire::Object) -> bool {
                other.downcast_ref::<$name>().is_some_and(|other| self == other)
            }
            fn as_any(&self) -> &dyn std::any::Any {
                self
            }
            fn as_any_mut(&mut self) -> &mut dyn std::any::Any {
                self
            }
            fn into_any(self: Box<Self>) -> Box<dyn std::any::Any> {
                self
            }
        }
        impl $crate::wire::Resource for $name {
            const PLURAL: &'static str = $plural;
            const NAMESPACED: bool = $namespaced;
            type List = $list;
        }
    };
}

/// Implements [`ListResource`] for a generated list kind.
#[macro_export]
macro_rules! impl_list {
    ($list:ty, $item:ty) => {
        impl $crate::wire::ListResource for $list {
            type Item = $item;
            fn list_meta(&self) -> &$crate::meta::v1::ListMeta {
                &self.metadata
            }
            fn list_meta_mut(&mut self) -> &mut $crate::meta::v1::ListMeta {
                &mut self.metadata
            }
            fn items(&self) -> &[$item] {
                &self.items
            }
            fn items_mut(&mut self) -> &mut $crate::List<$item> {
                &mut self.items
            }
            fn into_items(self) -> Vec<$item> {
                self.items.into_vec()
            }
        }
    };
}
