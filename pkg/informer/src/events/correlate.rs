//! Which events are sent, and as what: fewer of a noisy source, many alike as one, a repeated one as a count.
//!
//! Upstream: `client-go/tools/record/events_cache.go`.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use api::core::v1::Event;
use apimachinery::Value;
use apimachinery::value::Object;
use client::RateLimiter;
use tokio::time::Instant;

/// Per source and object: this many events at once, then one in five minutes.
const SPAM_BURST: u32 = 25;
const SPAM_QPS: f32 = 1.0 / 300.0;
/// From this many different messages for one reason on, they are combined ...
const COMBINE_FROM: usize = 10;
/// ... if they come within this time of one another.
const COMBINE_WITHIN: Duration = Duration::from_secs(600);
/// How much is remembered of each.
const REMEMBERED: usize = 4096;

/// What to do with an event.
#[derive(Debug)]
pub enum Verdict {
    Drop,
    Create(Event),
    /// Seen before: the event as it should be, and the change that makes it so.
    Patch(Event, Value),
}

/// Source and object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SpamKey([String; 7]);

/// Source, object, type and reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct AggregateKey(SpamKey, [String; 2]);

/// With the message.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct EventKey(AggregateKey, String);

#[derive(Debug)]
struct Similar {
    messages: HashSet<String>,
    last: Instant,
}

/// What was sent under a key.
#[derive(Clone, Debug)]
struct Sent {
    count: i32,
    first_timestamp: apimachinery::Time,
    name: String,
    resource_version: String,
}

/// Remembers what was sent.
#[derive(Debug)]
pub struct Correlator {
    spam: Recent<SpamKey, RateLimiter>,
    similar: Recent<AggregateKey, Similar>,
    sent: Recent<EventKey, Sent>,
}

impl Default for Correlator {
    fn default() -> Correlator {
        Correlator { spam: Recent::new(), similar: Recent::new(), sent: Recent::new() }
    }
}

impl Correlator {
    pub(super) fn judge(&mut self, mut event: Event) -> Verdict {
        let spam_key = spam_key(&event);
        if !self.spam.get_or(&spam_key, || RateLimiter::new(SPAM_QPS, SPAM_BURST)).try_acquire() {
            return Verdict::Drop;
        }
        let aggregate_key = AggregateKey(spam_key, [event.type_.clone(), event.reason.clone()]);
        let similar = self.similar.get_or(&aggregate_key, || Similar { messages: HashSet::new(), last: Instant::now() });
        if similar.last.elapsed() > COMBINE_WITHIN {
            similar.messages.clear();
        }
        similar.last = Instant::now();
        similar.messages.insert(event.message.clone());
        let key = if similar.messages.len() < COMBINE_FROM {
            EventKey(aggregate_key, event.message.clone())
        } else {
            // One message may stand for all; the set need not grow further.
            if similar.messages.len() > COMBINE_FROM {
                similar.messages.remove(&event.message);
            }
            event.message = format!("(combined from similar events): {}", event.message);
            EventKey(aggregate_key, String::new())
        };
        let Some(sent) = self.sent.get(&key) else {
            let sent = Sent {
                count: 1,
                first_timestamp: event.first_timestamp,
                name: event.metadata.name.clone(),
                resource_version: String::new(),
            };
            self.sent.put(key, sent);
            return Verdict::Create(event);
        };
        sent.count += 1;
        event.count = sent.count;
        event.first_timestamp = sent.first_timestamp;
        event.metadata.name = sent.name.clone();
        event.metadata.resource_version = sent.resource_version.clone();
        let mut patch = Object::new();
        patch.insert("count", event.count);
        patch.insert("lastTimestamp", event.last_timestamp.to_string());
        patch.insert("message", event.message.as_str());
        Verdict::Patch(event, patch.into())
    }

    /// The server has stored `event`.
    pub(super) fn sent(&mut self, event: &Event) {
        let aggregate_key = AggregateKey(spam_key(event), [event.type_.clone(), event.reason.clone()]);
        let combined = event.message.starts_with("(combined from similar events): ");
        let key = EventKey(aggregate_key, if combined { String::new() } else { event.message.clone() });
        if let Some(sent) = self.sent.get(&key) {
            sent.count = event.count;
            sent.name = event.metadata.name.clone();
            sent.resource_version = event.metadata.resource_version.clone();
        }
    }
}

fn spam_key(event: &Event) -> SpamKey {
    let about = &event.involved_object;
    let parts = [&event.source.component, &event.source.host, &about.kind, &about.namespace, &about.name, &about.uid, &about.api_version];
    SpamKey(parts.map(Clone::clone))
}

/// A map that forgets what was used longest ago.
#[derive(Debug)]
struct Recent<K, V> {
    entries: HashMap<K, (u64, V)>,
    clock: u64,
}

impl<K: Eq + Hash + Clone, V> Recent<K, V> {
    fn new() -> Recent<K, V> {
        Recent { entries: HashMap::new(), clock: 0 }
    }

    fn get(&mut self, key: &K) -> Option<&mut V> {
        self.clock += 1;
        let (used, value) = self.entries.get_mut(key)?;
        *used = self.clock;
        Some(value)
    }

    fn put(&mut self, key: K, value: V) {
        if self.entries.len() >= REMEMBERED {
            // Half at once, so that the search for the oldest is rare.
            let mut used: Vec<u64> = self.entries.values().map(|(used, _)| *used).collect();
            used.sort_unstable();
            let middle = used[used.len() / 2];
            self.entries.retain(|_, (used, _)| *used > middle);
        }
        self.clock += 1;
        self.entries.insert(key, (self.clock, value));
    }

    fn get_or(&mut self, key: &K, make: impl FnOnce() -> V) -> &mut V {
        if !self.entries.contains_key(key) {
            self.put(key.clone(), make());
        }
        self.get(key).expect("put just above")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(object: &str, message: &str) -> Event {
        let mut event = Event::default();
        event.metadata.name = format!("{object}.1");
        event.involved_object.name = object.into();
        event.reason = "Because".into();
        event.message = message.into();
        event.count = 1;
        event
    }

    fn told(verdict: Verdict) -> String {
        match verdict {
            Verdict::Drop => "drop".into(),
            Verdict::Create(event) => format!("create {}", event.message),
            Verdict::Patch(event, _) => format!("patch {} x{}", event.message, event.count),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_event_again_is_counted() {
        let mut correlator = Correlator::default();
        assert_eq!(told(correlator.judge(event("a", "m"))), "create m");
        assert_eq!(told(correlator.judge(event("a", "m"))), "patch m x2");
        assert_eq!(told(correlator.judge(event("b", "m"))), "create m");
        assert_eq!(told(correlator.judge(event("a", "m"))), "patch m x3");
    }

    #[tokio::test(start_paused = true)]
    async fn many_messages_for_one_reason_are_combined() {
        let mut correlator = Correlator::default();
        for number in 0..9 {
            assert_eq!(told(correlator.judge(event("a", &format!("m{number}")))), format!("create m{number}"));
        }
        assert_eq!(told(correlator.judge(event("a", "m9"))), "create (combined from similar events): m9");
        assert_eq!(told(correlator.judge(event("a", "m10"))), "patch (combined from similar events): m10 x2");
        tokio::time::sleep(Duration::from_secs(601)).await;
        assert_eq!(told(correlator.judge(event("a", "m11"))), "create m11");
    }

    #[tokio::test(start_paused = true)]
    async fn a_noisy_object_is_heard_25_times_and_then_every_five_minutes() {
        let mut correlator = Correlator::default();
        let heard = (0..100).filter(|_| told(correlator.judge(event("a", "m"))) != "drop").count();
        assert_eq!(heard, 25);
        assert_ne!(told(correlator.judge(event("b", "m"))), "drop");
        tokio::time::sleep(Duration::from_secs(301)).await;
        assert_eq!(told(correlator.judge(event("a", "m"))), "patch m x26");
        assert_eq!(told(correlator.judge(event("a", "m"))), "drop");
    }
}
