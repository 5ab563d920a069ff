//! Definitions of types from their schema descriptors.

use std::collections::BTreeMap;

use apimachinery::Value;
use apimachinery::meta::v1;
use apimachinery::schema::{Field, ListType, Schema, Type};
use apimachinery::value::Object;
use apimachinery::wire::Message;

use super::Dialect;
use crate::server::Endpoint;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// Types of meta.k8s.io that have kind and apiVersion.
const TYPED: [&str; 3] = ["APIResourceList", "DeleteOptions", "Status"];

/// Definitions of everything these endpoints mention. `versions`: the group versions whose options and events are described.
pub(super) fn of(endpoints: &[&Endpoint], dialect: Dialect, versions: &[(&str, &str)]) -> Object {
    let mut found = Definitions { dialect, made: BTreeMap::new() };
    for endpoint in endpoints {
        let info = endpoint.kind.versions[endpoint.version].info;
        found.add_kind(info.schema, info.group, info.version, info.kind);
        if endpoint.facts.has_verb("list") {
            found.add_list(info.schema, info.group, info.version, info.kind);
        }
        for sub in endpoint.facts.subresources {
            let (group, version) =
                if sub.version.is_empty() { (endpoint.facts.group, endpoint.facts.version) } else { (sub.group, sub.version) };
            if let Some(info) = api::type_info(group, version, sub.kind) {
                found.add_kind(info.schema, info.group, info.version, info.kind);
            }
        }
    }
    for schema in [v1::APIResource::SCHEMA, v1::APIResourceList::SCHEMA, v1::Status::SCHEMA, v1::ListMeta::SCHEMA] {
        found.add(schema);
    }
    found.add_group_kind("APIResourceList", &[("", "v1")]);
    found.add_group_kind("Status", &[("", "v1")]);
    let mut with_core = vec![("", "v1")];
    with_core.extend(versions.iter().copied().filter(|version| *version != ("", "v1")));
    for schema in [v1::DeleteOptions::SCHEMA, v1::WatchEvent::SCHEMA] {
        found.add(schema);
        found.add_group_kind(schema.name, &with_core);
    }
    found.made.insert(format!("{META}.Patch"), plain("object", ""));
    found.made.into_iter().collect()
}

fn plain(kind: &str, format: &str) -> Object {
    let mut object = Object::new();
    object.insert("type", kind);
    if !format.is_empty() {
        object.insert("format", format);
    }
    object
}

fn group_kind(group: &str, version: &str, kind: &str) -> Object {
    let mut entry = Object::new();
    entry.insert("group", group);
    entry.insert("version", version);
    entry.insert("kind", kind);
    entry
}

struct Definitions {
    dialect: Dialect,
    made: BTreeMap<String, Object>,
}

impl Definitions {
    fn add_kind(&mut self, schema: &'static Schema, group: &str, version: &str, kind: &str) {
        self.add(schema);
        if let Some(definition) = self.made.get_mut(schema.full_name) {
            definition.insert("x-kubernetes-group-version-kind", Value::Array(vec![group_kind(group, version, kind).into()]));
        }
    }

    fn add_group_kind(&mut self, name: &str, versions: &[(&str, &str)]) {
        let kinds = versions.iter().map(|(group, version)| group_kind(group, version, name)).collect::<Value>();
        if let Some(definition) = self.made.get_mut(&format!("{META}.{name}")) {
            definition.insert("x-kubernetes-group-version-kind", kinds);
        }
    }

    /// List kinds all look the same.
    fn add_list(&mut self, item: &'static Schema, group: &str, version: &str, kind: &str) {
        let mut items = plain("array", "");
        items.insert("items", self.dialect.reference(item.full_name));
        let mut properties = Object::new();
        properties.insert("apiVersion", plain("string", ""));
        properties.insert("items", items);
        properties.insert("kind", plain("string", ""));
        properties.insert("metadata", self.struct_property(&format!("{META}.ListMeta"), true));
        let mut list = plain("object", "");
        list.insert("required", Value::Array(vec!["items".into()]));
        list.insert("properties", properties);
        list.insert("x-kubernetes-group-version-kind", Value::Array(vec![group_kind(group, version, &format!("{kind}List")).into()]));
        self.made.insert(format!("{}List", item.full_name), list);
    }

    fn add(&mut self, schema: &'static Schema) {
        if self.made.contains_key(schema.full_name) {
            return;
        }
        // Entered before its fields: types may hold themselves.
        self.made.insert(schema.full_name.to_owned(), Object::new());
        let mut properties = Object::new();
        let mut required = Vec::new();
        self.add_fields(schema, schema, &mut properties, &mut required);
        // Kinds name themselves; the descriptors leave that out.
        let kind = api::kinds().find(|info| info.schema.full_name == schema.full_name);
        if kind.is_some() || TYPED.contains(&schema.full_name.rsplit('.').next().unwrap_or_default()) && schema.full_name.starts_with(META)
        {
            properties.insert("apiVersion", plain("string", ""));
            properties.insert("kind", plain("string", ""));
        }
        properties.sort_keys();
        required.sort_unstable();
        let mut definition = plain("object", "");
        if !required.is_empty() {
            definition.insert("required", required.into_iter().map(Value::from).collect::<Value>());
        }
        if !properties.is_empty() {
            definition.insert("properties", properties);
        }
        if schema.atomic {
            definition.insert("x-kubernetes-map-type", "atomic");
        }
        if let Some(info) = kind {
            definition
                .insert("x-kubernetes-group-version-kind", Value::Array(vec![group_kind(info.group, info.version, info.kind).into()]));
        }
        self.made.insert(schema.full_name.to_owned(), definition);
    }

    fn add_fields(&mut self, owner: &'static Schema, schema: &'static Schema, properties: &mut Object, required: &mut Vec<&'static str>) {
        for field in schema.fields {
            if field.inline {
                if let Type::Struct(inner) = field.ty {
                    self.add_fields(owner, inner, properties, required);
                }
                continue;
            }
            if field.json == "-" {
                continue;
            }
            if field.required {
                required.push(field.json);
            }
            let property = self.property(owner, field);
            properties.insert(field.json, property);
        }
    }

    fn property(&mut self, owner: &Schema, field: &Field) -> Value {
        let is_struct = matches!(field.ty, Type::Struct(_)) && !field.pointer;
        let mut property = match self.named(owner, field, &field.ty) {
            Some(name) => match self.struct_property(&name, is_struct) {
                Value::Object(object) => object,
                _ => Object::new(),
            },
            None => self.anonymous(owner, field, &field.ty),
        };
        if let Some(list_type) = field.list_type {
            property.insert(
                "x-kubernetes-list-type",
                match list_type {
                    ListType::Atomic => "atomic",
                    ListType::Set => "set",
                    ListType::Map => "map",
                },
            );
        }
        if !field.list_map_keys.is_empty() {
            property.insert("x-kubernetes-list-map-keys", field.list_map_keys.iter().map(|key| Value::from(*key)).collect::<Value>());
        }
        if field.map_atomic {
            property.insert("x-kubernetes-map-type", "atomic");
        }
        let strategy = match (field.patch_merge, field.patch_retain_keys) {
            (true, true) => "merge,retainKeys",
            (true, false) => "merge",
            (false, true) => "retainKeys",
            (false, false) => "",
        };
        if !strategy.is_empty() {
            property.insert("x-kubernetes-patch-strategy", strategy);
        }
        if !field.patch_merge_key.is_empty() {
            property.insert("x-kubernetes-patch-merge-key", field.patch_merge_key);
        }
        if self.dialect == Dialect::V3
            && let Some(default) = default_of(field)
        {
            property.insert("default", default);
        }
        property.into()
    }

    /// A field of a type with a definition of its own.
    fn struct_property(&self, name: &str, default: bool) -> Value {
        match self.dialect {
            Dialect::V2 => self.dialect.reference(name),
            Dialect::V3 => {
                let mut property = Object::new();
                property.insert("allOf", Value::Array(vec![self.dialect.reference(name)]));
                if default {
                    property.insert("default", Object::new());
                }
                property.into()
            }
        }
    }

    /// The definition's name if the type has one; it is made as needed.
    fn named(&mut self, owner: &Schema, field: &Field, ty: &Type) -> Option<String> {
        let (name, definition) = match ty {
            Type::Struct(schema) => {
                self.add(schema);
                return Some(schema.full_name.to_owned());
            }
            Type::Time => (format!("{META}.Time"), plain("string", "date-time")),
            Type::MicroTime => (format!("{META}.MicroTime"), plain("string", "date-time")),
            Type::Duration => (format!("{META}.Duration"), plain("string", "")),
            Type::Quantity => ("io.k8s.apimachinery.pkg.api.resource.Quantity".to_owned(), self.either("string", "number", "")),
            Type::IntOrString => {
                ("io.k8s.apimachinery.pkg.util.intstr.IntOrString".to_owned(), self.either("integer", "string", "int-or-string"))
            }
            Type::RawJson if owner.name == "ManagedFieldsEntry" => (format!("{META}.FieldsV1"), plain("object", "")),
            Type::RawJson if owner.full_name.starts_with("io.k8s.apiextensions-apiserver") => {
                (format!("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.{}", extension_type(field)), Object::new())
            }
            Type::RawJson => ("io.k8s.apimachinery.pkg.runtime.RawExtension".to_owned(), plain("object", "")),
            _ => return None,
        };
        self.made.entry(name.clone()).or_insert(definition);
        Some(name)
    }

    /// Two types a scalar may have. The second version of OpenAPI knows no alternatives: there it is a string.
    fn either(&self, first: &str, second: &str, format: &str) -> Object {
        if self.dialect == Dialect::V2 {
            return plain("string", format);
        }
        let mut object = Object::new();
        object.insert("oneOf", Value::Array(vec![plain(first, "").into(), plain(second, "").into()]));
        if !format.is_empty() {
            object.insert("format", format);
        }
        object
    }

    fn anonymous(&mut self, owner: &Schema, field: &Field, ty: &Type) -> Object {
        match ty {
            Type::String => plain("string", ""),
            Type::Int32 => plain("integer", "int32"),
            Type::Int64 => plain("integer", "int64"),
            Type::Bool => plain("boolean", ""),
            Type::Double => plain("number", "double"),
            Type::Bytes => plain("string", "byte"),
            Type::List(item) => {
                let mut list = plain("array", "");
                list.insert("items", self.item(owner, field, item));
                list
            }
            Type::Map(item) => {
                let mut map = plain("object", "");
                map.insert("additionalProperties", self.item(owner, field, item));
                map
            }
            _ => plain("object", ""),
        }
    }

    fn item(&mut self, owner: &Schema, field: &Field, ty: &Type) -> Value {
        match self.named(owner, field, ty) {
            Some(name) => self.dialect.reference(&name),
            None => self.anonymous(owner, field, ty).into(),
        }
    }
}

/// The types of apiextensions that are any JSON.
fn extension_type(field: &Field) -> &'static str {
    match field.json {
        "items" => "JSONSchemaPropsOrArray",
        "additionalItems" | "additionalProperties" => "JSONSchemaPropsOrBool",
        "dependencies" => "JSONSchemaPropsOrStringArray",
        _ => "JSON",
    }
}

/// What the third version shows as a field's default: its own, or the zero of what is always there.
fn default_of(field: &Field) -> Option<Value> {
    if let Some(default) = field.default {
        return Value::parse(default.as_bytes()).ok();
    }
    if field.pointer || field.omit_empty {
        return None;
    }
    match field.ty {
        Type::String => Some("".into()),
        Type::Int32 | Type::Int64 | Type::Double => Some(0.into()),
        Type::Bool => Some(false.into()),
        _ => None,
    }
}
