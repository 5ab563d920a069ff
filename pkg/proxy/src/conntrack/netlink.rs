//! Lists and deletes the kernel's UDP flows over netlink (`nfnetlink_conntrack`), in the namespace of the calling thread.
//!
//! ```text
//! nlmsghdr  length, type, flags, sequence, port             16 bytes, in the machine's order
//! nfgenmsg  family, version, resource id                    4 bytes
//! nlattr    length, type, payload, padding to four bytes    payloads in network order; some hold attributes again
//! ```

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};
use thiserror::Error;

use super::Flow;
use crate::service::Family;

// linux/netlink.h
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x001;
const NLM_F_ACK: u16 = 0x004;
const NLM_F_DUMP: u16 = 0x300;
const NLA_TYPE_MASK: u16 = 0x3fff;

// linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h: the subsystem is the high byte of the type.
const CT_NEW: u16 = 0x100;
const CT_GET: u16 = 0x101;
const CT_DELETE: u16 = 0x102;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_ZONE: u16 = 18;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;

const IPPROTO_UDP: u8 = 17;
const HEADER: usize = 16;
/// nfgenmsg behind the header.
const GENERIC: usize = 4;
const ENOENT: i32 = 2;

#[derive(Debug, Error)]
pub enum ConntrackError {
    #[error("cannot list the kernel's {} connections", family.as_str())]
    List {
        family: Family,
        #[source]
        source: io::Error,
    },
    #[error("cannot delete an entry of the kernel's {} connections", family.as_str())]
    Delete {
        family: Family,
        #[source]
        source: io::Error,
    },
}

/// Deletes the UDP flows that `is_stale`; says how many. Blocks for as long as the kernel takes to list its table.
pub fn delete_flows(family: Family, is_stale: impl Fn(&Flow) -> bool) -> Result<usize, ConntrackError> {
    let list = |source: io::Error| ConntrackError::List { family, source };
    let socket = open().map_err(list)?;
    send(&socket, CT_GET, NLM_F_REQUEST | NLM_F_DUMP, family, &[]).map_err(list)?;
    let mut stale = Vec::new();
    receive(&socket, |kind, payload| {
        if kind == CT_NEW
            && let Some((flow, key)) = parse(payload)
            && is_stale(&flow)
        {
            stale.push(key);
        }
    })
    .map_err(list)?;
    for key in &stale {
        let deleted = send(&socket, CT_DELETE, NLM_F_REQUEST | NLM_F_ACK, family, key).and_then(|()| receive(&socket, |_, _| {}));
        match deleted {
            Ok(()) => {}
            // It has expired in the meantime.
            Err(error) if error.raw_os_error() == Some(ENOENT) => {}
            Err(source) => return Err(ConntrackError::Delete { family, source }),
        }
    }
    Ok(stale.len())
}

fn open() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    Ok(socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(NETFILTER))?)
}

fn send(socket: &OwnedFd, kind: u16, flags: u16, family: Family, attributes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(HEADER + GENERIC + attributes.len()).map_err(io::Error::other)?;
    let mut message = Vec::with_capacity(HEADER + GENERIC + attributes.len());
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&flags.to_ne_bytes());
    // Sequence and port: one request is under way at a time on this socket, so they tell nothing apart.
    message.extend_from_slice(&[0; 8]);
    let family = match family {
        Family::V4 => AddressFamily::INET,
        Family::V6 => AddressFamily::INET6,
    };
    message.extend_from_slice(&[family.as_raw() as u8, 0, 0, 0]);
    message.extend_from_slice(attributes);
    sendto(socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    Ok(())
}

/// Hands type and payload of each message to `take` until the kernel says that it is done.
fn receive(socket: &OwnedFd, mut take: impl FnMut(u16, &[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let (_, length) = recv(socket, &mut buffer[..], RecvFlags::empty())?;
        let mut rest = &buffer[..length];
        while let Some((kind, payload, next)) = split_message(rest) {
            rest = next;
            match kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => {
                    let code = payload.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                    // Zero acknowledges.
                    return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
                }
                _ => take(kind, payload),
            }
        }
    }
}

/// The first message's type and payload, and what follows it.
fn split_message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(*bytes.first_chunk()?) as usize;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let payload = bytes.get(HEADER..length)?;
    let next = bytes.get(aligned(length)..).unwrap_or_default();
    Some((kind, payload, next))
}

/// Type and payload of each attribute, together with its bytes as they are.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8], &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*bytes.first_chunk()?));
        let kind = u16::from_ne_bytes(*bytes.get(2..)?.first_chunk()?) & NLA_TYPE_MASK;
        let payload = bytes.get(4..length)?;
        let end = aligned(length).min(bytes.len());
        let (whole, rest) = bytes.split_at(end);
        bytes = rest;
        Some((kind, payload, whole))
    })
}

fn aligned(length: usize) -> usize {
    (length + 3) & !3
}

/// Reads an entry if it is of UDP: the flow, and the attributes by which the kernel finds the entry again.
fn parse(payload: &[u8]) -> Option<(Flow, Vec<u8>)> {
    let (mut original, mut reply, mut key) = (None, None, Vec::new());
    for (kind, payload, whole) in attributes(payload.get(GENERIC..)?) {
        match kind {
            CTA_TUPLE_ORIG => {
                original = parse_tuple(payload);
                key.extend_from_slice(whole);
            }
            CTA_TUPLE_REPLY => reply = parse_tuple(payload),
            CTA_ZONE => key.extend_from_slice(whole),
            _ => {}
        }
    }
    let flow = Flow { destination: original?.1, answers_from: reply?.0 };
    Some((flow, key))
}

/// Source and destination, if the protocol is UDP.
fn parse_tuple(payload: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (mut from, mut to) = (None, None);
    let (mut protocol, mut from_port, mut to_port) = (None, None, None);
    for (kind, payload, _) in attributes(payload) {
        for (inner, value, _) in attributes(payload) {
            match (kind, inner) {
                (CTA_TUPLE_IP, CTA_IP_V4_SRC | CTA_IP_V6_SRC) => from = parse_ip(value),
                (CTA_TUPLE_IP, CTA_IP_V4_DST | CTA_IP_V6_DST) => to = parse_ip(value),
                (CTA_TUPLE_PROTO, CTA_PROTO_NUM) => protocol = value.first().copied(),
                (CTA_TUPLE_PROTO, CTA_PROTO_SRC_PORT) => from_port = parse_port(value),
                (CTA_TUPLE_PROTO, CTA_PROTO_DST_PORT) => to_port = parse_port(value),
                _ => {}
            }
        }
    }
    (protocol? == IPPROTO_UDP).then_some(())?;
    Some((SocketAddr::new(from?, from_port?), SocketAddr::new(to?, to_port?)))
}

fn parse_ip(value: &[u8]) -> Option<IpAddr> {
    match *value {
        [a, b, c, d] => Some(Ipv4Addr::new(a, b, c, d).into()),
        _ => Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into()),
    }
}

fn parse_port(value: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(*value.first_chunk()?))
}
