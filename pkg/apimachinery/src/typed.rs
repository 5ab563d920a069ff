//! A place in an object and what its schema says about it: the one interface through which patches and apply read both the static
//! descriptors of built-in types and the schemas of custom resources.

use crate::schema::{Field, ListType, Schema, Type};
use crate::value::Value;

/// A node of a schema made at run time: a custom resource's structural schema.
pub trait CustomType: Send + Sync {
    fn shape(&self) -> Shape<'_>;

    /// The node of a member, be it declared or of a map; none where the schema declares no such member.
    fn field(&self, name: &str) -> Option<&dyn CustomType>;

    /// The node of a list's items; none where they are not described.
    fn item(&self) -> Option<&dyn CustomType>;

    fn default(&self) -> Option<&Value>;

    /// Members without a declaration are kept, and owned one by one.
    fn preserves_unknown_fields(&self) -> bool;
}

/// What kind of value stands at a place.
#[derive(Clone, Copy, Debug)]
pub enum Shape<'a> {
    /// One value; a list or an object found here counts as one too.
    Scalar,
    /// Any value: objects member by member, everything else as a whole.
    Deduced,
    /// An object with declared members, or a map, that is merged member by member.
    Struct,
    Map,
    /// An object that is replaced as a whole.
    AtomicObject,
    AtomicList,
    /// A list of scalars, each at most once.
    Set,
    /// A list of objects told apart by these members.
    MapList(ListKeys<'a>),
}

/// The members that tell a list's objects apart.
#[derive(Clone, Copy, Debug)]
pub enum ListKeys<'a> {
    Static(&'static [&'static str]),
    Custom(&'a [String]),
}

impl<'a> ListKeys<'a> {
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        let (fixed, custom): (&[&str], &[String]) = match self {
            ListKeys::Static(keys) => (keys, &[]),
            ListKeys::Custom(keys) => (&[], keys),
        };
        fixed.iter().copied().chain(custom.iter().map(String::as_str))
    }

    pub fn contains(self, key: &str) -> bool {
        self.iter().any(|known| known == key)
    }
}

/// A place in an object, described by a schema.
#[derive(Clone, Copy)]
pub struct TypeRef<'a>(Inner<'a>);

#[derive(Clone, Copy)]
enum Inner<'a> {
    /// `field` is set where the type is that of a field, whose markers then count.
    Static {
        ty: Type,
        field: Option<&'static Field>,
    },
    Custom(&'a dyn CustomType),
    /// Inside a value that nothing is declared about.
    Deduced,
    /// Inside a value that is replaced as a whole.
    Atomic,
}

impl<'a> TypeRef<'a> {
    /// Nothing is known: objects member by member, everything else as a whole.
    pub const DEDUCED: TypeRef<'static> = TypeRef(Inner::Deduced);

    /// An object of a built-in type.
    pub fn of(schema: &'static Schema) -> TypeRef<'static> {
        TypeRef(Inner::Static { ty: Type::Struct(schema), field: None })
    }

    pub fn custom(node: &'a dyn CustomType) -> Self {
        TypeRef(Inner::Custom(node))
    }

    pub fn shape(self) -> Shape<'a> {
        let (ty, field) = match self.0 {
            Inner::Static { ty, field } => (ty, field),
            Inner::Custom(node) => return node.shape(),
            Inner::Deduced => return Shape::Deduced,
            Inner::Atomic => return Shape::Scalar,
        };
        let atomic = field.is_some_and(|field| field.map_atomic);
        match ty {
            Type::Struct(schema) if atomic || schema.atomic => Shape::AtomicObject,
            Type::Struct(_) => Shape::Struct,
            Type::Map(_) if atomic => Shape::AtomicObject,
            Type::Map(_) => Shape::Map,
            Type::List(_) => match field.map(|field| (field.list_type, field.list_map_keys)) {
                Some((Some(ListType::Set), _)) => Shape::Set,
                Some((Some(ListType::Map), keys)) => Shape::MapList(ListKeys::Static(keys)),
                _ => Shape::AtomicList,
            },
            _ => Shape::Scalar,
        }
    }

    /// The place of a member; none if an object of this type has no such member.
    pub fn field(self, name: &str) -> Option<TypeRef<'a>> {
        match self.0 {
            Inner::Static { ty: Type::Struct(schema), .. } => match schema.field(name) {
                Some(field) => Some(TypeRef::of_field(field)),
                None if matches!(name, "apiVersion" | "kind") && is_kind(schema) => {
                    Some(TypeRef(Inner::Static { ty: Type::String, field: None }))
                }
                None => None,
            },
            Inner::Static { ty: Type::Map(value), .. } => Some(TypeRef(Inner::Static { ty: *value, field: None })),
            Inner::Static { ty: Type::RawJson | Type::Any, .. } => Some(TypeRef(Inner::Atomic)),
            Inner::Static { .. } => None,
            Inner::Custom(node) => match node.field(name) {
                Some(field) => Some(TypeRef(Inner::Custom(field))),
                None if node.preserves_unknown_fields() => Some(TypeRef(Inner::Deduced)),
                None => None,
            },
            Inner::Deduced => Some(TypeRef(Inner::Deduced)),
            Inner::Atomic => Some(TypeRef(Inner::Atomic)),
        }
    }

    fn of_field(field: &'static Field) -> Self {
        TypeRef(Inner::Static { ty: field.ty, field: Some(field) })
    }

    /// Whether a schema says something about this place.
    pub fn is_declared(self) -> bool {
        !matches!(self.0, Inner::Deduced | Inner::Atomic)
    }

    /// The place of a list's items.
    pub fn item(self) -> TypeRef<'a> {
        match self.0 {
            Inner::Static { ty: Type::List(item), .. } => TypeRef(Inner::Static { ty: *item, field: None }),
            Inner::Custom(node) => node.item().map_or(TypeRef(Inner::Atomic), |item| TypeRef(Inner::Custom(item))),
            _ => TypeRef(Inner::Atomic),
        }
    }

    /// The declared default of a value that is absent.
    pub fn default(self) -> Option<Value> {
        match self.0 {
            Inner::Static { field: Some(field), .. } => field.default.and_then(|json| Value::parse(json.as_bytes()).ok()),
            Inner::Custom(node) => node.default().cloned(),
            _ => None,
        }
    }

    /// The members of an object that have a declared type, in declared order; only static types tell.
    pub fn static_schema(self) -> Option<&'static Schema> {
        match self.0 {
            Inner::Static { ty: Type::Struct(schema), .. } => Some(schema),
            _ => None,
        }
    }

    pub fn static_type(self) -> Option<Type> {
        match self.0 {
            Inner::Static { ty, .. } => Some(ty),
            _ => None,
        }
    }

    /// Strategic merge patch merges this list.
    pub fn patch_merges(self) -> bool {
        matches!(self.0, Inner::Static { field: Some(field), .. } if field.patch_merge)
    }

    /// Strategic merge patches of this object name the members that stay.
    pub fn patch_retains_keys(self) -> bool {
        matches!(self.0, Inner::Static { field: Some(field), .. } if field.patch_retain_keys)
    }

    /// Strategic merge patch tells this list's objects apart by this member; empty for scalars.
    pub fn patch_merge_key(self) -> &'static str {
        match self.0 {
            Inner::Static { field: Some(field), .. } => field.patch_merge_key,
            _ => "",
        }
    }
}

/// Whether objects of this type say what they are: the static descriptors leave `apiVersion` and `kind` out, and lists of templates
/// may hold whole objects.
fn is_kind(schema: &Schema) -> bool {
    !schema.name.ends_with("Spec") && schema.fields.iter().any(|field| field.json == "metadata")
}
