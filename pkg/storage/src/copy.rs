//! Moving all keys from one store to another, whatever their engines.

use crate::{Error, Expect, KeyRange, Range, Result, Revision, Store, Txn, TxnOutcome};

/// Keys read at once, and written in one transaction: etcd takes 128 operations unless configured otherwise.
const KEYS_AT_ONCE: usize = 100;

/// Bytes of one transaction at most, unless a single value is larger: etcd takes 1.5 MiB.
const BYTES_AT_ONCE: usize = 1 << 20;

/// What a copy did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    pub keys: u64,
    /// The revision of the source that was copied.
    pub from_revision: Revision,
    /// The revision of the destination afterwards.
    pub to_revision: Revision,
    /// Whether the destination is ahead of the source, so that clients notice the move and list again. Where it is not
    /// (etcd cannot skip revisions), everything that has watched the source has to be restarted.
    pub ahead: bool,
}

/// Copies the state of `keys` as of now, with what is left of each key's time to live. History is not copied, and every key
/// is new to the destination: its revisions are those of the destination.
///
/// Nobody may write to either store meanwhile: what is written to the source later is not copied. Errors:
/// [`Error::NotEmpty`] if the destination has any of `keys`; after any other error the destination is incomplete.
pub async fn copy(from: &dyn Store, to: &dyn Store, keys: KeyRange) -> Result<Copied> {
    let found = to.range(Range::of(keys.clone()).count_only()).await?.count;
    if found > 0 {
        return Err(Error::NotEmpty { found: format!("{found} keys") });
    }
    let from_revision = from.current_revision().await?;
    let mut rest = keys;
    let mut copied = 0;
    loop {
        let page = from.range(Range::of(rest.clone()).limit(KEYS_AT_ONCE).at(from_revision)).await?;
        let Some(last) = page.items.last() else { break };
        rest = rest.after(&last.key);
        copied += page.items.len() as u64;
        let mut txn = Txn::new();
        let mut bytes = 0;
        for item in page.items {
            if bytes + item.value.len() > BYTES_AT_ONCE {
                write(to, std::mem::take(&mut txn)).await?;
                bytes = 0;
            }
            bytes += item.key.len() + item.value.len();
            let ttl = from.time_to_live(&item).await?;
            txn = txn.when(item.key.clone(), Expect::Absent).put(item.key, item.value, ttl);
        }
        write(to, txn).await?;
        if !page.more {
            break;
        }
    }
    let ahead = to.raise_revision(from_revision.next()).await?;
    Ok(Copied { keys: copied, from_revision, to_revision: to.current_revision().await?, ahead })
}

async fn write(to: &dyn Store, txn: Txn) -> Result<()> {
    if txn.ops.is_empty() {
        return Ok(());
    }
    match to.txn(txn).await? {
        TxnOutcome::Committed { .. } => Ok(()),
        TxnOutcome::Conflict { .. } => Err(Error::NotEmpty { found: "keys written by somebody else".to_owned() }),
    }
}
