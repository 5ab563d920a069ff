//! [`Hooks`]: I/O around the writes of a resource whose rules are not pure. Upstream: `BeginCreate`, `BeginUpdate`, `AfterDelete` of its store.

use apimachinery::Object;
use apimachinery::status::StatusError;
use async_trait::async_trait;
use component_base::http::BoxFuture;

use crate::request::RequestContext;

/// Called once the write is done (`true`) or has failed (`false`), to keep or give back what was taken for it. Dry runs end with `false`.
pub type Finish = Box<dyn FnOnce(bool) -> BoxFuture<()> + Send>;

/// A [`Finish`] that has nothing to do.
pub fn nothing_to_finish() -> Finish {
    Box::new(|_| Box::pin(async {}))
}

/// I/O around the writes of a resource.
#[async_trait]
pub trait Hooks: Send + Sync + 'static {
    /// After mutating admission and before `prepare_for_create` and validation.
    async fn begin_create(&self, _context: &RequestContext, _object: &mut dyn Object) -> Result<Finish, StatusError> {
        Ok(nothing_to_finish())
    }

    /// After mutating admission and before `prepare_for_update` and validation. May run several times for one request, each time with its own end.
    async fn begin_update(&self, _context: &RequestContext, _new: &mut dyn Object, _old: &dyn Object) -> Result<Finish, StatusError> {
        Ok(nothing_to_finish())
    }

    /// The object is gone from the store.
    async fn after_delete(&self, _context: &RequestContext, _object: &dyn Object) {}
}
