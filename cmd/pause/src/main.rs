//! The process of a pod's sandbox: holds the namespaces open and, where it is process 1 of the pod, reaps orphans.
//!
//! Ends on SIGINT and SIGTERM. Linked statically and run from an image that holds nothing else, so it uses no more
//! than signals. Upstream: build/pause/linux/pause.c.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().skip(1).any(|arg| arg == "-v" || arg == "--version") {
        println!("pause {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    if std::process::id() != 1 {
        // It works all the same, as the parent that collects nothing.
        eprintln!("Warning: pause should be the first process");
    }
    let signals = match Signals::block(&[libc::SIGINT, libc::SIGTERM, libc::SIGCHLD]) {
        Ok(signals) => signals,
        Err(err) => {
            eprintln!("cannot block signals: {err}");
            return ExitCode::FAILURE;
        }
    };
    loop {
        match signals.wait() {
            Ok(libc::SIGCHLD) => reap(),
            Ok(_) => return ExitCode::SUCCESS,
            Err(err) => {
                eprintln!("cannot wait for signals: {err}");
                return ExitCode::FAILURE;
            }
        }
    }
}

/// Signals that stay pending until they are waited for, so that none is lost between two waits.
struct Signals(libc::sigset_t);

impl Signals {
    #[expect(unsafe_code, reason = "signal masks are system calls without a safe wrapper in std")]
    fn block(signals: &[libc::c_int]) -> std::io::Result<Self> {
        // SAFETY: the set is plain data, initialized by sigemptyset before anything reads it; all calls get valid
        // pointers, and this is the only thread.
        unsafe {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in signals {
                libc::sigaddset(&mut set, *signal);
            }
            match libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) {
                0 => Ok(Signals(set)),
                _ => Err(std::io::Error::last_os_error()),
            }
        }
    }

    #[expect(unsafe_code, reason = "sigwait has no safe wrapper in std")]
    fn wait(&self) -> std::io::Result<libc::c_int> {
        let mut signal = 0;
        // SAFETY: both pointers are valid for the call.
        match unsafe { libc::sigwait(&self.0, &mut signal) } {
            0 => Ok(signal),
            errno => Err(std::io::Error::from_raw_os_error(errno)),
        }
    }
}

/// Collects every child that has ended; one SIGCHLD may stand for several.
#[expect(unsafe_code, reason = "waiting for any child has no safe wrapper in std")]
fn reap() {
    // SAFETY: a null status pointer is allowed.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
}
