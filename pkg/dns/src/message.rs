//! Questions and answers in bytes, without any socket.

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};

use crate::zone::{Lookup, Zone};

/// Longest answer over UDP to a client that does not say what it can take (RFC 1035).
const PLAIN_UDP: u16 = 512;

/// Longest answer over UDP to any client, and what we say that we take: not fragmented on any usual link.
const LARGEST_UDP: u16 = 1232;

/// Aliases that are followed inside the zone before the answer is left as it is.
const LONGEST_CHAIN: usize = 8;

/// How a question came, and so how long its answer may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// A question that is well-formed enough to be answered.
#[derive(Clone, Debug)]
pub struct Asked {
    pub message: Message,
    pub transport: Transport,
}

/// What to do with a datagram.
#[derive(Debug)]
pub enum Parsed {
    /// Not a question at all: an answer would go to somebody who never asked.
    Ignore,
    /// A question that gets this error whatever it asks.
    Refuse(Message, Transport),
    Ask(Asked),
}

/// What the zone says of a question.
#[derive(Debug)]
pub enum Answer {
    Reply(Message),
    /// To be forwarded as it is.
    Forward,
    /// The name is an alias of one outside of the zone: the answer so far, and the rest of the question.
    Chase(Message, Query),
}

/// Reads a message from a client.
pub fn parse(bytes: &[u8], transport: Transport) -> Parsed {
    // Id and flags; an answer (first flag set) is never answered, or two servers could talk for ever.
    let [id_high, id_low, flags, ..] = *bytes else {
        return Parsed::Ignore;
    };
    if bytes.len() < 12 || flags & 0x80 != 0 {
        return Parsed::Ignore;
    }
    let id = u16::from_be_bytes([id_high, id_low]);
    if flags & 0x78 != 0 {
        let op_code = OpCode::from_u8(flags >> 3 & 0x0f);
        return Parsed::Refuse(Message::error_msg(id, op_code, ResponseCode::NotImp), transport);
    }
    let malformed = || Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
    let Ok(message) = Message::from_vec(bytes) else {
        return Parsed::Refuse(malformed(), transport);
    };
    if message.queries.len() != 1 {
        return Parsed::Refuse(malformed(), transport);
    }
    let asked = Asked { message, transport };
    if asked.message.edns.as_ref().is_some_and(|edns| edns.version() != 0) {
        let response = asked.response(ResponseCode::BADVERS);
        return Parsed::Refuse(response, transport);
    }
    match asked.query().query_class() {
        // Nobody gets the zone as a whole.
        _ if matches!(asked.query().query_type(), RecordType::AXFR | RecordType::IXFR) => {
            Parsed::Refuse(asked.response(ResponseCode::Refused), transport)
        }
        DNSClass::IN | DNSClass::ANY => Parsed::Ask(asked),
        _ => Parsed::Refuse(asked.response(ResponseCode::Refused), transport),
    }
}

impl Asked {
    /// The only question.
    pub fn query(&self) -> &Query {
        &self.message.queries[0]
    }

    /// Longest answer that the client takes.
    pub fn limit(&self) -> u16 {
        match (self.transport, &self.message.edns) {
            (Transport::Tcp, _) => u16::MAX,
            (Transport::Udp, Some(edns)) => edns.max_payload().clamp(PLAIN_UDP, LARGEST_UDP),
            (Transport::Udp, None) => PLAIN_UDP,
        }
    }

    /// An answer without records.
    pub fn response(&self, code: ResponseCode) -> Message {
        let request = &self.message.metadata;
        let mut response = Message::response(request.id, OpCode::Query);
        response.metadata.recursion_desired = request.recursion_desired;
        response.metadata.checking_disabled = request.checking_disabled;
        response.metadata.recursion_available = true;
        response.metadata.response_code = code;
        response.add_query(self.query().clone());
        if let Some(asked) = &self.message.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(LARGEST_UDP).set_version(0).set_dnssec_ok(asked.flags().dnssec_ok);
            response.set_edns(edns);
        }
        response
    }

    /// Asks the zone. `turn` rotates addresses, so that clients that take the first one spread.
    pub fn answer(&self, zone: &Zone, turn: usize) -> Answer {
        let query = self.query();
        let mut response = self.response(ResponseCode::NoError);
        response.metadata.authoritative = true;
        let mut name = query.name().clone();
        for _ in 0..LONGEST_CHAIN {
            match zone.lookup(&name, query.query_type()) {
                Lookup::NotOurs if response.answers.is_empty() => return Answer::Forward,
                Lookup::NotOurs => return Answer::Chase(response, Query::query(name, query.query_type())),
                Lookup::Found { mut answers, additionals } => {
                    rotate(&mut answers, turn);
                    response.add_answers(answers);
                    response.add_additionals(additionals);
                    return Answer::Reply(response);
                }
                Lookup::Alias { answer, target } => {
                    response.add_answer(answer);
                    name = target;
                }
                Lookup::NoData => {
                    response.add_authority(zone.start_of_authority());
                    return Answer::Reply(response);
                }
                Lookup::NoName => {
                    response.metadata.response_code = ResponseCode::NXDomain;
                    response.add_authority(zone.start_of_authority());
                    return Answer::Reply(response);
                }
            }
        }
        Answer::Reply(response)
    }
}

fn rotate(answers: &mut [Record], turn: usize) {
    let is_address = |record: &Record| matches!(record.record_type(), RecordType::A | RecordType::AAAA);
    if answers.len() > 1 && answers.iter().all(is_address) {
        let by = turn % answers.len();
        answers.rotate_left(by);
    }
}

/// Writes `message` in at most `limit` bytes: without the additional records if need be, then without some answers and
/// marked as truncated, so that the client comes back over TCP.
pub fn encode(mut message: Message, limit: u16) -> Vec<u8> {
    let mut bytes = write(&message);
    if bytes.len() > usize::from(limit) && !message.additionals.is_empty() {
        message.additionals.clear();
        bytes = write(&message);
    }
    while bytes.len() > usize::from(limit) && !(message.answers.is_empty() && message.authorities.is_empty()) {
        message.metadata.truncation = true;
        message.authorities.clear();
        // Not only the mark, for clients that never ask again over TCP.
        let fitting = message.answers.len() * usize::from(limit) / bytes.len();
        message.answers.truncate(fitting.min(message.answers.len().saturating_sub(1)));
        bytes = write(&message);
    }
    bytes
}

fn write(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    let mut encoder = BinEncoder::new(&mut bytes);
    if message.emit(&mut encoder).is_ok() {
        return bytes;
    }
    // Only a forwarded record that cannot be written again comes here.
    let failure = Message::error_msg(message.metadata.id, OpCode::Query, ResponseCode::ServFail);
    failure.to_vec().unwrap_or_default()
}

/// Is `response` the answer to `query`, and not something that a stranger has sent?
pub fn is_answer_to(response: &Message, id: u16, query: &Query) -> bool {
    response.metadata.id == id
        && response.metadata.message_type == MessageType::Response
        && response.queries.len() == 1
        && response.queries[0].name() == query.name()
        && response.queries[0].query_type() == query.query_type()
        && response.queries[0].query_class() == query.query_class()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use hickory_proto::rr::Name;

    use super::*;
    use crate::zone::{EndpointRecord, PodRecords, ServiceRecord, SliceRecord, Target, ZoneConfig};

    /// A zone with a headless Service `many` of `count` endpoints, and aliases `near` and `far`.
    fn zone(count: u8) -> Zone {
        let domain = Name::from_ascii("cluster.local.").unwrap();
        let mut zone = Zone::new(ZoneConfig { domain, ttl: 5, pods: PodRecords::Disabled, serial: 1 });
        zone.set_service("ns", "many", Some(ServiceRecord { target: Target::Headless, ports: Vec::new() }));
        let endpoints =
            (0..count).map(|number| EndpointRecord { addresses: vec![IpAddr::from([10, 0, 0, number])], hostname: None }).collect();
        zone.set_slice("ns", "many", "slice", Some(SliceRecord { endpoints, ports: Vec::new() }));
        for (name, target) in [("near", "many.ns.svc.cluster.local"), ("far", "www.example.com")] {
            let record = ServiceRecord { target: Target::External(target.to_owned()), ports: Vec::new() };
            zone.set_service("ns", name, Some(record));
        }
        zone
    }

    fn question(name: &str, edns: Option<u16>) -> Message {
        let mut message = Message::query();
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), RecordType::A));
        if let Some(payload) = edns {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            message.set_edns(edns);
        }
        message
    }

    fn asked(message: &Message, transport: Transport) -> Asked {
        match parse(&message.to_vec().unwrap(), transport) {
            Parsed::Ask(asked) => asked,
            other => panic!("{other:?}"),
        }
    }

    fn reply(zone: &Zone, message: &Message, transport: Transport) -> (Message, usize) {
        let asked = asked(message, transport);
        let Answer::Reply(response) = asked.answer(zone, 0) else { panic!("the zone knows") };
        let bytes = encode(response, asked.limit());
        assert!(bytes.len() <= usize::from(asked.limit()));
        (Message::from_vec(&bytes).unwrap(), bytes.len())
    }

    #[test]
    fn answers_fit_and_say_when_they_are_cut() {
        let zone = zone(100);
        for (edns, transport, truncated) in
            [(None, Transport::Udp, true), (Some(4096), Transport::Udp, true), (Some(4096), Transport::Tcp, false)]
        {
            let (response, length) = reply(&zone, &question("many.ns.svc.cluster.local.", edns), transport);
            assert_eq!(response.metadata.truncation, truncated, "{edns:?} {transport:?}");
            assert_eq!(response.answers.len() == 100, !truncated);
            assert!(!response.answers.is_empty());
            assert_eq!(response.edns.is_some(), edns.is_some());
            assert!(length > 400, "as much as fits");
        }
        assert!(!reply(&zone_of_three(), &question("many.ns.svc.cluster.local.", None), Transport::Udp).0.truncation);
    }

    fn zone_of_three() -> Zone {
        zone(3)
    }

    #[test]
    fn addresses_take_turns() {
        let zone = zone(3);
        let message = question("many.ns.svc.cluster.local.", None);
        let first = |turn| match asked(&message, Transport::Udp).answer(&zone, turn) {
            Answer::Reply(response) => response.answers[0].data.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!([0, 1, 2, 3].map(first), ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.0"]);
    }

    #[test]
    fn aliases_are_followed_here_and_chased_elsewhere() {
        let zone = zone(1);
        let (near, _) = reply(&zone, &question("near.ns.svc.cluster.local.", None), Transport::Udp);
        assert_eq!(near.answers.len(), 2);
        let far = question("far.ns.svc.cluster.local.", None);
        match asked(&far, Transport::Udp).answer(&zone, 0) {
            Answer::Chase(response, query) => {
                assert_eq!(response.answers.len(), 1);
                assert_eq!(query.name().to_ascii(), "www.example.com.");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn no_such_name_comes_with_the_authority_and_says_how_long_it_holds() {
        let (response, _) = reply(&zone(0), &question("none.ns.svc.cluster.local.", None), Transport::Udp);
        assert_eq!(response.metadata.response_code, ResponseCode::NXDomain);
        assert!(response.metadata.authoritative);
        assert_eq!(response.authorities[0].ttl, 5);
    }

    #[test]
    fn nonsense_is_ignored_or_refused() {
        let code = |bytes: &[u8]| match parse(bytes, Transport::Udp) {
            Parsed::Ignore => "ignore".to_owned(),
            Parsed::Refuse(message, _) => format!("{:?}", message.metadata.response_code),
            Parsed::Ask(_) => "ask".to_owned(),
        };
        let good = question("a.b.", Some(1232)).to_vec().unwrap();
        assert_eq!(code(&good), "ask");
        assert_eq!(code(&good[..11]), "ignore");
        assert_eq!(code(&good[..14]), "FormErr");
        let with_flags = |flags: u8| {
            let mut bytes = good.clone();
            bytes[2] = flags;
            bytes
        };
        assert_eq!(code(&with_flags(0x80)), "ignore");
        assert_eq!(code(&with_flags(0x28)), "NotImp");
        let mut chaos = question("version.bind.", None);
        chaos.queries[0].set_query_class(DNSClass::CH);
        assert_eq!(code(&chaos.to_vec().unwrap()), "Refused");
        let mut transfer = question("cluster.local.", None);
        transfer.queries[0].set_query_type(RecordType::AXFR);
        assert_eq!(code(&transfer.to_vec().unwrap()), "Refused");
        let mut two = question("a.b.", None);
        two.add_query(two.queries[0].clone());
        assert_eq!(code(&two.to_vec().unwrap()), "FormErr");
    }
}
