//! Logs: `tracing` events written as klog writes them, as text or JSON, one line each, to standard error.
//!
//! Levels: error, warn and info are always written; debug from `-v=4` on, trace from `-v=6` on. What libraries below
//! us have to say comes at 8 and 10. `--vmodule` raises the verbosity of single files.

mod klog;

use std::cell::RefCell;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::SystemTime;

use thiserror::Error;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// `--logging-format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// The settings of `--v`, `--vmodule` and `--logging-format`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    pub format: Format,
    pub verbosity: i32,
    /// File patterns (without `.rs`) and the verbosity that holds for them.
    pub vmodule: Vec<(String, i32)>,
}

/// What is wrong with the log flags; worded as upstream words it.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LogError {
    #[error("format: Invalid value: {0:?}: Unsupported log format")]
    Format(String),
    #[error("invalid argument {text:?} for \"--vmodule\" flag: {reason}")]
    Vmodule { text: String, reason: &'static str },
}

impl LogOptions {
    /// Checks and joins the values of the flags.
    pub fn parse(format: &str, verbosity: i32, vmodule: &str) -> Result<LogOptions, LogError> {
        let format = match format {
            "" | "text" => Format::Text,
            "json" => Format::Json,
            other => return Err(LogError::Format(other.to_owned())),
        };
        let bad = |reason| LogError::Vmodule { text: vmodule.to_owned(), reason };
        let mut patterns = Vec::new();
        for entry in vmodule.split(',').filter(|entry| !entry.is_empty()) {
            let (pattern, level) = entry.split_once('=').ok_or(bad("syntax error: expect comma-separated list of filename=N"))?;
            let level = level.parse().map_err(|_| bad("syntax error: expect comma-separated list of filename=N"))?;
            if pattern.is_empty() {
                return Err(bad("pattern must not be empty"));
            }
            patterns.push((pattern.to_owned(), level));
        }
        if format == Format::Json && !patterns.is_empty() {
            return Err(bad("only supported for text log format"));
        }
        Ok(LogOptions { format, verbosity, vmodule: patterns })
    }

    /// Whether a call site is written at these settings.
    fn shows(&self, verbosity: i32, metadata: &Metadata<'_>) -> bool {
        let ours = !is_library(metadata.target());
        let needed = match *metadata.level() {
            Level::ERROR | Level::WARN => 0,
            Level::INFO if ours => 0,
            Level::INFO => 4,
            Level::DEBUG if ours => 4,
            Level::DEBUG => 8,
            Level::TRACE if ours => 6,
            Level::TRACE => 10,
        };
        needed <= verbosity || (!self.vmodule.is_empty() && self.raised(metadata.file().unwrap_or_default()) >= needed)
    }

    fn raised(&self, file: &str) -> i32 {
        let name = file.rsplit('/').next().unwrap_or(file);
        let stem = name.strip_suffix(".rs").unwrap_or(name);
        self.vmodule.iter().find(|(pattern, _)| glob(pattern.as_bytes(), stem.as_bytes())).map_or(0, |(_, level)| *level)
    }
}

/// Crates below ours, whose chatter is about connections and frames.
fn is_library(target: &str) -> bool {
    const LIBRARIES: [&str; 12] =
        ["h2", "hyper", "hyper_util", "rustls", "tokio", "tokio_util", "tower", "mio", "want", "tonic", "tungstenite", "hickory_proto"];
    let root = target.split("::").next().unwrap_or(target);
    LIBRARIES.contains(&root) || root.starts_with("hickory")
}

/// `*` stands for any text, `?` for one character.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.first(), text.first()) {
        (None, None) => true,
        (Some(b'*'), _) => glob(&pattern[1..], text) || (!text.is_empty() && glob(pattern, &text[1..])),
        (Some(b'?'), Some(_)) => glob(&pattern[1..], &text[1..]),
        (Some(want), Some(have)) => want == have && glob(&pattern[1..], &text[1..]),
        _ => false,
    }
}

/// Sends everything that is logged in this process to standard error. The first call wins; a test may call it too.
pub fn init(options: LogOptions) {
    VERBOSITY.store(options.verbosity, Ordering::Relaxed);
    let subscriber = tracing_subscriber::registry().with(KlogLayer { options, sink: Sink::Stderr });
    // A second call in one process happens in tests only, where the first settings are as good.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// The verbosity of what [`init`] set up. Only logs read it.
static VERBOSITY: AtomicI32 = AtomicI32::new(0);

/// Changes the verbosity of the running process.
pub fn set_verbosity(verbosity: i32) {
    VERBOSITY.store(verbosity, Ordering::Relaxed);
    // Call sites remember whether anybody listens.
    tracing::callsite::rebuild_interest_cache();
}

enum Sink {
    Stderr,
    #[cfg(test)]
    Memory(std::sync::Arc<parking_lot::Mutex<String>>),
}

struct KlogLayer {
    options: LogOptions,
    sink: Sink,
}

impl KlogLayer {
    fn shows(&self, metadata: &Metadata<'_>) -> bool {
        let verbosity = match self.sink {
            Sink::Stderr => VERBOSITY.load(Ordering::Relaxed),
            #[cfg(test)]
            Sink::Memory(_) => self.options.verbosity,
        };
        self.options.shows(verbosity, metadata)
    }
}

/// The fields of a span, rendered once and repeated behind each of its events.
struct SpanFields(String);

thread_local! {
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

impl<S> Layer<S> for KlogLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.shows(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        self.shows(metadata)
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::new(self.options.format);
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanFields(fields.rest));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let mut fields = Fields::new(self.options.format);
        values.record(&mut fields);
        if let Some(span) = context.span(id)
            && let Some(known) = span.extensions_mut().get_mut::<SpanFields>()
        {
            known.0.push_str(&fields.rest);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::new(self.options.format);
        event.record(&mut fields);
        if let Some(scope) = context.event_scope(event) {
            for span in scope {
                if let Some(known) = span.extensions().get::<SpanFields>() {
                    fields.rest.push_str(&known.0);
                }
            }
        }
        let metadata = event.metadata();
        let file = metadata.file().unwrap_or("unknown");
        let entry = klog::Entry {
            level: *metadata.level(),
            time: SystemTime::now(),
            pid: std::process::id(),
            file: file.rsplit('/').next().unwrap_or(file),
            line: metadata.line().unwrap_or(0),
            message: &fields.message,
            fields: &fields.rest,
        };
        LINE.with_borrow_mut(|line| {
            line.clear();
            match self.options.format {
                Format::Text => entry.text(line),
                Format::Json => entry.json(line),
            }
            self.sink.write(line);
        });
    }
}

impl Sink {
    fn write(&self, line: &str) {
        match self {
            // A log that cannot be written has nowhere to be reported.
            Sink::Stderr => drop(std::io::stderr().lock().write_all(line.as_bytes())),
            #[cfg(test)]
            Sink::Memory(memory) => memory.lock().push_str(line),
        }
    }
}

/// Collects the message and renders the other fields as they come.
struct Fields {
    format: Format,
    message: String,
    rest: String,
}

impl Fields {
    fn new(format: Format) -> Fields {
        Fields { format, message: String::new(), rest: String::new() }
    }

    fn key(&mut self, field: &Field) {
        match self.format {
            Format::Text => {
                self.rest.push(' ');
                self.rest.push_str(field.name());
                self.rest.push('=');
            }
            Format::Json => {
                self.rest.push(',');
                klog::json_string(field.name(), &mut self.rest);
                self.rest.push(':');
            }
        }
    }

    fn bare(&mut self, field: &Field, value: impl std::fmt::Display) {
        self.key(field);
        let _ = write!(self.rest, "{value}");
    }

    fn quoted(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
            return;
        }
        self.key(field);
        match self.format {
            Format::Text => klog::text_string(value, &mut self.rest),
            Format::Json => klog::json_string(value, &mut self.rest),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.quoted(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bare(field, value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.bare(field, value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.bare(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.bare(field, value);
        } else {
            self.quoted(field, &value.to_string());
        }
    }

    /// An error with all its causes in one line.
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.quoted(field, &chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}");
        // The debug form of a string has its quotes already.
        let is_string = text.len() >= 2 && text.starts_with('"') && text.ends_with('"');
        if is_string && self.format == Format::Text && field.name() != "message" {
            self.bare(field, text);
        } else {
            self.quoted(field, &text);
        }
    }
}

/// A time in seconds since 1970 as `date` prints it: `Thu Jan  1 00:00:00 UTC 1970`.
pub fn date(seconds: u64) -> String {
    klog::date(seconds)
}

/// An error and its causes, joined by colons; a cause that its parent's text already ends with is not repeated.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn logged(options: LogOptions, log: impl FnOnce()) -> String {
        let memory = Arc::new(parking_lot::Mutex::new(String::new()));
        let layer = KlogLayer { options, sink: Sink::Memory(memory.clone()) };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        memory.lock().clone()
    }

    /// The part behind the header's bracket.
    fn body(line: &str) -> &str {
        line.split_once("] ").unwrap().1.trim_end()
    }

    #[test]
    fn text_lines_carry_quoted_strings_and_bare_numbers() {
        let line = logged(LogOptions::default(), || {
            tracing::info!(pod = "ns/a", count = 3, ok = true, list = ?["x"], name = ?"quo\"te", err = %"bad\nthing", "Started \"it\"");
        });
        assert!(line.starts_with('I'), "{line}");
        assert_eq!(body(&line), r#""Started \"it\"" pod="ns/a" count=3 ok=true list="[\"x\"]" name="quo\"te" err="bad\nthing""#);
    }

    #[test]
    fn spans_lend_their_fields() {
        let line = logged(LogOptions::default(), || {
            tracing::info_span!("sync", controller = "job").in_scope(|| tracing::warn!("Odd"));
        });
        assert!(line.starts_with('W'), "{line}");
        assert_eq!(body(&line), r#""Odd" controller="job""#);
    }

    #[test]
    fn verbosity_and_vmodule_decide_what_is_shown() {
        let say = || {
            tracing::debug!("four");
            tracing::trace!("six");
        };
        assert_eq!(logged(LogOptions::default(), say), "");
        assert_eq!(logged(LogOptions { verbosity: 4, ..LogOptions::default() }, say).lines().count(), 1);
        let vmodule = LogOptions::parse("text", 0, "other=9,log?=6").unwrap();
        assert_eq!(logged(vmodule, say).lines().count(), 2);
    }

    #[test]
    fn json_lines_are_one_object_each() {
        let line = logged(LogOptions { format: Format::Json, ..LogOptions::default() }, || {
            tracing::error!(object = "a/b", err = "boom", "Failed");
        });
        let (_, rest) = line.split_once(",\"caller\"").unwrap();
        assert!(line.starts_with("{\"ts\":") && rest.ends_with("\"msg\":\"Failed\",\"object\":\"a/b\",\"err\":\"boom\"}\n"), "{line}");
    }

    #[test]
    fn flags_are_checked() {
        assert_eq!(LogOptions::parse("xml", 0, "").unwrap_err().to_string(), "format: Invalid value: \"xml\": Unsupported log format");
        assert!(LogOptions::parse("text", 0, "a").is_err());
        assert!(LogOptions::parse("json", 0, "a=1").is_err());
    }
}
