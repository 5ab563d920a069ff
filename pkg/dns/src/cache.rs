//! A small cache of forwarded answers.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, RecordType};
use parking_lot::Mutex;

use crate::message::Asked;

/// Answers kept at most; about 2 MiB.
const CAPACITY: usize = 4096;

/// No answer is kept longer, so that a change elsewhere is seen soon whatever its TTL.
const LONGEST: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    name: String,
    record_type: RecordType,
    dnssec_ok: bool,
    checking_disabled: bool,
}

#[derive(Debug)]
struct Kept {
    response: Message,
    since: Instant,
    until: Instant,
}

/// Answers of upstream servers by question.
#[derive(Debug, Default)]
pub struct Cache {
    kept: Mutex<HashMap<Key, Kept>>,
}

impl Cache {
    /// The answer to `asked` if one is at hand, with its TTLs counted down.
    pub fn get(&self, asked: &Asked, now: Instant) -> Option<Message> {
        let kept = self.kept.lock();
        let kept = kept.get(&key(asked)).filter(|kept| now < kept.until)?;
        let age = now.saturating_duration_since(kept.since).as_secs() as u32;
        let mut response = asked.response(kept.response.metadata.response_code);
        response.metadata.authentic_data = kept.response.metadata.authentic_data;
        let aged = |records: &[hickory_proto::rr::Record]| {
            let mut records = records.to_vec();
            records.iter_mut().for_each(|record| record.ttl = record.ttl.saturating_sub(age));
            records
        };
        response.add_answers(aged(&kept.response.answers));
        response.add_authorities(aged(&kept.response.authorities));
        response.add_additionals(aged(&kept.response.additionals));
        Some(response)
    }

    /// Keeps `response` for as long as its records allow.
    pub fn put(&self, asked: &Asked, response: Message, now: Instant) {
        let Some(time) = time_to_keep(&response) else {
            return;
        };
        let mut kept = self.kept.lock();
        if kept.len() >= CAPACITY {
            kept.retain(|_, kept| now < kept.until);
            // All fresh: half of them go, whichever. Cheaper than order, and whoever is asked for comes back.
            if kept.len() >= CAPACITY {
                let mut keep = false;
                kept.retain(|_, _| {
                    keep = !keep;
                    keep
                });
            }
        }
        kept.insert(key(asked), Kept { response, since: now, until: now + time });
    }
}

fn key(asked: &Asked) -> Key {
    Key {
        name: asked.query().name().to_ascii().to_ascii_lowercase(),
        record_type: asked.query().query_type(),
        dnssec_ok: asked.message.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok),
        checking_disabled: asked.message.metadata.checking_disabled,
    }
}

/// `None` for what must not be kept.
fn time_to_keep(response: &Message) -> Option<Duration> {
    if response.metadata.truncation {
        return None;
    }
    let shortest = |records: &[hickory_proto::rr::Record]| records.iter().map(|record| record.ttl).min();
    let seconds = match response.metadata.response_code {
        ResponseCode::NoError if !response.answers.is_empty() => shortest(&response.answers)?,
        // RFC 2308: the authority's record says for how long there is nothing; without one the answer is not kept.
        ResponseCode::NoError | ResponseCode::NXDomain => {
            let limit = response.authorities.iter().find_map(|record| match &record.data {
                RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
                _ => None,
            })?;
            shortest(&response.answers).map_or(limit, |ttl| ttl.min(limit))
        }
        _ => return None,
    };
    (seconds > 0).then(|| Duration::from_secs(u64::from(seconds)).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::Query;
    use hickory_proto::rr::{Name, Record, rdata};

    use super::*;
    use crate::message::{Parsed, Transport, parse};

    fn asked(name: &str) -> Asked {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        match parse(&message.to_vec().unwrap(), Transport::Udp) {
            Parsed::Ask(asked) => asked,
            other => panic!("{other:?}"),
        }
    }

    fn response(asked: &Asked, ttl: u32) -> Message {
        let mut response = asked.response(ResponseCode::NoError);
        let data = RData::A(rdata::A::new(192, 0, 2, 1));
        response.add_answer(Record::from_rdata(asked.query().name().clone(), ttl, data));
        response
    }

    #[test]
    fn answers_age_and_expire_and_case_does_not_matter() {
        let (cache, asked_lower, now) = (Cache::default(), asked("www.example.com."), Instant::now());
        cache.put(&asked_lower, response(&asked_lower, 20), now);
        let other = asked("WWW.example.com.");
        let seen = cache.get(&other, now + Duration::from_secs(15)).unwrap();
        assert_eq!(seen.answers[0].ttl, 5);
        assert_eq!(seen.metadata.id, other.message.metadata.id);
        assert!(cache.get(&other, now + Duration::from_secs(20)).is_none());
    }

    #[test]
    fn errors_and_answers_for_this_moment_only_are_not_kept() {
        let (cache, asked, now) = (Cache::default(), asked("www.example.com."), Instant::now());
        cache.put(&asked, asked.response(ResponseCode::ServFail), now);
        cache.put(&asked, asked.response(ResponseCode::NXDomain), now);
        cache.put(&asked, response(&asked, 0), now);
        assert!(cache.get(&asked, now).is_none());
    }

    #[test]
    fn it_never_grows_beyond_its_capacity() {
        let (cache, now) = (Cache::default(), Instant::now());
        for number in 0..CAPACITY + 10 {
            let asked = asked(&format!("{number}.example.com."));
            cache.put(&asked, response(&asked, 60), now);
        }
        assert!(cache.kept.lock().len() <= CAPACITY);
    }
}
