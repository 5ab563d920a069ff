//! A watch as it arrives: frames cut from the body, frames made into events.

use std::marker::PhantomData;

use apimachinery::meta::v1::WatchEvent as WireEvent;
use apimachinery::wire::Resource;
use apimachinery::{StatusError, Value, json, proto};
use bytes::{Buf, Bytes, BytesMut};

use crate::encoding::{PROTOBUF, decode, decode_value, status_error};
use crate::error::Error;
use crate::request::{Response, ResponseBody};

/// Largest frame accepted. Objects are bounded by the store at a few megabytes.
const MAX_FRAME: usize = 64 << 20;

/// A change.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent<K> {
    Added(K),
    Modified(K),
    /// The object as it was last, with the resource version of its deletion.
    Deleted(K),
    /// Nothing changed up to this object's resource version; only that and annotations are set.
    Bookmark(K),
    /// The watch is over; a 410 means: list again.
    Error(Box<StatusError>),
}

/// A change of an object whose type is not known here.
pub type DynamicEvent = WatchEvent<Value>;

/// The events of one watch, in order. Dropping it ends the watch.
pub struct Watch<K> {
    frames: Frames,
    kind: PhantomData<fn() -> K>,
}

impl<K: Resource> Watch<K> {
    pub(crate) fn new(response: Response) -> Watch<K> {
        Watch { frames: Frames::new(response), kind: PhantomData }
    }

    /// The next event; `None` once the server has ended the watch. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<WatchEvent<K>>, Error> {
        match self.frames.next().await? {
            None => Ok(None),
            Some(wire) => event(&wire, decode::<K>).map(Some),
        }
    }
}

/// As [`Watch`], over value trees.
pub struct DynamicWatch {
    frames: Frames,
}

impl DynamicWatch {
    pub(crate) fn new(response: Response) -> DynamicWatch {
        DynamicWatch { frames: Frames::new(response) }
    }

    /// The next event; `None` once the server has ended the watch. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<DynamicEvent>, Error> {
        match self.frames.next().await? {
            None => Ok(None),
            Some(wire) => event(&wire, decode_value).map(Some),
        }
    }
}

fn event<T>(wire: &WireEvent, decode: fn(&[u8]) -> Result<T, Error>) -> Result<WatchEvent<T>, Error> {
    let object = wire.object.as_bytes();
    Ok(match wire.type_.as_str() {
        "ADDED" => WatchEvent::Added(decode(object)?),
        "MODIFIED" => WatchEvent::Modified(decode(object)?),
        "DELETED" => WatchEvent::Deleted(decode(object)?),
        "BOOKMARK" => WatchEvent::Bookmark(decode(object)?),
        "ERROR" => {
            let error = status_error(object).unwrap_or_else(|| StatusError::unknown(String::from_utf8_lossy(object)));
            WatchEvent::Error(Box::new(error))
        }
        other => return Err(Error::Decode { kind: "WatchEvent".into(), source: format!("invalid watch event type: {other:?}").into() }),
    })
}

/// The body cut into frames: a line each for JSON, a length in front for protobuf.
struct Frames {
    body: ResponseBody,
    buffer: BytesMut,
    /// How far the buffer has been searched for the end of a line.
    searched: usize,
    protobuf: bool,
    ended: bool,
}

impl Frames {
    fn new(response: Response) -> Frames {
        let protobuf = response.content_type().starts_with(PROTOBUF);
        Frames { body: response.body, buffer: BytesMut::new(), searched: 0, protobuf, ended: false }
    }

    /// The next event, its object still encoded. All state lives in `self`, so a dropped call loses nothing.
    async fn next(&mut self) -> Result<Option<WireEvent>, Error> {
        loop {
            if let Some(frame) = self.take_frame()? {
                return self.split(&frame).map(Some);
            }
            if self.ended {
                return Ok(None);
            }
            if self.buffer.len() > MAX_FRAME {
                return Err(Error::TooLarge { limit: MAX_FRAME });
            }
            match self.body.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => self.ended = true,
            }
        }
    }

    fn take_frame(&mut self) -> Result<Option<Bytes>, Error> {
        if self.protobuf {
            let Some(length) = self.buffer.first_chunk::<4>() else { return Ok(None) };
            let length = u32::from_be_bytes(*length) as usize;
            if length > MAX_FRAME {
                return Err(Error::TooLarge { limit: MAX_FRAME });
            }
            if self.buffer.len() < 4 + length {
                return Ok(None);
            }
            self.buffer.advance(4);
            return Ok(Some(self.buffer.split_to(length).freeze()));
        }
        loop {
            let end = match self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                Some(offset) => self.searched + offset + 1,
                // A last line may lack its end, if it is whole.
                None if self.ended && json::from_slice::<WireEvent>(&self.buffer).is_ok() => self.buffer.len(),
                None => {
                    self.searched = self.buffer.len();
                    return Ok(None);
                }
            };
            self.searched = 0;
            let line = self.buffer.split_to(end).freeze();
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
    }

    fn split(&self, frame: &[u8]) -> Result<WireEvent, Error> {
        let failed = |source| Error::Decode { kind: "WatchEvent".into(), source };
        match self.protobuf {
            true => proto::from_slice(frame).map_err(|err| failed(err.into())),
            false => json::from_slice(frame).map_err(|err| failed(err.into())),
        }
    }
}
