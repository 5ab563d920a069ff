//! Terminal sizes, a JSON object each: `{"Width":80,"Height":24}`.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Error, ReadHalf, WriteHalf};

/// Most bytes of a size that is not complete. A real one has thirty.
const MAX_PENDING: usize = 4096;

/// The size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// The sizes that a client sends.
pub struct ResizeEvents {
    stream: ReadHalf,
    pending: Vec<u8>,
}

impl ResizeEvents {
    pub(super) fn new(stream: ReadHalf) -> Self {
        Self { stream, pending: Vec::new() }
    }

    /// The next size; `None` when there will be none. What is no size ends the stream, as upstream. Safe to cancel.
    pub async fn next(&mut self) -> Option<TerminalSize> {
        loop {
            match first(&mut self.pending) {
                First::Size(size) => return Some(size),
                First::Nonsense => return None,
                First::Incomplete if self.pending.len() > MAX_PENDING => return None,
                First::Incomplete => {}
            }
            let count = self.stream.read_buf(&mut self.pending).await.ok()?;
            if count == 0 {
                return None;
            }
        }
    }
}

enum First {
    Size(TerminalSize),
    Incomplete,
    Nonsense,
}

/// Takes the first object off the buffer.
fn first(pending: &mut Vec<u8>) -> First {
    let mut values = serde_json::Deserializer::from_slice(pending).into_iter::<Value>();
    let value = match values.next() {
        None => return First::Incomplete,
        Some(Err(err)) if err.is_eof() => return First::Incomplete,
        Some(Err(_)) => return First::Nonsense,
        Some(Ok(value)) => value,
    };
    let used = values.byte_offset();
    pending.drain(..used);
    let Value::Object(fields) = value else { return First::Nonsense };
    // Go matches keys in any case; a missing one is zero.
    let field = |name: &str| match fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)) {
        None => Some(0),
        Some((_, value)) => value.as_u64().and_then(|value| u16::try_from(value).ok()),
    };
    match (field("Width"), field("Height")) {
        (Some(width), Some(height)) => First::Size(TerminalSize { width, height }),
        _ => First::Nonsense,
    }
}

/// Sends sizes to a server.
pub struct ResizeWriter {
    stream: WriteHalf,
}

impl ResizeWriter {
    pub(super) fn new(stream: WriteHalf) -> Self {
        Self { stream }
    }

    /// Tells the server the terminal's size.
    pub async fn send(&mut self, size: TerminalSize) -> Result<(), Error> {
        let text = format!("{{\"Width\":{},\"Height\":{}}}\n", size.width, size.height);
        self.stream.write_all(text.as_bytes()).await.map_err(|err| Error::lost(&err))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<(u16, u16)>, &'static str) {
        let mut pending = text.as_bytes().to_vec();
        let mut sizes = Vec::new();
        loop {
            match first(&mut pending) {
                First::Size(size) => sizes.push((size.width, size.height)),
                First::Incomplete => return (sizes, "more"),
                First::Nonsense => return (sizes, "nonsense"),
            }
        }
    }

    #[test]
    fn sizes_are_read_one_after_another() {
        assert_eq!(read(r#"{"Width":80,"Height":24}"#), (vec![(80, 24)], "more"));
        assert_eq!(read("{\"Width\":80,\"Height\":24}\n{\"width\":1}{\"Hei"), (vec![(80, 24), (1, 0)], "more"));
        assert_eq!(read(r#"{"Width":70000}"#), (vec![], "nonsense"));
        assert_eq!(read(r#"{"Width":1} x"#), (vec![(1, 0)], "nonsense"));
        assert_eq!(read("[]"), (vec![], "nonsense"));
    }
}
