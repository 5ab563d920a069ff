//! Paths inside of containers and volumes, and file modes.

use apimachinery::validation::field::{Error, ErrorList, Path};

/// No part of the path leads upwards.
pub fn no_backsteps(target: &str, path: &Path<'_>) -> Option<Error> {
    target.split('/').any(|part| part == "..").then(|| Error::invalid(path, target, "must not contain '..'"))
}

/// A relative path that stays below where it starts.
pub fn local_descending(target: &str, path: &Path<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    if target.starts_with('/') {
        errors.push(Error::invalid(path, target, "must be a relative path"));
    }
    errors.extend(no_backsteps(target, path));
    errors
}

/// As [`local_descending`], for a file that must not look like the volume's own bookkeeping.
pub fn local_non_reserved(target: &str, path: &Path<'_>) -> ErrorList {
    let mut errors = local_descending(target, path);
    if target.starts_with("..") && !target.starts_with("../") {
        errors.push(Error::invalid(path, target, "must not start with '..'"));
    }
    errors
}

/// Permission bits.
pub fn mode(mode: Option<i32>, path: &Path<'_>) -> Option<Error> {
    let mode = mode.filter(|mode| !(0..=0o777).contains(mode))?;
    Some(Error::invalid(path, mode, "must be a number between 0 and 0777 (octal), both inclusive"))
}
