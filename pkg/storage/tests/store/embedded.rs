//! The embedded engine.

use std::sync::Arc;

use storage::embedded::{EmbeddedStore, Options};

use crate::{contract, model};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_memory_keeps_the_contract() {
    contract::run_all(Arc::new(EmbeddedStore::in_memory())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_file_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(folder.path().join("new/store"), Options::default()).unwrap();
    contract::run_all(Arc::new(store)).await;
}

#[tokio::test]
async fn random_histories_agree_with_the_model() {
    for seed in 0..8 {
        let store = Arc::new(EmbeddedStore::in_memory());
        model::run(store, "/registry/model/", seed, 400).await;
    }
}
