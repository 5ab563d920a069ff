//! [`Convert`]: between the version a strategy works on (the hub) and another one.

use apimachinery::wire::TypeInfo;
use apimachinery::{Object, Resource};

/// Conversion between the hub version and one other version of a kind.
///
/// The methods panic if handed an object of another type: a fault of the server, never of a request.
#[expect(clippy::wrong_self_convention, reason = "the pair of `to_hub`; the converter itself is no value that is converted")]
pub trait Convert: Send + Sync + 'static {
    /// The other version.
    fn info(&self) -> TypeInfo;
    /// Fills in what is unset, by the rules of the other version.
    fn default_object(&self, object: &mut dyn Object);
    fn to_hub(&self, object: Box<dyn Object>) -> Box<dyn Object>;
    fn from_hub(&self, object: Box<dyn Object>) -> Box<dyn Object>;
}

/// A [`Convert`] made of functions.
#[derive(Debug)]
pub struct Functions<V, H> {
    pub default_object: fn(&mut V),
    pub to_hub: fn(V) -> H,
    pub from_hub: fn(H) -> V,
}

impl<V: Resource, H: Resource> Convert for Functions<V, H> {
    fn info(&self) -> TypeInfo {
        TypeInfo::of::<V>()
    }

    fn default_object(&self, object: &mut dyn Object) {
        (self.default_object)(object.downcast_mut().expect("an object of the converted version"));
    }

    fn to_hub(&self, object: Box<dyn Object>) -> Box<dyn Object> {
        Box::new((self.to_hub)(*object.into_any().downcast().expect("an object of the converted version")))
    }

    fn from_hub(&self, object: Box<dyn Object>) -> Box<dyn Object> {
        Box::new((self.from_hub)(*object.into_any().downcast().expect("an object of the hub version")))
    }
}
