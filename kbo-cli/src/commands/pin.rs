//! `kbo pin`, `kbo unpin`

use jiff::Timestamp;
use kbo_core::ports::store::{BackupStore, Pin};
use kbo_core::report::Outcome;
use serde::Serialize;

use super::{Context, Ended, show, store_locked};
use crate::output;

#[derive(Serialize)]
struct Document<'a> {
    outcome: Outcome,
    id: &'a str,
    pinned: bool,
    changed: bool,
    verdict: &'a str,
}

pub(super) async fn pin(context: &Context, backup: &str, reason: Option<String>) -> Ended {
    let id = show::selected(context, backup, &[]).await?;
    store_locked(context, "pin", async {
        let pin = Pin {
            reason,
            since: Timestamp::now(),
        };
        let changed = context.composed.store.pin(&id, &pin).await?;
        let verdict = if changed {
            format!("{id} is pinned: it stays until kbo unpin {id}")
        } else {
            format!("{id} was pinned already; its reason is noted")
        };
        Ok(shown(context, id.as_str(), true, changed, &verdict))
    })
    .await
}

pub(super) async fn unpin(context: &Context, backup: &str) -> Ended {
    let id = show::selected(context, backup, &[]).await?;
    store_locked(context, "unpin", async {
        let changed = context.composed.store.unpin(&id).await?;
        let verdict = if changed {
            format!("{id} is not pinned any more: it goes when it has had its time (kbo rotate --dry-run)")
        } else {
            format!("{id} was not pinned")
        };
        Ok(shown(context, id.as_str(), false, changed, &verdict))
    })
    .await
}

fn shown(context: &Context, id: &str, pinned: bool, changed: bool, verdict: &str) -> Outcome {
    let outcome = Outcome::Done;
    if context.global.json {
        output::json(&Document {
            outcome,
            id,
            pinned,
            changed,
            verdict,
        });
        output::error_line(verdict);
    } else {
        output::line(verdict);
    }
    outcome
}
