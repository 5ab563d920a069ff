//! One stream of a connection, as bytes to read and write.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{CHUNK, Handle, OUT_LIMIT, STREAM_LIMIT};
use crate::Error;

/// How long the peer may take to accept a stream, as upstream.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
const CANCEL: u32 = 5;

/// The stream itself; its halves share it.
struct Inner {
    handle: Arc<Handle>,
    id: u32,
}

impl Inner {
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut guard = self.handle.core.0.lock();
        let state = &mut *guard;
        let Some(entry) = state.streams.get_mut(&self.id) else { return Poll::Ready(Ok(())) };
        if entry.inbound.is_empty() {
            if let Some(failure) = &entry.failure {
                return Poll::Ready(Err(failure.clone().into()));
            }
            if entry.remote_done || entry.discard {
                return Poll::Ready(Ok(()));
            }
            entry.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = buf.remaining().min(entry.inbound.len());
        buf.put_slice(&entry.inbound[..count]);
        entry.inbound.advance(count);
        state.buffered -= count;
        if entry.inbound.is_empty() {
            entry.inbound = BytesMut::new();
        }
        // Not at every byte: the driver then gets to fill half a buffer at a time.
        if state.blocked && entry.inbound.len() <= STREAM_LIMIT / 2 {
            state.wake_driver();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut guard = self.handle.core.0.lock();
        let state = &mut *guard;
        let Some(entry) = state.streams.get(&self.id) else { return Poll::Ready(Err(Error::Finished.into())) };
        if entry.local_done {
            return Poll::Ready(Err(entry.failure.clone().unwrap_or(Error::Finished).into()));
        }
        if state.out.len() >= OUT_LIMIT {
            if !state.out_waiters.iter().any(|known| known.will_wake(cx.waker())) {
                state.out_waiters.push(cx.waker().clone());
            }
            return Poll::Pending;
        }
        let count = data.len().min(CHUNK);
        if count > 0 {
            state.framing.data(&mut state.out, self.id, &data[..count]);
            state.wake_driver();
        }
        Poll::Ready(Ok(count))
    }

    fn finish(&self) {
        self.handle.core.0.lock().finish_stream(self.id);
    }

    fn discard(&self) {
        let mut guard = self.handle.core.0.lock();
        let state = &mut *guard;
        if let Some(entry) = state.streams.get_mut(&self.id) {
            entry.discard = true;
            state.buffered -= entry.inbound.len();
            entry.inbound = BytesMut::new();
            entry.wake();
            state.wake_driver();
        }
    }

    fn reset(&self, status: u32) {
        let mut guard = self.handle.core.0.lock();
        let state = &mut *guard;
        let Some(mut entry) = state.streams.remove(&self.id) else { return };
        state.buffered -= entry.inbound.len();
        entry.wake();
        let over = entry.local_done && entry.remote_done;
        if !over && !state.closing {
            state.framing.reset(&mut state.out, self.id, status);
        }
        // The driver may be waiting for this very stream to make room, a writer for it to end.
        state.wake_writers();
        state.wake_driver();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.reset(CANCEL);
    }
}

/// One two-way stream. Shutting it down ends our direction only (half-close); dropping it gives up both.
pub struct Stream {
    inner: Arc<Inner>,
}

impl Stream {
    pub(super) fn new(handle: Arc<Handle>, id: u32) -> Self {
        Self { inner: Arc::new(Inner { handle, id }) }
    }

    /// The stream's number on its connection.
    pub fn id(&self) -> u32 {
        self.inner.id
    }

    /// A header that the stream was opened with.
    pub fn header(&self, name: &str) -> Option<String> {
        let state = self.inner.handle.core.0.lock();
        let headers = &state.streams.get(&self.inner.id)?.headers;
        headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    }

    /// Waits until the peer has accepted the stream; upstream's peers drop data that comes before.
    pub async fn ready(&self) -> Result<(), Error> {
        let accepted = poll_fn(|cx| {
            let mut state = self.inner.handle.core.0.lock();
            let Some(entry) = state.streams.get_mut(&self.inner.id) else { return Poll::Ready(Err(Error::Finished)) };
            if entry.replied {
                return Poll::Ready(Ok(()));
            }
            if entry.remote_done {
                return Poll::Ready(Err(entry.failure.clone().unwrap_or(Error::Finished)));
            }
            entry.opener = Some(cx.waker().clone());
            Poll::Pending
        });
        tokio::time::timeout(REPLY_TIMEOUT, accepted).await.unwrap_or(Err(Error::TimedOut("the peer does not accept the stream")))
    }

    /// Gives the stream up in both directions at once; what was not yet read is lost.
    pub fn reset(self) {
        drop(self);
    }

    /// The two directions, to be used by different tasks. Dropping the write half ends our direction; dropping the read half
    /// lets further data be thrown away; with the second half the stream is given up.
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        (ReadHalf { inner: self.inner.clone() }, WriteHalf { inner: self.inner })
    }
}

/// What the peer sends.
pub struct ReadHalf {
    inner: Arc<Inner>,
}

impl ReadHalf {
    /// Throws away what comes from now on.
    pub(crate) fn ignore(&self) {
        self.inner.discard();
    }
}

impl Drop for ReadHalf {
    fn drop(&mut self) {
        self.inner.discard();
    }
}

/// What the peer gets.
pub struct WriteHalf {
    inner: Arc<Inner>,
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        self.inner.finish();
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.inner.poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // The driver writes without being asked.
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.finish();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.inner.poll_read(cx, buf)
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.inner.poll_write(cx, data)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.finish();
        Poll::Ready(Ok(()))
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("id", &self.inner.id).finish_non_exhaustive()
    }
}
