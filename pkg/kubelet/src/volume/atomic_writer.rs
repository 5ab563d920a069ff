//! Replaces the content of a volume in one step, so that a reader sees all of the old files or all of the new ones.
//!
//! ```text
//! volume/
//!   ..2026_11_21_04_05_06.123456789/   the payload, written in full before anything points at it
//!     dir/key
//!   ..data -> ..2026_11_21_04_05_06.123456789     renamed over the old link: the one step
//!   dir -> ..data/dir                             one link per first path element, made once
//! ```
//! Programs watch for the change of `..data`. Upstream: pkg/volume/util/atomic_writer.go.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// One file to be seen in the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub data: Vec<u8>,
    pub mode: u32,
    /// Owner other than root, for service account tokens of pods that run as somebody else.
    pub user: Option<u32>,
}

/// Relative path -> file.
pub type Payload = BTreeMap<String, File>;

const DATA: &str = "..data";
const DATA_TMP: &str = "..data_tmp";

/// Paths that would leave the volume or meet the writer's own names are refused.
fn validate(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err("invalid path: must not be empty".to_owned());
    }
    if path.len() > 4096 {
        return Err("invalid path: must be less than or equal to 4096 characters".to_owned());
    }
    if path.starts_with('/') {
        return Err(format!("invalid path: must be relative path: {path}"));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(format!("invalid path: must not contain '..': {path}"));
    }
    if path.starts_with("..") {
        return Err(format!("invalid path: must not start with '..': {path}"));
    }
    Ok(())
}

/// `./a//b` and `a/b` are one file.
fn clean(path: &str) -> PathBuf {
    Path::new(path).components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

/// Makes `dir`, which must exist, show exactly `payload`. Returns whether anything changed.
///
/// `group` owns every file of the payload (a pod's fsGroup), which widens the files' modes as well.
pub fn write(dir: &Path, payload: &Payload, group: Option<u32>) -> io::Result<bool> {
    let mut files: BTreeMap<PathBuf, &File> = BTreeMap::new();
    for (path, file) in payload {
        validate(path).map_err(|message| io::Error::new(io::ErrorKind::InvalidInput, message))?;
        files.insert(clean(path), file);
    }
    let old = std::fs::read_link(dir.join(DATA)).ok();
    if let Some(old) = &old
        && same(&dir.join(old), &files, group)?
    {
        link_names(dir, &files)?;
        return Ok(false);
    }

    let name = payload_name(dir);
    let fresh = dir.join(&name);
    std::fs::create_dir(&fresh)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755))?;
    for (path, file) in &files {
        write_file(&fresh, path, file, group)?;
    }
    link_names(dir, &files)?;
    let link = dir.join(DATA_TMP);
    let _ = std::fs::remove_file(&link);
    symlink(&name, &link)?;
    std::fs::rename(&link, dir.join(DATA))?;
    remove_stale(dir, &name, &files)?;
    Ok(true)
}

fn payload_name(dir: &Path) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (year, month, day) = crate::clock::civil(now.as_secs() / 86_400);
    let seconds = now.as_secs() % 86_400;
    let base = format!(
        "..{year:04}_{month:02}_{day:02}_{:02}_{:02}_{:02}.{:09}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        now.subsec_nanos()
    );
    // Two writes within one tick of a coarse clock would meet.
    let mut name = base.clone();
    let mut count = 0;
    while dir.join(&name).exists() {
        count += 1;
        name = format!("{base}{count}");
    }
    name
}

/// With a group, what the owner may read the group may read too.
fn effective_mode(file: &File, group: Option<u32>) -> u32 {
    match group {
        Some(_) if file.mode & 0o400 != 0 => file.mode | 0o040,
        _ => file.mode,
    }
}

fn write_file(root: &Path, path: &Path, file: &File, group: Option<u32>) -> io::Result<()> {
    let full = root.join(path);
    if let Some(parent) = full.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(&full, &file.data)?;
    // Set apart from the creation: the process's umask must not narrow it.
    std::fs::set_permissions(&full, std::fs::Permissions::from_mode(effective_mode(file, group)))?;
    if file.user.is_some() || group.is_some() {
        std::os::unix::fs::lchown(&full, file.user, group)?;
    }
    Ok(())
}

/// Every file below `root`, by its path relative to it.
fn list(root: &Path, below: &Path, into: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() { list(root, &path, into)? } else { into.push(path) }
    }
    Ok(())
}

fn same(root: &Path, files: &BTreeMap<PathBuf, &File>, group: Option<u32>) -> io::Result<bool> {
    let mut present = Vec::new();
    match list(root, Path::new(""), &mut present) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(false),
        result => result?,
    }
    present.sort();
    if !present.iter().eq(files.keys()) {
        return Ok(false);
    }
    for (path, file) in files {
        let full = root.join(path);
        let mode = std::fs::metadata(&full)?.permissions().mode() & 0o7777;
        if mode != effective_mode(file, group) || std::fs::read(&full)? != file.data {
            return Ok(false);
        }
    }
    Ok(true)
}

fn first_elements<'a>(files: &'a BTreeMap<PathBuf, &File>) -> std::collections::BTreeSet<&'a std::ffi::OsStr> {
    files.keys().filter_map(|path| path.iter().next()).collect()
}

fn link_names(dir: &Path, files: &BTreeMap<PathBuf, &File>) -> io::Result<()> {
    for name in first_elements(files) {
        let link = dir.join(name);
        if std::fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), &link)?;
        }
    }
    Ok(())
}

/// Links to what the payload no longer holds, and every payload but the current one (a crash may leave several).
fn remove_stale(dir: &Path, current: &str, files: &BTreeMap<PathBuf, &File>) -> io::Result<()> {
    let wanted = first_elements(files);
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let text = name.to_string_lossy();
        if text == DATA || text == current {
            continue;
        }
        if text.starts_with("..") {
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        } else if !wanted.contains(name.as_os_str()) && entry.file_type()?.is_symlink() {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |text: &str| File { data: text.into(), mode: 0o644, user: None };
        files.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
    }

    fn shown(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|n| !n.starts_with("..2"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn content_is_replaced_in_one_step() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert!(write(dir, &payload(&[("a", "1"), ("sub/b", "2")]), None).unwrap());
        assert_eq!(shown(dir), ["..data", "a", "sub"]);
        assert_eq!(std::fs::read_to_string(dir.join("sub/b")).unwrap(), "2");

        let before = std::fs::read_link(dir.join(DATA)).unwrap();
        assert!(!write(dir, &payload(&[("a", "1"), ("sub/b", "2")]), None).unwrap(), "nothing changed, nothing is written");
        assert_eq!(std::fs::read_link(dir.join(DATA)).unwrap(), before);

        assert!(write(dir, &payload(&[("a", "3"), ("c", "4")]), None).unwrap());
        assert_eq!(shown(dir), ["..data", "a", "c"]);
        assert_eq!(std::fs::read_to_string(dir.join("a")).unwrap(), "3");
        assert!(!dir.join(before).exists(), "the old payload is gone");
    }

    #[test]
    fn a_changed_mode_is_a_change() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = payload(&[("a", "1")]);
        write(dir.path(), &files, None).unwrap();
        files.get_mut("a").unwrap().mode = 0o400;
        assert!(write(dir.path(), &files, None).unwrap());
        assert_eq!(std::fs::metadata(dir.path().join("a")).unwrap().permissions().mode() & 0o777, 0o400);
    }

    #[test]
    fn paths_out_of_the_volume_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["", "/a", "../a", "a/../b", "..data"] {
            assert!(write(dir.path(), &payload(&[(path, "x")]), None).is_err(), "{path}");
        }
        assert!(shown(dir.path()).is_empty());
    }
}
