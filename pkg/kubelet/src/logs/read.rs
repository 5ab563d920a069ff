//! Reads a container's log file in the CRI format, from a point on, and follows it.
//!
//! A line is `TIME STREAM TAG CONTENT`: `2026-11-21T04:05:06.123456789Z stdout F hello`. The tag is `F` for a full line
//! and `P` for a part of a longer one, whose last part is tagged `F` again.

use crate::clock;
use std::io::{self, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// How often a followed file is looked at for more; a reader's eye does not see the difference.
const FOLLOW_PERIOD: Duration = Duration::from_millis(100);
const BLOCK: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stream {
    #[default]
    All,
    Stdout,
    Stderr,
}

/// What to read of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub follow: bool,
    /// The last so many lines.
    pub tail: Option<u64>,
    /// Nothing older than this, in nanoseconds since 1970.
    pub since: Option<i64>,
    pub timestamps: bool,
    /// Stop after so many bytes of output.
    pub limit_bytes: Option<u64>,
    pub stream: Stream,
}

/// Where log text goes; `Err` says that nobody reads any more.
pub trait Sink: Send {
    fn write(&mut self, bytes: Vec<u8>) -> impl Future<Output = Result<(), SinkClosed>> + Send;
}

#[derive(Debug, PartialEq, Eq)]
pub struct SinkClosed;

impl Sink for tokio::sync::mpsc::Sender<Vec<u8>> {
    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), SinkClosed> {
        self.send(bytes).await.map_err(|_| SinkClosed)
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    time: &'a str,
    stream: &'a str,
    partial: bool,
    content: &'a [u8],
}

/// Takes one line apart, without its newline. `None` if it is in no known format.
fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = std::str::from_utf8(parts.next()?).ok()?;
    let tags = std::str::from_utf8(parts.next()?).ok()?;
    let content = parts.next().unwrap_or_default();
    // Tags are a list separated by colons; the first says whether the line is whole.
    Some(Line { time, stream, partial: tags.split(':').next() == Some("P"), content })
}

/// Turns lines of the file into lines for a reader.
struct Formatter<'a> {
    options: &'a Options,
    left: Option<u64>,
    /// Parts of a line get one timestamp, in front of the first.
    inside: bool,
}

impl Formatter<'_> {
    /// Adds what the reader gets to see of `line`; `false` once the limit is reached.
    fn add(&mut self, line: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(line) = parse(line) else { return true };
        match self.options.stream {
            Stream::Stdout if line.stream != "stdout" => return true,
            Stream::Stderr if line.stream != "stderr" => return true,
            _ => {}
        }
        if let Some(since) = self.options.since
            && clock::parse_rfc3339(line.time).is_some_and(|time| time < since)
        {
            return true;
        }
        let start = out.len();
        if self.options.timestamps && !self.inside {
            out.extend_from_slice(line.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(line.content);
        if !line.partial {
            out.push(b'\n');
        }
        self.inside = line.partial;
        if let Some(left) = &mut self.left {
            let added = (out.len() - start) as u64;
            if added >= *left {
                out.truncate(start + *left as usize);
                *left = 0;
                return false;
            }
            *left -= added;
        }
        true
    }
}

/// Where the last `count` lines begin.
async fn tail_offset(file: &mut tokio::fs::File, count: u64) -> io::Result<u64> {
    let end = file.seek(SeekFrom::End(0)).await?;
    if count == 0 {
        return Ok(end);
    }
    let mut seen = 0;
    let mut position = end;
    let mut block = vec![0; BLOCK];
    while position > 0 {
        let size = position.min(BLOCK as u64);
        position -= size;
        file.seek(SeekFrom::Start(position)).await?;
        let block = &mut block[..size as usize];
        file.read_exact(block).await?;
        for (at, byte) in block.iter().enumerate().rev() {
            // The newline that ends the file ends the last line; it begins none.
            if *byte == b'\n' && position + at as u64 + 1 != end {
                seen += 1;
                if seen == count {
                    return Ok(position + at as u64 + 1);
                }
            }
        }
    }
    Ok(0)
}

/// Reads `path` into `sink`. While following, `running` is asked at the end of the file whether more may come.
///
/// A file that was rotated away is read to its end, then the one that took its name from its beginning.
pub async fn read<R>(path: &Path, options: &Options, sink: &mut impl Sink, mut running: impl FnMut() -> R) -> io::Result<()>
where
    R: Future<Output = bool>,
{
    let mut file = tokio::fs::File::open(path).await?;
    let start = match options.tail {
        Some(count) => tail_offset(&mut file, count).await?,
        None => 0,
    };
    file.seek(SeekFrom::Start(start)).await?;
    let mut formatter = Formatter { options, left: options.limit_bytes, inside: false };
    if options.limit_bytes == Some(0) {
        return Ok(());
    }
    let mut pending: Vec<u8> = Vec::new();
    let mut block = vec![0; BLOCK];
    // A container's last lines may arrive between the last read and the news of its end: one more round.
    let mut ended = false;
    loop {
        let count = file.read(&mut block).await?;
        if count > 0 {
            pending.extend_from_slice(&block[..count]);
            let Some(last) = pending.iter().rposition(|byte| *byte == b'\n') else { continue };
            let mut out = Vec::with_capacity(last);
            let more = pending[..last].split(|byte| *byte == b'\n').all(|line| formatter.add(line, &mut out));
            pending.drain(..=last);
            if !out.is_empty() && sink.write(out).await.is_err() || !more {
                return Ok(());
            }
            continue;
        }
        if !options.follow || ended {
            // A crash can leave a last line without its newline.
            let mut out = Vec::new();
            formatter.add(&pending, &mut out);
            if !out.is_empty() {
                let _ = sink.write(out).await;
            }
            return Ok(());
        }
        if let Some(fresh) = replaced(&file, path).await {
            file = fresh;
            continue;
        }
        if running().await {
            tokio::time::sleep(FOLLOW_PERIOD).await;
        } else {
            ended = true;
        }
    }
}

/// The file that has taken `path` since `file` was opened, if another has.
async fn replaced(file: &tokio::fs::File, path: &Path) -> Option<tokio::fs::File> {
    let fresh = tokio::fs::File::open(path).await.ok()?;
    let (old, new) = (file.metadata().await.ok()?, fresh.metadata().await.ok()?);
    ((old.dev(), old.ino()) != (new.dev(), new.ino())).then_some(fresh)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Text(String);

    impl Sink for Text {
        async fn write(&mut self, bytes: Vec<u8>) -> Result<(), SinkClosed> {
            self.0.push_str(std::str::from_utf8(&bytes).unwrap());
            Ok(())
        }
    }

    const LOG: &str = "\
2026-11-21T04:00:00.000000001Z stdout F one
2026-11-21T04:00:01.000000001Z stderr F two
2026-11-21T04:00:02.000000001Z stdout P thr
2026-11-21T04:00:02.000000002Z stdout F ee
2026-11-21T04:00:03.000000001Z stdout F 
";

    async fn text(log: &str, options: Options) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, log).unwrap();
        let mut sink = Text::default();
        read(&path, &options, &mut sink, || std::future::ready(false)).await.unwrap();
        sink.0
    }

    #[tokio::test]
    async fn options_choose_what_is_read() {
        let all = Options::default();
        let since = clock::parse_rfc3339("2026-11-21T04:00:02Z");
        for (options, expected) in [
            (all.clone(), "one\ntwo\nthree\n\n"),
            (Options { stream: Stream::Stderr, ..all.clone() }, "two\n"),
            (Options { since, ..all.clone() }, "three\n\n"),
            (Options { tail: Some(0), ..all.clone() }, ""),
            (Options { tail: Some(1), ..all.clone() }, "\n"),
            (Options { tail: Some(3), ..all.clone() }, "three\n\n"),
            (Options { tail: Some(99), ..all.clone() }, "one\ntwo\nthree\n\n"),
            (Options { limit_bytes: Some(5), ..all.clone() }, "one\nt"),
            (Options { limit_bytes: Some(0), ..all.clone() }, ""),
            (Options { timestamps: true, since, ..all.clone() }, "2026-11-21T04:00:02.000000001Z three\n2026-11-21T04:00:03.000000001Z \n"),
        ] {
            assert_eq!(text(LOG, options.clone()).await, expected, "{options:?}");
        }
    }

    #[tokio::test]
    async fn a_torn_last_line_is_shown() {
        assert_eq!(text("2026-11-21T04:00:00Z stdout F on", Options::default()).await, "on\n");
    }

    #[tokio::test]
    async fn following_goes_over_a_rotation_and_ends_with_the_container() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, "2026-11-21T04:00:00Z stdout F old\n").unwrap();
        let options = Options { follow: true, ..Default::default() };
        let mut sink = Text::default();
        let mut round = 0;
        let running = || {
            round += 1;
            if round == 1 {
                std::fs::rename(&path, dir.path().join("0.log.1")).unwrap();
                std::fs::write(&path, "2026-11-21T04:00:01Z stdout F new\n").unwrap();
            }
            std::future::ready(round < 2)
        };
        read(&path, &options, &mut sink, running).await.unwrap();
        assert_eq!(sink.0, "old\nnew\n");
    }
}
