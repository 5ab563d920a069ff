//! Everything that is wrong with a configuration, so that one start reports all mistakes.

use std::fmt;

/// A list of complaints. Empty means that all is well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    list: Vec<String>,
}

impl Problems {
    /// No complaints yet.
    pub fn new() -> Problems {
        Problems::default()
    }

    /// A single complaint.
    pub fn one(problem: impl fmt::Display) -> Problems {
        Problems { list: vec![problem.to_string()] }
    }

    /// Adds one.
    pub fn push(&mut self, problem: impl fmt::Display) {
        self.list.push(problem.to_string());
    }

    /// Adds one unless `holds`.
    pub fn require(&mut self, holds: bool, problem: impl fmt::Display) {
        if !holds {
            self.push(problem);
        }
    }

    /// Keeps the value, or enters the error.
    pub fn take<T, E: fmt::Display>(&mut self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    /// Adds all of another list.
    pub fn extend(&mut self, other: Problems) {
        self.list.extend(other.list);
    }

    /// Whether all is well.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The complaints in the order they were found.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(String::as_str)
    }

    /// The value if all is well, else the complaints. `None` must come with a complaint.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Problems> {
        match value {
            Some(value) if self.is_empty() => Ok(value),
            _ => {
                debug_assert!(!self.is_empty(), "a config may only be missing for a reason");
                Err(self)
            }
        }
    }
}

/// As upstream prints an aggregate: the one error, or all of them in brackets.
impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.list.as_slice() {
            [only] => out.write_str(only),
            all => write!(out, "[{}]", all.join(", ")),
        }
    }
}

impl std::error::Error for Problems {}
