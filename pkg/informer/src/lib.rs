//! Caches of what the API server holds, and the loops that act on their changes.
//!
//! ```text
//!   API server --list, watch--> reflector --> Store <--reads-- reconcilers
//!                                   |                               ^
//!                                   +--> handlers --key--> WorkQueue
//! ```
//! It owns list-and-watch ([`Informer`], [`Informers`]), the queue between an event and the work it causes ([`WorkQueue`]),
//! the loop that does the work ([`Controller`]), and what daemons with such loops share: [`Expectations`], [`leader`], [`events`],
//! [`delegated`] authentication.
//! It never decides what to write: that is each controller's.
//!
//! Upstream: `client-go/tools/cache`, `util/workqueue`, `tools/leaderelection`, `tools/record`, and `pkg/controller/controller_utils.go`.
//! Start reading at [`Informer`].

mod key;
mod store;

mod factory;
mod informer;
mod reflector;

mod controller;
mod expectations;
mod queue;
mod rate_limit;

pub mod delegated;
pub mod events;
pub mod leader;

pub use controller::{Controller, Reconcile, Requeue};
pub use events::Recorder;
pub use expectations::Expectations;
pub use factory::{Informers, Selection};
pub use informer::{Event, Informer, InformerOptions};
pub use key::{InvalidKey, ObjectKey};
pub use queue::WorkQueue;
pub use rate_limit::ItemBackoff;
pub use reflector::Step;
pub use store::Store;
