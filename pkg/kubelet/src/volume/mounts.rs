//! The kernel's mount table, as far as volumes need it.

use rustix::mount::{MountFlags, UnmountFlags};
use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

/// mountinfo writes spaces and the like as octal.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let octal = (bytes[at] == b'\\').then(|| text.get(at + 1..at + 4)).flatten().and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Mount points at and below `directory`, in the order they were made.
fn mount_points(mountinfo: &str, directory: &Path) -> Vec<PathBuf> {
    let points = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(|path| PathBuf::from(unescape(path)));
    points.filter(|path| path.starts_with(directory)).collect()
}

fn current(directory: &Path) -> io::Result<Vec<PathBuf>> {
    Ok(mount_points(&std::fs::read_to_string("/proc/self/mountinfo")?, directory))
}

pub fn is_mount_point(path: &Path) -> io::Result<bool> {
    Ok(current(path)?.iter().any(|point| point == path))
}

/// Takes away every mount at and below `directory`, the latest first.
pub fn unmount_below(directory: &Path) -> io::Result<()> {
    for point in current(directory)?.into_iter().rev() {
        // A process that still holds a file open must not keep the pod from going.
        rustix::mount::unmount(&point, UnmountFlags::empty()).or_else(|_| rustix::mount::unmount(&point, UnmountFlags::DETACH))?;
    }
    match current(directory)?.first() {
        None => Ok(()),
        Some(left) => Err(io::Error::other(format!("{} is still mounted", left.display()))),
    }
}

/// A file system in memory at `directory`, with a size if given; one that is there already stays.
pub fn tmpfs(directory: &Path, size: Option<i64>, mode: u32) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    if is_mount_point(directory)? {
        return Ok(());
    }
    let mut options = format!("mode={mode:o}");
    if let Some(size) = size {
        options.push_str(&format!(",size={size}"));
    }
    let options = CString::new(options).expect("digits and commas hold no zero byte");
    rustix::mount::mount("tmpfs", directory, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(options.as_c_str()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_below_a_directory() {
        let text = "1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / /pods/a/x rw - tmpfs t rw\n3 1 0:3 / /pods/ab rw - tmpfs t rw\n4 1 0:4 / /pods/a/with\\040space rw - tmpfs t rw\n";
        assert_eq!(mount_points(text, Path::new("/pods/a")), [PathBuf::from("/pods/a/x"), PathBuf::from("/pods/a/with space")]);
    }
}
