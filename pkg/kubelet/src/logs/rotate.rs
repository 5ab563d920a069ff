//! Keeps a container's log within `containerLogMaxSize` and `containerLogMaxFiles`.
//!
//! `0.log` is renamed to `0.log.YYYYMMDD-HHMMSS` and the runtime told to open a new one; rotated files but the newest are
//! compressed; the oldest above the limit are removed. Upstream: pkg/kubelet/logs/container_log_manager.go.

use crate::clock;
use std::io;
use std::path::{Path, PathBuf};

const COMPRESSED: &str = "gz";
const TEMPORARY: &str = "tmp";

/// The name under which a log is put away at `now`.
pub fn rotated_name(log: &Path, now: i64) -> PathBuf {
    let text = clock::rfc3339_nanos(now);
    let stamp: String = text[..19].chars().filter(|c| !matches!(c, '-' | ':')).map(|c| if c == 'T' { '-' } else { c }).collect();
    PathBuf::from(format!("{}.{stamp}", log.display()))
}

/// Rotated files of `log`, oldest first; what an interrupted rotation left behind is removed.
fn rotated(log: &Path) -> io::Result<Vec<PathBuf>> {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name().and_then(|name| name.to_str())) else {
        return Ok(Vec::new());
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(rest) = path.file_name().and_then(|file| file.to_str()).and_then(|file| file.strip_prefix(name)) else { continue };
        if !rest.starts_with('.') {
            continue;
        }
        if path.extension().is_some_and(|extension| extension == TEMPORARY) {
            std::fs::remove_file(&path)?;
        } else {
            files.push(path);
        }
    }
    // A crash between writing the compressed file and removing the plain one leaves both.
    let compressed: Vec<PathBuf> = files.iter().filter(|path| is_compressed(path)).map(|path| path.with_extension("")).collect();
    files.retain(|path| {
        let double = compressed.contains(path);
        if double {
            let _ = std::fs::remove_file(path);
        }
        !double
    });
    files.sort();
    Ok(files)
}

fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == COMPRESSED)
}

fn compress(path: &Path) -> io::Result<()> {
    let target = PathBuf::from(format!("{}.{COMPRESSED}", path.display()));
    let temporary = PathBuf::from(format!("{}.{TEMPORARY}", path.display()));
    let mut reader = std::fs::File::open(path)?;
    let mut writer = flate2::write::GzEncoder::new(std::fs::File::create(&temporary)?, flate2::Compression::default());
    io::copy(&mut reader, &mut writer)?;
    writer.finish()?;
    std::fs::rename(&temporary, &target)?;
    std::fs::remove_file(path)
}

/// Makes room for one more rotated file: `max_files` counts the live log and the one about to be put away.
pub fn prepare(log: &Path, max_files: usize) -> io::Result<()> {
    let mut files = rotated(log)?;
    let keep = max_files.saturating_sub(2);
    while files.len() > keep {
        std::fs::remove_file(files.remove(0))?;
    }
    for path in files.iter().filter(|path| !is_compressed(path)) {
        compress(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn old_files_are_compressed_and_the_oldest_removed() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("0.log");
        for name in
            ["0.log", "0.log.20261121-040000.gz", "0.log.20261121-040001.gz", "0.log.20261121-040002", "0.log.20261121-040003.tmp", "1.log"]
        {
            std::fs::write(dir.path().join(name), "text").unwrap();
        }
        prepare(&log, 4).unwrap();
        assert_eq!(names(dir.path()), ["0.log", "0.log.20261121-040001.gz", "0.log.20261121-040002.gz", "1.log"]);
    }

    #[test]
    fn a_rotated_log_is_named_by_its_time() {
        let now = clock::parse_rfc3339("2026-11-21T04:05:06.7Z").unwrap();
        assert_eq!(rotated_name(Path::new("/l/0.log"), now), Path::new("/l/0.log.20261121-040506"));
    }
}
