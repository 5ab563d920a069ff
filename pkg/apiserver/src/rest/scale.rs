//! [`ScaleAccess`]: how `scale` reads and writes a kind's number of replicas.

use std::sync::Arc;

use apimachinery::{Object, Resource};

/// What a Scale shows of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replicas {
    pub wanted: i32,
    pub current: i32,
    /// The selector as text.
    pub selector: String,
}

/// How `scale` reads and writes a kind. Every change goes through the kind's own strategy.
#[derive(Clone)]
pub struct ScaleAccess {
    read: Arc<dyn Fn(&dyn Object) -> Replicas + Send + Sync>,
    write: Arc<dyn Fn(&mut dyn Object, i32) + Send + Sync>,
}

impl ScaleAccess {
    /// Of a kind, by two functions.
    pub fn of<T: Resource>(read: fn(&T) -> Replicas, write: fn(&mut T, i32)) -> Self {
        Self {
            read: Arc::new(move |object| read(object.downcast_ref().expect("scale gets objects of its own kind"))),
            write: Arc::new(move |object, replicas| write(object.downcast_mut().expect("scale gets objects of its own kind"), replicas)),
        }
    }

    pub fn read(&self, object: &dyn Object) -> Replicas {
        (self.read)(object)
    }

    pub fn write(&self, object: &mut dyn Object, replicas: i32) {
        (self.write)(object, replicas);
    }
}
