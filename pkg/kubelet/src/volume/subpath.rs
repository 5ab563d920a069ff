//! Mounts one path inside a volume, and never one outside of it, whatever links its content holds.
//!
//! The path is opened with the kernel's own check that it stays beneath the volume, and what is mounted is that open
//! file and not a name, so that nothing can be exchanged between check and use. Upstream: pkg/volume/util/subpath.

use super::mounts;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Component, Path};

fn open_beneath(root: &OwnedFd, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    rustix::fs::openat2(
        root,
        path,
        OFlags::PATH | OFlags::CLOEXEC | flags,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
    )
}

/// Opens `sub_path` in `volume`; directories that are missing are made.
fn open(volume: &Path, sub_path: &str) -> io::Result<OwnedFd> {
    let sub_path = Path::new(sub_path);
    let normal = sub_path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !normal {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("subPath {:?} must be relative and must not contain '..'", sub_path.display()),
        ));
    }
    let flags = if volume.is_dir() { OFlags::DIRECTORY } else { OFlags::empty() };
    let root = rustix::fs::open(volume, OFlags::PATH | OFlags::CLOEXEC | flags, Mode::empty())?;
    match open_beneath(&root, sub_path, OFlags::empty()) {
        Err(rustix::io::Errno::NOENT) => {}
        result => return Ok(result?),
    }
    let mut made = std::path::PathBuf::new();
    for part in sub_path.components().filter(|part| matches!(part, Component::Normal(_))) {
        let parent = open_beneath(&root, &made, OFlags::DIRECTORY)?;
        match rustix::fs::mkdirat(&parent, part.as_os_str(), Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                // As open to others as the volume itself is.
                let mode = rustix::fs::fstat(&parent)?.st_mode & 0o777;
                let dir =
                    rustix::fs::openat(&parent, part.as_os_str(), OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
                rustix::fs::fchmod(&dir, Mode::from_raw_mode(mode))?;
            }
            Err(rustix::io::Errno::EXIST) => {}
            Err(err) => return Err(err.into()),
        }
        made.push(part);
    }
    Ok(open_beneath(&root, sub_path, OFlags::empty())?)
}

/// Binds `sub_path` of `volume` to `target`, in place of what was bound there for an earlier container.
pub fn bind(volume: &Path, sub_path: &str, target: &Path) -> io::Result<()> {
    let source = open(volume, sub_path)?;
    let is_directory = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&source)?.st_mode).is_dir();
    mounts::unmount_below(target)?;
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match is_directory {
        true => std::fs::create_dir_all(target)?,
        false => drop(std::fs::File::create(target)?),
    }
    rustix::mount::mount_bind(format!("/proc/self/fd/{}", source.as_raw_fd()), target)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_out_of_the_volume_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("volume");
        std::fs::create_dir_all(volume.join("a")).unwrap();
        std::fs::write(dir.path().join("secret"), "x").unwrap();
        std::os::unix::fs::symlink("..", volume.join("up")).unwrap();
        std::os::unix::fs::symlink("/etc", volume.join("etc")).unwrap();
        std::os::unix::fs::symlink("a", volume.join("inside")).unwrap();
        for (path, fine) in [
            ("a", true),
            ("inside", true),
            ("new/dir", true),
            ("./a", true),
            ("up/secret", false),
            ("etc/passwd", false),
            ("etc", false),
            ("../secret", false),
            ("/a", false),
        ] {
            assert_eq!(open(&volume, path).is_ok(), fine, "{path}");
        }
        assert!(volume.join("new/dir").is_dir());
    }
}
