//! The embedded engine: the whole store in one file of this process.
