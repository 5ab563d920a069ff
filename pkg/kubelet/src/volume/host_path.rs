//! Files and directories of the node itself.

use super::{Plugin, SetUp};
use api::core::v1::Volume;
use async_trait::async_trait;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

pub struct HostPath;

/// Holds the path against the type asked for; the two `OrCreate` types make what is missing.
fn check(path: &Path, kind: &str) -> Result<(), String> {
    let shown = path.display();
    let metadata = std::fs::metadata(path);
    let fail = |what: &str| Err(format!("hostPath type check failed: {shown} is not a {what}"));
    match (kind, &metadata) {
        ("", _) => Ok(()),
        ("DirectoryOrCreate", Err(_)) => {
            std::fs::create_dir_all(path).map_err(|err| format!("cannot create {shown}: {err}"))?;
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).map_err(|err| format!("cannot create {shown}: {err}"))
        }
        ("FileOrCreate", Err(_)) => std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|file| file.set_permissions(std::fs::Permissions::from_mode(0o644)))
            .map_err(|err| format!("cannot create {shown}: {err}")),
        ("Directory" | "DirectoryOrCreate", Ok(meta)) if meta.is_dir() => Ok(()),
        ("Directory" | "DirectoryOrCreate", _) => fail("directory"),
        ("File" | "FileOrCreate", Ok(meta)) if meta.is_file() => Ok(()),
        ("File" | "FileOrCreate", _) => fail("file"),
        ("Socket", Ok(meta)) if meta.file_type().is_socket() => Ok(()),
        ("Socket", _) => fail("socket file"),
        ("CharDevice", Ok(meta)) if meta.file_type().is_char_device() => Ok(()),
        ("CharDevice", _) => fail("character device"),
        ("BlockDevice", Ok(meta)) if meta.file_type().is_block_device() => Ok(()),
        ("BlockDevice", _) => fail("block device"),
        (other, _) => Err(format!("{other} is an invalid volume type")),
    }
}

#[async_trait]
impl Plugin for HostPath {
    fn directory_name(&self) -> &'static str {
        "kubernetes.io~host-path"
    }

    fn supports(&self, volume: &Volume) -> bool {
        volume.volume_source.host_path.is_some()
    }

    async fn set_up(&self, set_up: &SetUp<'_>) -> Result<PathBuf, String> {
        let source = set_up.volume.volume_source.host_path.as_ref().ok_or("not a hostPath volume")?;
        let path = PathBuf::from(&source.path);
        check(&path, source.type_.as_deref().unwrap_or_default())?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_checked_and_made() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        for (path, kind, fine) in [
            ("", "Directory", true),
            ("file", "Directory", false),
            ("file", "File", true),
            ("missing", "File", false),
            ("missing", "", true),
            ("file", "Socket", false),
            ("made/dir", "DirectoryOrCreate", true),
            ("made/file", "FileOrCreate", true),
            ("file", "DirectoryOrCreate", false),
            ("file", "Nonsense", false),
        ] {
            assert_eq!(check(&dir.path().join(path), kind).is_ok(), fine, "{path} {kind}");
        }
        assert!(dir.path().join("made/dir").is_dir() && dir.path().join("made/file").is_file());
    }
}
