//! [`IntOrString`]: a port or a count that may be a number, a name or a percentage.

use std::fmt;

/// A 32-bit integer or a string. Upstream: apimachinery/pkg/util/intstr.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum IntOrString {
    Int(i32),
    String(String),
}

impl Default for IntOrString {
    fn default() -> Self {
        Self::Int(0)
    }
}

impl From<i32> for IntOrString {
    fn from(value: i32) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for IntOrString {
    fn from(value: &str) -> Self {
        Self::String(value.to_owned())
    }
}

impl fmt::Display for IntOrString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => value.fmt(f),
            Self::String(value) => f.write_str(value),
        }
    }
}

impl IntOrString {
    /// Parses as upstream's `intstr.Parse`: what reads as a 32-bit integer is one.
    pub fn parse(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::String(text.to_owned()), Self::Int)
    }

    /// The integer; a string that reads as one counts, any other is 0.
    pub fn int_value(&self) -> i32 {
        match self {
            Self::Int(value) => *value,
            Self::String(text) => text.parse().unwrap_or(0),
        }
    }

    /// The percentage if this is a string such as `"25%"`.
    pub fn percent(&self) -> Option<i32> {
        match self {
            Self::Int(_) => None,
            Self::String(text) => text.strip_suffix('%')?.parse().ok(),
        }
    }

    /// The value against a total: integers as they are, percentages of `total`, rounded up or down.
    /// `None` if this is a string that is no percentage.
    pub fn scaled(&self, total: i32, round_up: bool) -> Option<i32> {
        match self {
            Self::Int(value) => Some(*value),
            Self::String(_) => {
                let product = i64::from(self.percent()?) * i64::from(total);
                let value = if round_up { (product + 99).div_euclid(100) } else { product.div_euclid(100) };
                i32::try_from(value).ok()
            }
        }
    }
}
