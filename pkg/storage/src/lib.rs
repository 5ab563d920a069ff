//! The revisioned key space under the API server: one trait, two engines.
//!
//! This crate owns keys, values (both plain bytes), revisions, watches, expiry and compaction. It never looks into a
//! value, knows no resource and no encoding, and nothing but the API server uses it. Upstream's counterparts are
//! `staging/src/k8s.io/apiserver/pkg/storage/etcd3` and etcd itself.
//!
//! Start reading at [`Store`], whose documentation is the contract both engines are tested against.
//! [`embedded::EmbeddedStore`] keeps the data in one file of this process; [`etcd::EtcdStore`] talks to an etcd cluster
//! and shares it with upstream's servers.

mod copy;
mod error;
mod key;
mod store;
mod txn;
mod watch;

pub mod embedded;
pub mod etcd;

pub use copy::{Copied, copy};
pub use error::{Error, Result};
pub use key::{KeyRange, KeyValue, LeaseId, Revision};
pub use store::{Range, RangeResponse, Stats, Store};
pub use txn::{Compare, DeleteOutcome, Expect, Op, PutOutcome, Txn, TxnOutcome};
pub use watch::{Event, EventKind, Events, WatchStream, Watched};
