//! Files that may change while the process runs: certificates, CA bundles, tokens.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::http::BoxError;

/// How often files are looked at. Upstream looks each minute and has inotify besides; a look costs microseconds.
pub const PERIOD: Duration = Duration::from_secs(5);

/// Why a set of files could not be used.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// The file is missing or not readable.
    #[error("open {}: {cause}", path.display())]
    Read { path: PathBuf, cause: std::io::Error },
    /// The content is not what it should be.
    #[error("{}: {cause}", paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "))]
    Parse { paths: Vec<PathBuf>, cause: BoxError },
}

type Parse<T> = Box<dyn Fn(&[Vec<u8>]) -> Result<T, BoxError> + Send + Sync>;

/// A value made from one or more files, made anew when their content changes.
///
/// A change that cannot be read or parsed (half written, say) is logged and the last good value stays.
pub struct Reloaded<T> {
    paths: Vec<PathBuf>,
    parse: Parse<T>,
    current: ArcSwap<T>,
    contents: Mutex<Vec<Vec<u8>>>,
}

impl<T> fmt::Debug for Reloaded<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Reloaded").field("paths", &self.paths).finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> Reloaded<T> {
    /// Reads the files for the first time.
    pub fn load(
        paths: Vec<PathBuf>,
        parse: impl Fn(&[Vec<u8>]) -> Result<T, BoxError> + Send + Sync + 'static,
    ) -> Result<Arc<Reloaded<T>>, ReloadError> {
        let contents = read(&paths)?;
        let value = parse(&contents).map_err(|cause| ReloadError::Parse { paths: paths.clone(), cause })?;
        Ok(Arc::new(Reloaded { paths, parse: Box::new(parse), current: ArcSwap::from_pointee(value), contents: Mutex::new(contents) }))
    }

    /// The value of the last good content.
    pub fn current(&self) -> Arc<T> {
        self.current.load_full()
    }

    /// Looks at the files now. `Ok(true)` if they had changed and the new value is in place.
    pub fn check(&self) -> Result<bool, ReloadError> {
        let contents = read(&self.paths)?;
        let mut last = self.contents.lock();
        if *last == contents {
            return Ok(false);
        }
        let value = (self.parse)(&contents).map_err(|cause| ReloadError::Parse { paths: self.paths.clone(), cause })?;
        self.current.store(Arc::new(value));
        *last = contents;
        Ok(true)
    }

    /// Looks at the files every [`PERIOD`] until told to stop.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
            match self.check() {
                Ok(false) => {}
                Ok(true) => tracing::info!(files = ?self.paths, "Reloaded files that had changed"),
                Err(error) => tracing::warn!(err = %error, "Cannot reload files; the last good content stays in use"),
            }
        }
    }
}

fn read(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, ReloadError> {
    paths.iter().map(|path| std::fs::read(path).map_err(|cause| ReloadError::Read { path: path.clone(), cause })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_change_keeps_the_last_good_value() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("number");
        std::fs::write(&path, "1").unwrap();
        let number = Reloaded::load(vec![path.clone()], |files| Ok(std::str::from_utf8(&files[0])?.parse::<u32>()?)).unwrap();
        assert!(!number.check().unwrap());
        std::fs::write(&path, "2").unwrap();
        assert!(number.check().unwrap());
        assert_eq!(*number.current(), 2);
        std::fs::write(&path, "x").unwrap();
        assert!(number.check().is_err());
        assert_eq!(*number.current(), 2);
    }
}
