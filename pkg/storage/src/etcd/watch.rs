//! A watch that survives its connections.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use etcd_client::{EventType, WatchOptions, WatchResponse};
use futures_util::stream;

use super::fault::Kind;
use super::{Client, MAX_MESSAGE_BYTES, bounds, key_value};
use crate::{Error, Event, EventKind, Events, KeyRange, Range, Result, Revision, WatchStream, Watched};

/// Pauses between attempts to connect again: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// One watch. It is a task of whoever polls its stream.
struct Watcher {
    client: Arc<Client>,
    /// What the caller wants to see.
    keys: KeyRange,
    /// What etcd is asked for: everything, if possible.
    followed: KeyRange,
    /// Every change up to here is in `ready` or has been taken from it.
    at: Revision,
    connection: Option<etcd_client::WatchStream>,
    pause: Duration,
    ready: VecDeque<Watched>,
    /// The first watermark is due once this is reached.
    caught_up_at: Revision,
    announced: bool,
    ended: bool,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.client.watches.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What to do after an attempt to get further.
enum Step {
    Go,
    /// The connection is of no more use.
    Reconnect,
    End(Result<Watched>),
}

pub(super) async fn start(client: Arc<Client>, keys: KeyRange, after: Revision, sees_all_keys: bool) -> Result<WatchStream> {
    let current = match check_start(&client, &keys, after).await {
        Ok(current) => current,
        Err(Error::Compacted { compacted, .. }) => {
            return Ok(Box::pin(stream::once(std::future::ready(Ok(Watched::Compacted(compacted))))));
        }
        Err(error) => return Err(error),
    };
    client.watches.fetch_add(1, Ordering::Relaxed);
    let watcher = Watcher {
        followed: if sees_all_keys { KeyRange::all() } else { keys.clone() },
        client,
        keys,
        at: after,
        connection: None,
        pause: FIRST_PAUSE,
        ready: VecDeque::new(),
        caught_up_at: current,
        announced: !sees_all_keys,
        ended: false,
    };
    Ok(Box::pin(stream::unfold(watcher, async |mut watcher| {
        let item = watcher.next().await?;
        Some((item, watcher))
    })))
}

/// Whether all changes after `after` can still be had. Returns the current revision.
///
/// etcd itself only checks that it has the first revision to deliver. That is not enough: where this revision is just the
/// compacted one, what it deleted may be lost already.
async fn check_start(client: &Client, keys: &KeyRange, after: Revision) -> Result<Revision> {
    if after.is_zero() {
        return client.current_revision().await;
    }
    let probe = Range::of(KeyRange::single(keys.start.clone())).at(after).count_only();
    Ok(client.range(&probe).await?.revision)
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<Watched>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(Ok(item));
            }
            if self.ended {
                return None;
            }
            if !self.announced && self.at >= self.caught_up_at {
                self.announced = true;
                return Some(Ok(Watched::Watermark(self.at)));
            }
            let step = match &mut self.connection {
                None => self.connect().await,
                Some(connection) => match connection.message().await {
                    Ok(Some(message)) => self.take(&message),
                    Ok(None) => Step::Reconnect,
                    Err(error) => {
                        tracing::debug!(err = %error, "the connection of a watch was lost");
                        Step::Reconnect
                    }
                },
            };
            match step {
                Step::Go => {}
                Step::Reconnect => {
                    self.connection = None;
                    tokio::time::sleep(self.pause).await;
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                }
                Step::End(item) => {
                    self.ended = true;
                    return Some(item);
                }
            }
        }
    }

    /// Asks for everything behind what has been seen, and makes sure that it is still there.
    async fn connect(&mut self) -> Step {
        let (start, end) = bounds(&self.followed);
        let options = WatchOptions::new().with_range(end).with_start_revision(self.at.next().0 as i64).with_prev_key();
        let opening = || {
            let mut watches = self.client.etcd.watch_client().max_decoding_message_size(MAX_MESSAGE_BYTES);
            let (start, options) = (start.clone(), options.clone());
            async move {
                let mut connection = watches.watch(start, Some(options)).await?;
                let created = connection.message().await?;
                Ok((connection, created))
            }
        };
        let (connection, created) = match self.client.call(Kind::Read, "watch etcd", opening).await {
            Ok((connection, Some(created))) => (connection, created),
            Ok((_, None)) => return Step::Reconnect,
            Err(error @ Error::PermissionDenied { .. }) => return Step::End(Err(error)),
            Err(error) => {
                tracing::debug!(err = %error, "a watch could not be opened");
                return Step::Reconnect;
            }
        };
        // After the watch exists: were it the other way round, a compaction could come in between.
        match check_start(&self.client, &self.keys, self.at).await {
            Ok(_) => {}
            Err(Error::Compacted { compacted, .. }) => return Step::End(Ok(Watched::Compacted(compacted))),
            Err(error @ (Error::FutureRevision { .. } | Error::PermissionDenied { .. })) => {
                return Step::End(Err(error));
            }
            Err(_) => return Step::Reconnect,
        }
        self.connection = Some(connection);
        self.take(&created)
    }

    /// Queues what a message brings. etcd never spreads a revision over messages unless asked to.
    fn take(&mut self, message: &WatchResponse) -> Step {
        if message.canceled() {
            if message.compact_revision() > 0 {
                let compacted = Revision(message.compact_revision() as u64);
                self.client.note_compacted(compacted);
                return Step::End(Ok(Watched::Compacted(compacted)));
            }
            let reason = message.cancel_reason();
            if reason.contains("permission denied") {
                let attempted = format!("watch etcd: {reason}");
                return Step::End(Err(Error::PermissionDenied { attempted }));
            }
            tracing::debug!(reason, "etcd ended a watch");
            return Step::Reconnect;
        }
        let mut behind: Option<Revision> = None;
        for event in message.events() {
            let Some(kv) = event.kv() else { continue };
            let revision = Revision(kv.mod_revision() as u64);
            if revision <= self.at {
                continue;
            }
            behind = Some(revision);
            if !self.keys.contains(kv.key()) {
                continue;
            }
            let event = match to_event(event, kv, revision) {
                Ok(event) => event,
                Err(error) => return Step::End(Err(error)),
            };
            match self.ready.back_mut() {
                Some(Watched::Events(events)) if events.revision == revision => events.events.push(event),
                _ => self.ready.push_back(Watched::Events(Events { revision, events: vec![event] })),
            }
        }
        if let Some(revision) = behind {
            self.at = revision;
            self.pause = FIRST_PAUSE;
            let said = matches!(self.ready.back(), Some(Watched::Events(events)) if events.revision == revision);
            let provable = self.followed != self.keys || self.keys == KeyRange::all();
            if self.announced && !said && provable {
                self.ready.push_back(Watched::Watermark(revision));
            }
        }
        Step::Go
    }
}

fn to_event(event: &etcd_client::Event, kv: &etcd_client::KeyValue, revision: Revision) -> Result<Event> {
    let previous = event.prev_kv().map(key_value);
    let kind = match event.event_type() {
        EventType::Put => EventKind::Put,
        EventType::Delete => EventKind::Delete,
    };
    let is_create = kind == EventKind::Put && kv.create_revision() == kv.mod_revision();
    if previous.is_none() && !is_create {
        // Possible only for what was compacted while the watch was away, which is checked when it connects.
        return Err(Error::Corrupt {
            place: "etcd".to_owned(),
            detail: format!("the change at revision {revision} came without what it replaced"),
        });
    }
    let create_revision = match (&kind, &previous) {
        (EventKind::Delete, Some(previous)) => previous.create_revision,
        _ => Revision(kv.create_revision() as u64),
    };
    Ok(Event {
        kind,
        key: Bytes::copy_from_slice(kv.key()),
        value: Bytes::copy_from_slice(kv.value()),
        mod_revision: revision,
        create_revision,
        version: kv.version() as u64,
        previous,
    })
}
