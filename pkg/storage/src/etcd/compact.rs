//! Compaction shared by all API servers of an etcd, upstream's included.
//!
//! The version of one agreed key counts the rounds. Every interval each server tries to move it on from the round it knows;
//! who succeeds compacts up to the revision it saw one interval ago, and the others take over the new round. So however
//! many servers there are, one compacts per interval, and only what is at least an interval old.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Compare, CompareOp, Txn, TxnOp, TxnOpResponse};

use super::fault::Kind;
use super::{Client, revision_of};
use crate::{Error, Result, Revision};

/// The key upstream uses. Its value is the revision up to which its last writer meant to compact.
pub(super) const KEY: &str = "compact_rev_key";

/// What one server knows: the round that is on, and the current revision when it learned of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Round {
    number: i64,
    seen_at: Revision,
}

pub(super) async fn run(client: Arc<Client>, interval: Duration) {
    let mut round = Round::default();
    loop {
        tokio::time::sleep(interval).await;
        match step(&client, round).await {
            Ok(next) => round = next,
            Err(error) => tracing::warn!(err = %error, "etcd could not be compacted; it will be tried again"),
        }
    }
}

/// Tries to be the one who compacts this round. Returns what to try next.
async fn step(client: &Client, round: Round) -> Result<Round> {
    let compares = [Compare::version(KEY, CompareOp::Equal, round.number)];
    let put = [TxnOp::put(KEY, round.seen_at.to_string(), None)];
    let txn = Txn::new().when(compares).and_then(put).or_else([TxnOp::get(KEY, None)]);
    let agree = || {
        let (mut kv, txn) = (client.kv(), txn.clone());
        async move { kv.txn(txn).await }
    };
    // If the answer is lost, the next attempt finds the round moved on and follows it.
    let answer = client.call(Kind::Read, "agree on a compaction with other servers", agree).await?;
    let seen_at = revision_of(answer.header().map(|header| header.revision()))?;
    if !answer.succeeded() {
        let found = answer.op_responses().into_iter().find_map(|response| match response {
            TxnOpResponse::Get(mut get) => get.take_kvs().into_iter().next(),
            _ => None,
        });
        // Deleted between the rounds: they begin again.
        let Some(found) = found else { return Ok(Round { number: 0, seen_at }) };
        if let Some(revision) = std::str::from_utf8(found.value()).ok().and_then(|text| text.parse().ok()) {
            client.note_compacted(Revision(revision));
        }
        return Ok(Round { number: found.version(), seen_at });
    }
    // In the very first round nothing is an interval old yet.
    if !round.seen_at.is_zero() {
        compact(client, round.seen_at).await?;
    }
    Ok(Round { number: round.number + 1, seen_at })
}

/// Compacts up to `revision`; that it already is so is fine.
pub(super) async fn compact(client: &Client, revision: Revision) -> Result<()> {
    let ask = || {
        let mut kv = client.kv();
        async move { kv.compact(revision.0 as i64, None).await }
    };
    match client.call(Kind::Read, "compact etcd", ask).await {
        Ok(_) | Err(Error::Compacted { .. }) => {
            client.note_compacted(revision);
            Ok(())
        }
        Err(error) => Err(client.explain(error, Some(revision)).await),
    }
}
