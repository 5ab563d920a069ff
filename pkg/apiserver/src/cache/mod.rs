//! The watch cache: what the store holds, in memory, in order, with the changes of the last while. Upstream: apiserver/pkg/storage/cacher.
//!
//! ```text
//! store --one watch over everything--> Feed --demultiplexed by prefix--> ResourceCache (one per place in the store)
//!                                       |                                  |- Snapshot: ordered map behind an atomic pointer
//!                                       '- watermark                       |- ring of past changes
//!                                                                          '- watchers, each with a bounded queue
//! ```
//! A revision is applied to every cache before the watermark moves past it, so a reader who has seen watermark `n` finds all of `n` in any snapshot
//! it loads afterwards.

mod entry;
mod feed;
mod resource;
mod watcher;

pub use entry::{Entry, Media, View, encode_body};
pub use feed::{Caches, Feed};
pub use resource::{ResourceCache, Snapshot};
pub use watcher::{CacheEvent, Change, Next, Route, TooOld, Watcher};
