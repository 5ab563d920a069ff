//! Frames of SPDY/3.1, written and read.
//!
//! ```text
//!   data:     |0| stream id (31) |              control:  |1| version (15) | type (16) |
//!             | flags (8) | length (24) | ...             | flags (8) | length (24) | ...
//! ```

use bytes::{Buf, BytesMut};

use super::headers::{Deflater, Inflater};
use crate::Error;
use crate::mux::{Decoder, Framing, State, Step};

const VERSION: u16 = 3;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;
const FLAG_FIN: u8 = 1;
const FLAG_UNIDIRECTIONAL: u8 = 2;
/// Longest control frame that is read: a stream has a handful of short headers. Data frames are not kept whole, so need no limit.
const MAX_CONTROL: usize = 64 * 1024;

fn control(out: &mut Vec<u8>, kind: u16, flags: u8, length: usize) {
    out.extend_from_slice(&(0x8000 | VERSION).to_be_bytes());
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&((u32::from(flags) << 24) | length as u32).to_be_bytes());
}

/// Writes frames for one end of a connection.
pub(super) struct Writer {
    deflater: Deflater,
    /// Clients' ping ids are odd, servers' even.
    ping: u32,
}

impl Writer {
    pub(super) fn new(client: bool) -> Self {
        Self { deflater: Deflater::default(), ping: if client { 1 } else { 2 } }
    }
}

fn data(out: &mut Vec<u8>, id: u32, flags: u8, payload: &[u8]) {
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&((u32::from(flags) << 24) | payload.len() as u32).to_be_bytes());
    out.extend_from_slice(payload);
}

impl Framing for Writer {
    fn open(&mut self, out: &mut Vec<u8>, id: u32, headers: &[(String, String)]) {
        let block = self.deflater.block(headers);
        control(out, SYN_STREAM, 0, 10 + block.len());
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&[0; 6]); // No associated stream, priority 0, no credential slot.
        out.extend_from_slice(&block);
    }

    fn reply(&mut self, out: &mut Vec<u8>, id: u32) {
        let block = self.deflater.block(&[]);
        control(out, SYN_REPLY, 0, 4 + block.len());
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&block);
    }

    fn data(&mut self, out: &mut Vec<u8>, id: u32, payload: &[u8]) {
        data(out, id, 0, payload);
    }

    fn finish(&mut self, out: &mut Vec<u8>, id: u32) {
        data(out, id, FLAG_FIN, &[]);
    }

    fn reset(&mut self, out: &mut Vec<u8>, id: u32, status: u32) {
        control(out, RST_STREAM, 0, 8);
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&status.to_be_bytes());
    }

    fn ping(&mut self, out: &mut Vec<u8>) {
        control(out, PING, 0, 4);
        out.extend_from_slice(&self.ping.to_be_bytes());
        self.ping = self.ping.checked_add(2).unwrap_or(2 - self.ping % 2);
    }

    fn goodbye(&mut self, out: &mut Vec<u8>, last: u32) {
        control(out, GOAWAY, 0, 8);
        out.extend_from_slice(&last.to_be_bytes());
        out.extend_from_slice(&0u32.to_be_bytes());
    }
}

/// Reads the frames that the other end writes.
pub(super) struct Reader {
    inflater: Inflater,
    client: bool,
    at: At,
}

/// Where in the byte stream the next byte belongs.
enum At {
    Header,
    Data {
        id: u32,
        left: usize,
        fin: bool,
    },
    /// In the payload of a control frame that means nothing to us.
    Skip(usize),
}

impl Reader {
    pub(super) fn new(client: bool) -> Self {
        Self { inflater: Inflater::default(), client, at: At::Header }
    }

    /// Reads a header, and a control frame's payload with it. False if more input is needed.
    fn header(&mut self, input: &mut BytesMut, state: &mut State) -> Result<bool, Error> {
        if input.len() < 8 {
            return Ok(false);
        }
        let first = u32::from_be_bytes([input[0], input[1], input[2], input[3]]);
        let flags = input[4];
        let length = u32::from_be_bytes([0, input[5], input[6], input[7]]) as usize;
        if first & 0x8000_0000 == 0 {
            if first == 0 {
                return Err(Error::protocol("data on stream 0"));
            }
            input.advance(8);
            self.at = At::Data { id: first, left: length, fin: flags & FLAG_FIN != 0 };
            return Ok(true);
        }
        let version = (first >> 16) as u16 & 0x7fff;
        if version != VERSION {
            return Err(Error::protocol(format!("SPDY version {version}")));
        }
        let kind = first as u16;
        if matches!(kind, SETTINGS | WINDOW_UPDATE) || kind > WINDOW_UPDATE || kind == 0 || kind == 5 {
            input.advance(8);
            self.at = At::Skip(length);
            return Ok(true);
        }
        if length > MAX_CONTROL {
            return Err(Error::protocol(format!("control frame of {length} bytes is too large")));
        }
        if input.len() < 8 + length {
            return Ok(false);
        }
        input.advance(8);
        let payload = input.split_to(length);
        self.control(kind, flags, &payload, state)?;
        Ok(true)
    }

    fn control(&mut self, kind: u16, flags: u8, payload: &[u8], state: &mut State) -> Result<(), Error> {
        let word = |index: usize| -> Result<u32, Error> {
            let bytes = payload.get(index * 4..index * 4 + 4).ok_or_else(|| Error::protocol("control frame cut short"))?;
            Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        };
        let id = word(0)? & 0x7fff_ffff;
        let fin = flags & FLAG_FIN != 0;
        if id == 0 && !matches!(kind, GOAWAY) {
            return Err(Error::protocol("control frame for stream 0"));
        }
        match kind {
            SYN_STREAM => {
                let headers = self.inflater.block(payload.get(10..).ok_or_else(|| Error::protocol("control frame cut short"))?)?;
                state.remote_open(id, headers, flags & FLAG_UNIDIRECTIONAL != 0, fin)?;
            }
            SYN_REPLY => {
                self.inflater.block(&payload[4..])?;
                state.remote_reply(id);
                if fin {
                    state.remote_finish(id);
                }
            }
            HEADERS => {
                self.inflater.block(&payload[4..])?; // Nobody in Kubernetes sends any, yet they are part of the compressed stream.
                if fin {
                    state.remote_finish(id);
                }
            }
            RST_STREAM => state.remote_reset(id, word(1)?),
            PING => {
                let ping = word(0)?;
                let ours = (ping % 2 == 1) == self.client;
                if !ours {
                    control(&mut state.out, PING, 0, 4);
                    state.out.extend_from_slice(&ping.to_be_bytes());
                }
            }
            GOAWAY => state.remote_goodbye = true,
            _ => return Err(Error::protocol(format!("control frame of type {kind}"))),
        }
        Ok(())
    }
}

impl Decoder for Reader {
    fn decode(&mut self, input: &mut BytesMut, state: &mut State) -> Result<Step, Error> {
        loop {
            match &mut self.at {
                At::Header => {
                    if !self.header(input, state)? {
                        return Ok(Step::NeedMore);
                    }
                }
                At::Skip(left) => {
                    let count = input.len().min(*left);
                    input.advance(count);
                    *left -= count;
                    if *left > 0 {
                        return Ok(Step::NeedMore);
                    }
                    self.at = At::Header;
                }
                At::Data { id, left, fin } => {
                    let count = input.len().min(*left);
                    if count == 0 && *left > 0 {
                        return Ok(Step::NeedMore);
                    }
                    let taken = state.deliver(*id, &input[..count]);
                    input.advance(taken);
                    *left -= taken;
                    if taken < count {
                        return Ok(Step::Blocked);
                    }
                    if *left == 0 {
                        if *fin {
                            state.remote_finish(*id);
                        }
                        self.at = At::Header;
                    }
                }
            }
        }
    }
}
