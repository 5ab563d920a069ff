//! The task that moves bytes between a socket and the buffers of its streams.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::io::poll_read_buf;

use super::{Core, Decoder, KeepAlive, Step};
use crate::{BoxIo, Error};

/// What one read asks the socket for.
const READ: usize = 16 * 1024;
/// How long a closed connection waits for a peer that neither reads the rest nor hangs up. Generous: a pager may be holding the
/// end of the output, and closing earlier makes the kernel reset the connection and lose it.
const LINGER: Duration = Duration::from_secs(15 * 60);
/// So many pings without a byte in return mean that the peer is gone.
const UNANSWERED_PINGS: u32 = 12;

pub(super) struct Driver {
    io: BoxIo,
    core: Arc<Core>,
    decoder: Box<dyn Decoder>,
    keep: KeepAlive,
    input: BytesMut,
    /// Taken from `out`, being written from `written` on.
    writing: Vec<u8>,
    written: usize,
    unflushed: bool,
    shut: Shut,
    last_read: Instant,
    last_write: Instant,
    /// Pings sent since the peer was last heard of.
    unanswered: u32,
    timer: Pin<Box<Sleep>>,
}

/// How far closing our side of the socket has come.
#[derive(PartialEq)]
enum Shut {
    No,
    /// Everything is flushed; the end of our bytes is on its way.
    Closing,
    /// Waiting for the peer to hang up.
    Closed,
}

impl Driver {
    pub(super) fn new(io: BoxIo, core: Arc<Core>, decoder: Box<dyn Decoder>, keep: KeepAlive) -> Self {
        let now = Instant::now();
        Self {
            io,
            core,
            decoder,
            keep,
            input: BytesMut::new(),
            writing: Vec::new(),
            written: 0,
            unflushed: false,
            shut: Shut::No,
            last_read: now,
            last_write: now,
            unanswered: 0,
            timer: Box::pin(sleep_until(now + keep.ping.or(keep.idle).unwrap_or(LINGER))),
        }
    }

    /// Ready when nothing is left to write, or with the socket's error.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.written == self.writing.len() {
                self.writing.clear();
                self.written = 0;
                let mut state = self.core.0.lock();
                // Registered before every look at `out`, so that no writer goes unnoticed.
                state.driver = Some(cx.waker().clone());
                if state.out.is_empty() {
                    let closing = state.closing;
                    drop(state);
                    self.writing = Vec::new();
                    if self.unflushed {
                        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
                        self.unflushed = false;
                    }
                    if closing && self.shut == Shut::No {
                        self.shut = Shut::Closing;
                    }
                    if self.shut == Shut::Closing {
                        ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
                        self.shut = Shut::Closed;
                        self.last_read = Instant::now();
                    }
                    return Poll::Ready(Ok(()));
                }
                std::mem::swap(&mut self.writing, &mut state.out);
                state.wake_writers();
            }
            let count = ready!(Pin::new(&mut self.io).poll_write(cx, &self.writing[self.written..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
            self.unflushed = true;
            self.last_write = Instant::now();
        }
    }

    /// Ready when the connection is over, with the reason.
    fn poll_in(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        loop {
            if self.shut == Shut::Closed {
                self.input.clear(); // After our goodbye nothing the peer says matters; it is read so that the kernel need not reset.
            } else {
                let mut state = self.core.0.lock();
                state.blocked = false;
                match self.decoder.decode(&mut self.input, &mut state) {
                    Err(err) => return Poll::Ready(err),
                    Ok(Step::End) => return Poll::Ready(Error::Finished),
                    Ok(Step::Blocked) => {
                        state.blocked = true;
                        state.driver = Some(cx.waker().clone());
                        return Poll::Pending;
                    }
                    Ok(Step::NeedMore) => {
                        if let Err(err) = state.check_flood() {
                            return Poll::Ready(err);
                        }
                    }
                }
            }
            self.input.reserve(READ);
            match ready!(poll_read_buf(Pin::new(&mut self.io), cx, &mut self.input)) {
                Ok(0) => {
                    let state = self.core.0.lock();
                    let expected = state.closing || state.remote_goodbye;
                    return Poll::Ready(if expected { Error::Finished } else { Error::Lost("unexpected end of stream".to_owned()) });
                }
                Ok(_) => {
                    self.last_read = Instant::now();
                    self.unanswered = 0;
                }
                Err(err) => {
                    let state = self.core.0.lock();
                    let expected = state.closing || state.remote_goodbye;
                    return Poll::Ready(if expected { Error::Finished } else { Error::lost(&err) });
                }
            }
        }
    }

    /// Pings, and gives up on a connection that has been still for too long.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        loop {
            let now = Instant::now();
            let still = now - self.last_read.max(self.last_write);
            let mut next = now + LINGER;
            let mut state = self.core.0.lock();
            if state.closing {
                if still >= LINGER {
                    return Poll::Ready(Error::TimedOut("the peer does not take the rest of the data"));
                }
                next = now + (LINGER - still);
            } else {
                if let Some(idle) = self.keep.idle {
                    if still >= idle {
                        return Poll::Ready(Error::TimedOut("idle"));
                    }
                    next = next.min(now + (idle - still));
                }
                if let Some(period) = self.keep.ping {
                    if !state.blocked && self.unanswered > UNANSWERED_PINGS {
                        return Poll::Ready(Error::TimedOut("pings are not answered"));
                    }
                    next = next.min(now + period);
                }
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if self.keep.ping.is_some() && !state.closing && state.out.is_empty() {
                let state = &mut *state;
                state.framing.ping(&mut state.out);
                self.unanswered += 1;
                cx.waker().wake_by_ref();
            }
            drop(state);
            self.timer.as_mut().reset(next);
        }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // Reading may queue answers, so writing comes before and after it.
        let why = 'over: {
            let mut write_error = None;
            if let Poll::Ready(Err(err)) = this.poll_out(cx) {
                write_error = Some(err);
            }
            // Read even if writing failed: a peer that closes early may have said why.
            if let Poll::Ready(why) = this.poll_in(cx) {
                // Answers to a goodbye are worth one attempt, no more.
                let _ = this.poll_out(cx);
                break 'over why;
            }
            if write_error.is_none()
                && let Poll::Ready(Err(err)) = this.poll_out(cx)
            {
                write_error = Some(err);
            }
            if let Some(err) = write_error {
                let closing = this.core.0.lock().closing;
                break 'over if closing && this.shut != Shut::No { Error::Finished } else { Error::lost(&err) };
            }
            if let Poll::Ready(why) = this.poll_timer(cx) {
                break 'over why;
            }
            return Poll::Pending;
        };
        tracing::trace!(reason = %why, "stream connection ended");
        this.core.0.lock().finish(why);
        Poll::Ready(())
    }
}
