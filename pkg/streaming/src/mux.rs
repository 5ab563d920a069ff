//! Many byte streams over one connection: what SPDY and WebSocket channels have in common.
//!
//! ```text
//!   Stream --poll_write--> [ out: one buffer, all streams ] --\
//!                                                             driver task <--> socket
//!   Stream <--poll_read--- [ inbound: one buffer a stream ] --/
//! ```
//!
//! One lock per connection guards all of it; it is held for copies of at most a frame's size and never across an await. Memory is
//! bounded: writers wait while `out` holds [`OUT_LIMIT`] bytes, the driver stops reading the socket while the stream whose bytes
//! come next holds [`STREAM_LIMIT`]. Nobody ever waits for a window update: upstream's peers send none. Buffers are given back
//! when empty, so an idle session holds little more than its read buffer.

mod driver;
mod stream;

use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;

use crate::{BoxIo, Error};
pub use stream::{ReadHalf, Stream, WriteHalf};

/// Most bytes received and not yet read of one stream.
pub(crate) const STREAM_LIMIT: usize = 128 * 1024;
/// Most bytes received and not yet read of all streams of a connection.
const CONNECTION_LIMIT: usize = 4 * 1024 * 1024;
/// Writers wait while this much is queued for the socket.
const OUT_LIMIT: usize = 64 * 1024;
/// Most payload in one frame that we send: small enough that streams share the connection fairly.
pub(crate) const CHUNK: usize = 16 * 1024;
/// A peer that makes us queue more than this (pings without reading the answers) is cut off.
const FLOOD_LIMIT: usize = 512 * 1024;
/// Most streams open at once on a connection.
const MAX_STREAMS: usize = 4096;
/// Most streams that the peer has opened and nobody has accepted.
const MAX_INCOMING: usize = 64;

/// When to probe an idle connection, and when to give it up.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeepAlive {
    /// How often to ping. The connection fails after twelve periods in which the peer sent nothing at all.
    pub ping: Option<Duration>,
    /// Ends the connection after this long without a byte in either direction (`--streaming-connection-idle-timeout`).
    pub idle: Option<Duration>,
}

/// Header names and values of a SPDY stream. Names are lower case on the wire; look-ups ignore case.
pub(crate) type HeaderList = Vec<(String, String)>;

/// How a protocol writes its frames. Each call appends to `out`.
pub(crate) trait Framing: Send {
    fn open(&mut self, out: &mut Vec<u8>, id: u32, headers: &[(String, String)]);
    fn reply(&mut self, out: &mut Vec<u8>, id: u32);
    fn data(&mut self, out: &mut Vec<u8>, id: u32, data: &[u8]);
    fn finish(&mut self, out: &mut Vec<u8>, id: u32);
    fn reset(&mut self, out: &mut Vec<u8>, id: u32, status: u32);
    fn ping(&mut self, out: &mut Vec<u8>);
    /// The last frame of the session. `last` is the newest stream the peer opened.
    fn goodbye(&mut self, out: &mut Vec<u8>, last: u32);
}

/// How a protocol reads its frames.
pub(crate) trait Decoder: Send {
    /// Consumes from `input` what it understands. Called again with more input, or when a stream has room again.
    fn decode(&mut self, input: &mut BytesMut, state: &mut State) -> Result<Step, Error>;
}

pub(crate) enum Step {
    /// All complete frames are consumed.
    NeedMore,
    /// The next bytes belong to a stream whose buffer is full.
    Blocked,
    /// The peer has said goodbye; nothing after it counts.
    End,
}

/// One stream's share of the connection.
#[derive(Default)]
pub(crate) struct Entry {
    inbound: BytesMut,
    reader: Option<Waker>,
    opener: Option<Waker>,
    /// The peer has accepted the stream (always true for streams the peer opened, and for channels).
    replied: bool,
    /// The peer sends nothing more.
    remote_done: bool,
    /// We send nothing more.
    local_done: bool,
    /// Nobody reads any more: drop what arrives.
    discard: bool,
    /// The stream broke off, rather than ended.
    failure: Option<Error>,
    headers: HeaderList,
}

impl Entry {
    fn wake(&mut self) {
        for waker in [self.reader.take(), self.opener.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

/// Everything about a connection that is not the socket itself.
pub(crate) struct State {
    framing: Box<dyn Framing>,
    /// Encoded frames on their way to the socket.
    pub(crate) out: Vec<u8>,
    out_waiters: Vec<Waker>,
    driver: Option<Waker>,
    streams: HashMap<u32, Entry>,
    /// Sum of all inbound buffers.
    buffered: usize,
    /// The driver waits for room in some stream.
    blocked: bool,
    incoming: VecDeque<u32>,
    watchers: Vec<Waker>,
    next_id: u32,
    last_remote: u32,
    /// We have said goodbye: flush and close.
    closing: bool,
    /// The peer has said goodbye; the end of its bytes is then no surprise.
    pub(crate) remote_goodbye: bool,
    /// The connection is over; `Error::Finished` if it ended as it should.
    end: Option<Error>,
}

impl State {
    fn wake_driver(&mut self) {
        if let Some(waker) = self.driver.take() {
            waker.wake();
        }
    }

    fn wake_writers(&mut self) {
        for waker in self.out_waiters.drain(..) {
            waker.wake();
        }
    }

    fn wake_watchers(&mut self) {
        for waker in self.watchers.drain(..) {
            waker.wake();
        }
    }

    fn watch(&mut self, waker: &Waker) {
        if !self.watchers.iter().any(|known| known.will_wake(waker)) {
            self.watchers.push(waker.clone());
        }
    }

    /// Hands received bytes to a stream and returns how many it took. Zero means its buffer is full; what nobody wants is taken.
    pub(crate) fn deliver(&mut self, id: u32, data: &[u8]) -> usize {
        let Some(entry) = self.streams.get_mut(&id) else { return data.len() };
        if entry.discard || entry.remote_done {
            return data.len();
        }
        let room = (STREAM_LIMIT - entry.inbound.len().min(STREAM_LIMIT)).min(CONNECTION_LIMIT.saturating_sub(self.buffered));
        let taken = data.len().min(room);
        entry.inbound.extend_from_slice(&data[..taken]);
        self.buffered += taken;
        if taken > 0
            && let Some(waker) = entry.reader.take()
        {
            waker.wake();
        }
        taken
    }

    /// The peer opened a stream. What it may not open is refused, not an error.
    pub(crate) fn remote_open(&mut self, id: u32, headers: HeaderList, unidirectional: bool, fin: bool) -> Result<(), Error> {
        if id <= self.last_remote || id % 2 == self.next_id % 2 {
            return Err(Error::protocol(format!("stream {id} opened out of order")));
        }
        self.last_remote = id;
        if self.closing || self.incoming.len() >= MAX_INCOMING || self.streams.len() >= MAX_STREAMS {
            const REFUSED_STREAM: u32 = 3;
            self.framing.reset(&mut self.out, id, REFUSED_STREAM);
            return Ok(());
        }
        let entry = Entry { replied: true, remote_done: fin, local_done: unidirectional, headers, ..Entry::default() };
        self.streams.insert(id, entry);
        self.incoming.push_back(id);
        self.wake_watchers();
        Ok(())
    }

    /// The peer accepted a stream of ours.
    pub(crate) fn remote_reply(&mut self, id: u32) {
        if let Some(entry) = self.streams.get_mut(&id) {
            entry.replied = true;
            entry.wake();
        }
    }

    /// The peer sends nothing more on this stream.
    pub(crate) fn remote_finish(&mut self, id: u32) {
        if let Some(entry) = self.streams.get_mut(&id) {
            entry.remote_done = true;
            entry.wake();
        }
    }

    /// The peer tore the stream down. `CANCEL` is how Go's servers end any stream, hence an ordinary end of data.
    pub(crate) fn remote_reset(&mut self, id: u32, status: u32) {
        const CANCEL: u32 = 5;
        if let Some(entry) = self.streams.get_mut(&id) {
            if status != CANCEL || !entry.replied {
                entry.failure = Some(Error::Reset(status));
            }
            entry.remote_done = true;
            entry.local_done = true;
            entry.wake();
            self.wake_writers();
        }
    }

    /// No write that waits behind our own is worth more than this: see [`FLOOD_LIMIT`].
    pub(crate) fn check_flood(&self) -> Result<(), Error> {
        if self.out.len() > FLOOD_LIMIT {
            Err(Error::protocol("peer floods with control frames and does not read the answers"))
        } else {
            Ok(())
        }
    }

    /// Says goodbye, once.
    fn close(&mut self) {
        if self.closing || self.end.is_some() {
            return;
        }
        self.closing = true;
        let mut open: Vec<u32> = self.streams.iter().filter(|(_, entry)| !entry.local_done).map(|(id, _)| *id).collect();
        open.sort_unstable();
        for id in open {
            self.finish_stream(id);
        }
        for entry in self.streams.values_mut() {
            entry.discard = true;
        }
        self.framing.goodbye(&mut self.out, self.last_remote);
        self.wake_writers();
        self.wake_watchers();
        self.wake_driver();
    }

    fn finish_stream(&mut self, id: u32) {
        if let Some(entry) = self.streams.get_mut(&id)
            && !entry.local_done
        {
            entry.local_done = true;
            self.framing.finish(&mut self.out, id);
            self.wake_driver();
        }
    }

    /// The connection is over: every stream learns why. What was received stays readable.
    fn finish(&mut self, why: Error) {
        if self.end.is_some() {
            return;
        }
        for entry in self.streams.values_mut() {
            if !entry.remote_done && !matches!(why, Error::Finished) {
                entry.failure.get_or_insert_with(|| why.clone());
            }
            entry.remote_done = true;
            entry.local_done = true;
            entry.wake();
        }
        self.end = Some(why);
        self.out = Vec::new();
        self.wake_writers();
        self.wake_watchers();
    }
}

/// The connection's state behind its lock.
pub(crate) struct Core(Mutex<State>);

/// Held by the connection handle and every stream; the connection closes when the last one goes.
pub(crate) struct Handle {
    core: Arc<Core>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.0.lock().close();
    }
}

/// A running connection. Clones speak of the same one.
#[derive(Clone)]
pub(crate) struct Mux {
    handle: Arc<Handle>,
}

impl Mux {
    /// Starts the task that drives the connection. `first_id` and its parity are this side's stream ids.
    pub(crate) fn start(io: BoxIo, framing: Box<dyn Framing>, decoder: Box<dyn Decoder>, first_id: u32, keep: KeepAlive) -> Self {
        let core = Arc::new(Core(Mutex::new(State {
            framing,
            out: Vec::new(),
            out_waiters: Vec::new(),
            driver: None,
            streams: HashMap::new(),
            buffered: 0,
            blocked: false,
            incoming: VecDeque::new(),
            watchers: Vec::new(),
            next_id: first_id,
            last_remote: 0,
            closing: false,
            remote_goodbye: false,
            end: None,
        })));
        // Ends by itself: with the socket, or when the last handle is dropped and the rest is flushed.
        tokio::spawn(driver::Driver::new(io, core.clone(), decoder, keep));
        Self { handle: Arc::new(Handle { core }) }
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, State> {
        self.handle.core.0.lock()
    }

    /// Asks the peer for a new stream, without waiting for the answer ([`Stream::ready`]).
    pub(crate) fn open(&self, headers: HeaderList) -> Result<Stream, Error> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if let Some(end) = &state.end {
            return Err(end.clone());
        }
        if state.closing || state.remote_goodbye {
            return Err(Error::Finished);
        }
        if state.streams.len() >= MAX_STREAMS {
            return Err(Error::TooManyStreams);
        }
        let id = state.next_id;
        if id > 0x7fff_ffff {
            return Err(Error::TooManyStreams);
        }
        state.next_id += 2;
        state.framing.open(&mut state.out, id, &headers);
        state.streams.insert(id, Entry { headers, ..Entry::default() });
        state.wake_driver();
        Ok(Stream::new(self.handle.clone(), id))
    }

    /// Declares a channel that both sides know of without a word on the wire.
    pub(crate) fn channel(&self, id: u32) -> Stream {
        let mut state = self.lock();
        let mut entry = Entry { replied: true, ..Entry::default() };
        if let Some(end) = &state.end {
            entry.remote_done = true;
            entry.local_done = true;
            entry.failure = Some(end.clone());
        }
        state.streams.insert(id, entry);
        drop(state);
        Stream::new(self.handle.clone(), id)
    }

    /// Sends a frame without payload: how WebSocket servers say that the session is up.
    pub(crate) fn send_empty(&self, id: u32) {
        let mut guard = self.lock();
        let state = &mut *guard;
        if !state.closing && state.end.is_none() {
            state.framing.data(&mut state.out, id, &[]);
            state.wake_driver();
        }
    }

    /// The next stream that the peer opens, already accepted; an error once there will be none.
    pub(crate) async fn accept(&self) -> Result<Stream, Error> {
        poll_fn(|cx| {
            let mut guard = self.lock();
            let state = &mut *guard;
            if let Some(end) = &state.end {
                return Poll::Ready(Err(end.clone()));
            }
            if state.closing {
                return Poll::Ready(Err(Error::Finished));
            }
            if let Some(id) = state.incoming.pop_front() {
                state.framing.reply(&mut state.out, id);
                state.wake_driver();
                return Poll::Ready(Ok(Stream::new(self.handle.clone(), id)));
            }
            state.watch(cx.waker());
            Poll::Pending
        })
        .await
    }

    /// Finishes every stream, says goodbye, and closes the socket once all is flushed. Returns at once.
    pub(crate) fn close(&self) {
        self.lock().close();
    }

    /// Waits until the connection is over, and tells why: [`Error::Finished`] if one side closed it as it should.
    pub(crate) async fn closed(&self) -> Error {
        poll_fn(|cx| {
            let mut state = self.lock();
            if let Some(end) = &state.end {
                return Poll::Ready(end.clone());
            }
            state.watch(cx.waker());
            Poll::Pending
        })
        .await
    }
}
