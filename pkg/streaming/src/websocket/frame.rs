//! Frames of RFC 6455, written and read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, BytesMut};

use super::Codec;
use crate::Error;
use crate::mux::{Decoder, Framing, State, Step};

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// The channel whose payload names a channel that is closed.
const CLOSE_CHANNEL: u8 = 255;
const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;

/// What messages carry.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    Channels(Codec),
    /// Bytes of the one stream 0.
    Tunnel,
}

pub(super) struct Writer {
    client: bool,
    mode: Mode,
    /// The close frame is written; nothing may follow it.
    closed: bool,
}

impl Writer {
    pub(super) fn new(client: bool, mode: Mode) -> Self {
        Self { client, mode, closed: false }
    }

    fn frame(&self, out: &mut Vec<u8>, opcode: u8, prefix: &[u8], payload: &[u8]) {
        frame(out, self.client, opcode, prefix, payload);
    }
}

fn frame(out: &mut Vec<u8>, mask: bool, opcode: u8, prefix: &[u8], payload: &[u8]) {
    let length = prefix.len() + payload.len();
    let masked = if mask { 0x80 } else { 0 };
    out.push(0x80 | opcode);
    match length {
        0..126 => out.push(masked | length as u8),
        126..=0xffff => {
            out.push(masked | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let key: [u8; 4] = if mask { rand::random() } else { [0; 4] };
    if mask {
        out.extend_from_slice(&key);
    }
    let start = out.len();
    out.extend_from_slice(prefix);
    out.extend_from_slice(payload);
    if mask {
        apply_mask(&mut out[start..], key, 0);
    }
}

/// Masks or unmasks `data`, whose first byte is number `at` of its frame's payload.
fn apply_mask(data: &mut [u8], key: [u8; 4], at: usize) {
    let key: [u8; 8] = std::array::from_fn(|index| key[(at + index) % 4]);
    let word = u64::from_ne_bytes(key);
    let mut chunks = data.chunks_exact_mut(8);
    for chunk in &mut chunks {
        let value = u64::from_ne_bytes(chunk.try_into().expect("chunks are of eight bytes")) ^ word;
        chunk.copy_from_slice(&value.to_ne_bytes());
    }
    for (byte, key) in chunks.into_remainder().iter_mut().zip(key) {
        *byte ^= key;
    }
}

impl Framing for Writer {
    // Channels need no opening: both sides know them.
    fn open(&mut self, _: &mut Vec<u8>, _: u32, _: &[(String, String)]) {}

    fn reply(&mut self, _: &mut Vec<u8>, _: u32) {}

    fn data(&mut self, out: &mut Vec<u8>, id: u32, data: &[u8]) {
        match self.mode {
            Mode::Tunnel => self.frame(out, BINARY, &[], data),
            Mode::Channels(Codec { base64: false, .. }) => self.frame(out, BINARY, &[id as u8], data),
            Mode::Channels(Codec { base64: true, .. }) => self.frame(out, TEXT, &[b'0' + id as u8], STANDARD.encode(data).as_bytes()),
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>, id: u32) {
        match self.mode {
            // Only clients close channels, and only since v5; upstream's client complains about a server that does.
            Mode::Channels(Codec { close_signal: true, .. }) if self.client => self.frame(out, BINARY, &[CLOSE_CHANNEL, id as u8], &[]),
            Mode::Channels(_) => {}
            Mode::Tunnel => self.goodbye(out, 0), // The stream is the connection.
        }
    }

    fn reset(&mut self, _: &mut Vec<u8>, _: u32, _: u32) {}

    fn ping(&mut self, out: &mut Vec<u8>) {
        self.frame(out, PING, &[], &[]);
    }

    fn goodbye(&mut self, out: &mut Vec<u8>, _: u32) {
        if !std::mem::replace(&mut self.closed, true) {
            self.frame(out, CLOSE, &[], &NORMAL.to_be_bytes());
        }
    }
}

/// Reads the frames that the other end writes.
pub(super) struct Reader {
    client: bool,
    mode: Mode,
    /// The frame whose payload comes next.
    frame: Option<Frame>,
    /// The message that is not complete yet.
    message: Option<Message>,
    /// Decoded payload that its stream had no room for.
    pending: BytesMut,
}

struct Frame {
    left: u64,
    read: usize,
    key: Option<[u8; 4]>,
    fin: bool,
}

#[derive(Default)]
struct Message {
    channel: Option<u8>,
    /// Characters of a base64 group that is not complete.
    carry: Vec<u8>,
    /// The padding was seen: nothing may follow.
    padded: bool,
}

impl Reader {
    pub(super) fn new(client: bool, mode: Mode) -> Self {
        Self { client, mode, frame: None, message: None, pending: BytesMut::new() }
    }

    /// Reads a frame header, and a control frame with it. `None` if more input is needed.
    fn header(&mut self, input: &mut BytesMut, state: &mut State) -> Result<Option<Step>, Error> {
        let [first, second, ..] = input[..] else { return Ok(None) };
        let opcode = first & 0x0f;
        let fin = first & 0x80 != 0;
        if first & 0x70 != 0 {
            return Err(Error::protocol("reserved bits are set"));
        }
        let masked = second & 0x80 != 0;
        if masked == self.client {
            return Err(Error::protocol(if masked { "masked frame from a server" } else { "unmasked frame from a client" }));
        }
        let (extended, mut length) = match second & 0x7f {
            126 => (2, 0),
            127 => (8, 0),
            length => (0, u64::from(length)),
        };
        let header = 2 + extended + if masked { 4 } else { 0 };
        if input.len() < header {
            return Ok(None);
        }
        for byte in &input[2..2 + extended] {
            length = (length << 8) | u64::from(*byte);
        }
        if length >> 63 != 0 {
            return Err(Error::protocol("frame length is too large"));
        }
        let key = masked.then(|| [input[header - 4], input[header - 3], input[header - 2], input[header - 1]]);
        if opcode & 0x08 != 0 {
            if !fin || length > 125 {
                return Err(Error::protocol("control frame is fragmented or too large"));
            }
            let length = length as usize;
            if input.len() < header + length {
                return Ok(None);
            }
            input.advance(header);
            let mut payload = input.split_to(length);
            if let Some(key) = key {
                apply_mask(&mut payload, key, 0);
            }
            return self.control(opcode, &payload, state).map(Some);
        }
        match (opcode, &self.message) {
            (CONTINUATION, Some(_)) => {}
            (TEXT | BINARY, None) => {
                if opcode == TEXT && matches!(self.mode, Mode::Tunnel) {
                    return Err(Error::protocol("text message in a tunnel"));
                }
                self.message = Some(Message::default());
            }
            _ => return Err(Error::protocol(format!("unexpected frame of type {opcode}"))),
        }
        input.advance(header);
        self.frame = Some(Frame { left: length, read: 0, key, fin });
        Ok(Some(Step::NeedMore))
    }

    fn control(&self, opcode: u8, payload: &[u8], state: &mut State) -> Result<Step, Error> {
        match opcode {
            PING => frame(&mut state.out, self.client, PONG, &[], payload),
            PONG => {}
            CLOSE => {
                state.remote_goodbye = true;
                let (code, reason) = match payload {
                    [] => (NORMAL, String::new()),
                    [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), String::from_utf8_lossy(reason).into_owned()),
                    [_] => (PROTOCOL_ERROR, String::new()),
                };
                frame(&mut state.out, self.client, CLOSE, &[], &NORMAL.to_be_bytes());
                // 1001: a proxy or server on the way goes away, and the session with it.
                return if code == NORMAL { Ok(Step::End) } else { Err(Error::Closed { code, reason }) };
            }
            _ => return Err(Error::protocol(format!("unexpected frame of type {opcode}"))),
        }
        Ok(Step::NeedMore)
    }

    /// Turns payload of the current message into bytes of its stream, in `pending`.
    fn payload(&mut self, payload: BytesMut, last: bool, state: &mut State) -> Result<(), Error> {
        let Some(message) = &mut self.message else { return Ok(()) };
        let Mode::Channels(codec) = self.mode else {
            self.pending = payload;
            return Ok(());
        };
        let mut payload = payload;
        if message.channel.is_none() && !payload.is_empty() {
            let number = payload.get_u8();
            message.channel = Some(if codec.base64 { number.wrapping_sub(b'0') } else { number });
        }
        if codec.close_signal && message.channel == Some(CLOSE_CHANNEL) {
            for number in payload {
                state.remote_finish(u32::from(number));
            }
            return Ok(());
        }
        if !codec.base64 {
            self.pending = payload;
            return Ok(());
        }
        let wrong = || Error::protocol("message is not base64");
        if message.padded && !payload.is_empty() {
            return Err(wrong());
        }
        message.carry.extend(payload.iter().filter(|byte| !matches!(byte, b'\r' | b'\n')));
        let whole = message.carry.len() / 4 * 4;
        if last && whole != message.carry.len() {
            return Err(wrong());
        }
        let rest = message.carry.split_off(whole);
        message.padded = message.carry.last() == Some(&b'=');
        let decoded = STANDARD.decode(&message.carry).map_err(|_| wrong())?;
        message.carry = rest;
        if message.padded && !message.carry.is_empty() {
            return Err(wrong());
        }
        self.pending.extend_from_slice(&decoded);
        Ok(())
    }

    /// Hands `pending` to its stream. False if the stream is full.
    fn hand_on(&mut self, state: &mut State) -> bool {
        let id = match (&self.mode, &self.message) {
            (Mode::Channels(_), Some(Message { channel: Some(number), .. })) => u32::from(*number),
            _ => 0,
        };
        let taken = state.deliver(id, &self.pending);
        self.pending.advance(taken);
        if self.pending.is_empty() {
            self.pending = BytesMut::new();
            return true;
        }
        false
    }
}

impl Decoder for Reader {
    fn decode(&mut self, input: &mut BytesMut, state: &mut State) -> Result<Step, Error> {
        loop {
            if !self.pending.is_empty() && !self.hand_on(state) {
                return Ok(Step::Blocked);
            }
            let Some(frame) = &mut self.frame else {
                match self.header(input, state)? {
                    None => return Ok(Step::NeedMore),
                    Some(Step::End) => return Ok(Step::End),
                    Some(_) => continue,
                }
            };
            if frame.left == 0 {
                let fin = frame.fin;
                self.frame = None;
                if fin {
                    self.payload(BytesMut::new(), true, state)?;
                    self.message = None;
                }
                continue;
            }
            let count = u64::min(frame.left, input.len() as u64) as usize;
            if count == 0 {
                return Ok(Step::NeedMore);
            }
            let mut payload = input.split_to(count);
            if let Some(key) = frame.key {
                apply_mask(&mut payload, key, frame.read % 4);
            }
            frame.left -= count as u64;
            frame.read += count;
            self.payload(payload, false, state)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masking_in_pieces_is_masking_as_a_whole() {
        let plain: Vec<u8> = (0..100).collect();
        let mut whole = plain.clone();
        apply_mask(&mut whole, [1, 2, 3, 4], 0);
        for cut in 0..plain.len() {
            let mut parts = plain.clone();
            let (head, tail) = parts.split_at_mut(cut);
            apply_mask(head, [1, 2, 3, 4], 0);
            apply_mask(tail, [1, 2, 3, 4], cut % 4);
            assert_eq!(parts, whole, "cut at {cut}");
        }
    }

    #[test]
    fn lengths_use_the_shortest_form() {
        for (length, header) in [(0usize, 2usize), (125, 2), (126, 4), (65535, 4), (65536, 10)] {
            let mut out = Vec::new();
            frame(&mut out, false, BINARY, &[], &vec![0; length]);
            assert_eq!(out.len(), header + length);
            let mut out = Vec::new();
            frame(&mut out, true, BINARY, &[], &vec![0; length]);
            assert_eq!(out.len(), header + 4 + length);
        }
    }
}
