//! Static descriptions of the API types: what strict decoding, patches, apply, defaults and OpenAPI read.

/// A type of the API: its name and its fields in JSON order.
#[derive(Debug)]
pub struct Schema {
    /// Go's name of the type: `Pod`.
    pub name: &'static str,
    /// The definition's name in OpenAPI: `io.k8s.api.core.v1.Pod`.
    pub full_name: &'static str,
    /// The type's fields; inlined structs stand as one field with `inline` set.
    pub fields: &'static [Field],
    /// True if the struct as a whole is replaced by an applied configuration (`structType=atomic`).
    pub atomic: bool,
}

/// How one owner's items in a list are told from another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    /// The list is replaced as a whole.
    Atomic,
    /// Scalars, each at most once.
    Set,
    /// Objects told apart by `list_map_keys`.
    Map,
}

/// A field of a [`Schema`].
#[derive(Debug)]
pub struct Field {
    /// JSON name; for an inlined struct the Go name.
    pub json: &'static str,
    /// Protobuf field number, 0 if the field does not travel in protobuf.
    pub number: u32,
    pub ty: Type,
    /// The fields of `ty` stand in the parent's JSON object.
    pub inline: bool,
    pub required: bool,
    /// Go holds a pointer: absent and zero differ.
    pub pointer: bool,
    /// An empty value is left out of JSON.
    pub omit_empty: bool,
    pub list_type: Option<ListType>,
    pub list_map_keys: &'static [&'static str],
    /// A map (or struct) that is replaced as a whole.
    pub map_atomic: bool,
    /// Strategic merge patch merges lists of this field.
    pub patch_merge: bool,
    /// Strategic merge patch clears members that `$retainKeys` does not name.
    pub patch_retain_keys: bool,
    pub patch_merge_key: &'static str,
    /// Default value as JSON.
    pub default: Option<&'static str>,
    /// The values OpenAPI publishes for this string.
    pub enum_values: &'static [&'static str],
}

impl Field {
    /// What a generated field starts from.
    pub const BASE: Field = Field {
        json: "",
        number: 0,
        ty: Type::Any,
        inline: false,
        required: false,
        pointer: false,
        omit_empty: false,
        list_type: None,
        list_map_keys: &[],
        map_atomic: false,
        patch_merge: false,
        patch_retain_keys: false,
        patch_merge_key: "",
        default: None,
        enum_values: &[],
    };
}

/// The type of a field's value.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    String,
    Int32,
    Int64,
    Bool,
    Double,
    /// Base64 in JSON.
    Bytes,
    /// Any JSON value (`interface{}`).
    Any,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    Duration,
    /// JSON kept as text: RawExtension, FieldsV1, apiextensions JSON.
    RawJson,
    Struct(&'static Schema),
    List(&'static Type),
    /// Keys are strings.
    Map(&'static Type),
}

impl Schema {
    /// The field of this JSON name, looked for in inlined structs as well.
    pub fn field(&self, json: &str) -> Option<&'static Field> {
        for field in self.fields {
            if field.inline {
                if let Type::Struct(inner) = field.ty
                    && let Some(found) = inner.field(json)
                {
                    return Some(found);
                }
            } else if field.json == json {
                return Some(field);
            }
        }
        None
    }
}

impl Type {
    /// Go's name of the type, for decoding errors.
    pub fn go_name(&self) -> &'static str {
        match self {
            Type::String => "string",
            Type::Int32 => "int32",
            Type::Int64 => "int64",
            Type::Bool => "bool",
            Type::Double => "float64",
            Type::Bytes => "[]uint8",
            Type::Any => "interface {}",
            Type::Time => "v1.Time",
            Type::MicroTime => "v1.MicroTime",
            Type::Quantity => "resource.Quantity",
            Type::IntOrString => "intstr.IntOrString",
            Type::Duration => "v1.Duration",
            Type::RawJson => "json.RawMessage",
            Type::Struct(schema) => schema.name,
            Type::List(_) => "slice",
            Type::Map(_) => "map",
        }
    }
}
