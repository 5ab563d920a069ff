//! The text exposition format.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;

use super::{Counter, Description, Family, Gauge, Histogram, Stability};

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn counter(family: &Family<Counter>, out: &mut String) {
    scalars(family, "counter", |counter| counter.value(), out);
}

pub(super) fn gauge(family: &Family<Gauge>, out: &mut String) {
    scalars(family, "gauge", |gauge| gauge.value(), out);
}

fn scalars<M>(family: &Family<M>, kind: &str, value: impl Fn(&M) -> f64, out: &mut String) {
    let children = family.children();
    if children.is_empty() {
        return;
    }
    head(&family.description, kind, out);
    for child in children {
        sample(&family.description.name, "", &child.labels, "", value(&child.metric), out);
    }
}

pub(super) fn histogram(family: &Family<Histogram>, out: &mut String) {
    let children = family.children();
    if children.is_empty() {
        return;
    }
    head(&family.description, "histogram", out);
    let name = &family.description.name;
    for child in children {
        let histogram = &child.metric;
        let bounds = histogram.bounds.iter().copied().chain([f64::INFINITY]);
        let mut total = 0;
        for (bound, count) in bounds.zip(&histogram.counts) {
            total += count.load(Ordering::Relaxed);
            let mut le = String::from("le=\"");
            number(bound, &mut le);
            le.push('"');
            sample(name, "_bucket", &child.labels, &le, total as f64, out);
        }
        sample(name, "_sum", &child.labels, "", histogram.sum(), out);
        sample(name, "_count", &child.labels, "", total as f64, out);
    }
}

fn head(description: &Description, kind: &str, out: &mut String) {
    let mark = match description.stability {
        Stability::Alpha => "[ALPHA] ",
        Stability::Beta => "[BETA] ",
        Stability::Stable => "[STABLE] ",
        Stability::Unmarked => "",
    };
    let help = description.help.replace('\\', "\\\\").replace('\n', "\\n");
    let name = &description.name;
    let _ = write!(out, "# HELP {name} {mark}{help}\n# TYPE {name} {kind}\n");
}

fn sample(name: &str, suffix: &str, labels: &str, extra: &str, value: f64, out: &mut String) {
    out.push_str(name);
    out.push_str(suffix);
    if !labels.is_empty() || !extra.is_empty() {
        let comma = if labels.is_empty() || extra.is_empty() { "" } else { "," };
        let _ = write!(out, "{{{labels}{comma}{extra}}}");
    }
    out.push(' ');
    number(value, out);
    out.push('\n');
}

/// Label pairs sorted by name, escaped.
pub(super) fn labels(names: &[&str], values: &[&str]) -> String {
    let mut pairs: Vec<(&str, &str)> = names.iter().copied().zip(values.iter().copied()).collect();
    pairs.sort_unstable();
    let mut out = String::new();
    for (name, value) in pairs {
        if !out.is_empty() {
            out.push(',');
        }
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(out, "{name}=\"{value}\"");
    }
    out
}

/// A number in the shortest form that Go gives it: `12`, `0.5`, `1.5e+06`, `1e-05`, `+Inf`.
fn number(value: f64, out: &mut String) {
    if value.is_nan() {
        out.push_str("NaN");
        return;
    }
    if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
        return;
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').expect("the format has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a number");
    if (-4..6).contains(&exponent) {
        let _ = write!(out, "{value}");
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        let _ = write!(out, "{digits}e{sign}{:02}", exponent.abs());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (999_999.0, "999999"),
            (1_000_000.0, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (9.999_999_999_999_999e-6, "9.999999999999999e-06"),
            (0.005, "0.005"),
            (-2.5, "-2.5"),
            (f64::INFINITY, "+Inf"),
        ] {
            let mut out = String::new();
            number(value, &mut out);
            assert_eq!(out, text);
        }
    }
}
