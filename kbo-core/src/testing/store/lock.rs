//! The lock of a store in memory.

use async_trait::async_trait;

use super::MemoryStore;
use crate::ids::ClusterName;
use crate::ports::store::{LockOwner, StoreError, StoreLock};

/// A cluster's lock, and the place beside it.
#[derive(Debug, Default)]
pub(super) struct Locks {
    whole: Option<LockOwner>,
    beside: Option<LockOwner>,
}

impl MemoryStore {
    pub(super) async fn take_lock(
        &self,
        cluster: &ClusterName,
        purpose: &str,
        may_be_beside: bool,
    ) -> Result<Box<dyn StoreLock>, StoreError> {
        let mine = LockOwner {
            host: "here".to_owned(),
            pid: 1,
            boot_id: "boot".to_owned(),
            since: jiff::Timestamp::UNIX_EPOCH,
            purpose: purpose.to_owned(),
            holder: None,
            archiving: false,
        };
        let taken = self.around("lock", |content| {
            let locks = content.locks.entry(cluster.as_str().to_owned()).or_default();
            match (&locks.whole, &locks.beside) {
                (_, Some(owner)) => Err(owner.clone()),
                (None, None) => {
                    locks.whole = Some(mine);
                    Ok(false)
                }
                (Some(owner), None) if owner.archiving && may_be_beside => {
                    locks.beside = Some(mine);
                    Ok(true)
                }
                (Some(owner), None) => Err(owner.clone()),
            }
        });
        match taken.await? {
            Ok(is_beside) => Ok(Box::new(MemoryLock {
                store: self.clone(),
                cluster: cluster.clone(),
                is_beside,
            })),
            Err(owner) => Err(StoreError::Locked {
                cluster: cluster.clone(),
                owner: Box::new(owner),
            }),
        }
    }
}

struct MemoryLock {
    store: MemoryStore,
    cluster: ClusterName,
    is_beside: bool,
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        if let Some(locks) = self.store.content().locks.get_mut(self.cluster.as_str()) {
            match self.is_beside {
                true => locks.beside = None,
                false => locks.whole = None,
            }
        }
    }
}

#[async_trait]
impl StoreLock for MemoryLock {
    fn took_over(&self) -> Option<&LockOwner> {
        None
    }

    async fn share(&self) -> Result<(), StoreError> {
        self.store
            .around("share", |content| {
                let locks = content.locks.get_mut(self.cluster.as_str());
                if let Some(owner) = locks.and_then(|locks| locks.whole.as_mut()) {
                    owner.archiving = true;
                }
            })
            .await
    }

    async fn release(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}
