//! Reading and writing the files of a PKI. Written through a temporary file, so that a reader never sees half of one.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::PkiError;

/// Anyone may read.
pub const PUBLIC: u32 = 0o644;
/// Only the owner may read.
pub const PRIVATE: u32 = 0o600;

/// Reads a text file.
pub fn read(path: &Path) -> Result<String, PkiError> {
    fs::read_to_string(path).map_err(|cause| PkiError::File { path: path.to_owned(), cause })
}

/// Writes a file with that mode, and the folders above it.
pub fn write(path: &Path, content: &str, mode: u32) -> Result<(), PkiError> {
    replace(path, content, mode).map_err(|cause| PkiError::File { path: path.to_owned(), cause })
}

fn replace(path: &Path, content: &str, mode: u32) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?.to_owned();
    name.push(format!(".tmp-{}", std::process::id()));
    let temporary = path.with_file_name(name);
    // A leftover of a crash would keep its old mode.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}
