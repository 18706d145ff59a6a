//! `kbo pin`, `kbo unpin`

use jiff::Timestamp;
use kbo_archive::store::Wanted;
use kbo_core::ports::store::{BackupStore, Pin};
use kbo_core::report::Outcome;
use serde::Serialize;

use super::{Context, Ended, Trouble, show, store_locked};
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
    let pin = because(reason.as_deref())?;
    let id = show::selected(context, backup, Wanted::WholeOrAny).await?.told(context);
    store_locked(context, "pin", async {
        let changed = context.composed.held.pin(&id, &pin).await?;
        let verdict = match (changed, &pin.reason) {
            (true, _) => format!("{id} is pinned: it stays until kbo unpin {id}"),
            (false, Some(_)) => format!("{id} was pinned already; the new reason is noted"),
            (false, None) => format!("{id} was pinned already"),
        };
        Ok(shown(context, id.as_str(), true, changed, &verdict))
    })
    .await
}

pub(super) async fn unpin(context: &Context, backup: &str) -> Ended {
    let id = show::selected(context, backup, Wanted::WholeOrAny).await?.told(context);
    store_locked(context, "unpin", async {
        let changed = context.composed.held.unpin(&id).await?;
        let verdict = if changed {
            format!("{id} is not pinned any more: it goes when it has had its time (kbo rotate --dry-run)")
        } else {
            format!("{id} was not pinned")
        };
        Ok(shown(context, id.as_str(), false, changed, &verdict))
    })
    .await
}

/// A pin of this moment by whoever runs kbo.
pub(super) fn because(reason: Option<&str>) -> Result<Pin, Trouble> {
    const LONGEST: usize = 1000;
    let reason = reason.map(str::trim).filter(|reason| !reason.is_empty());
    if reason.is_some_and(|reason| reason.chars().any(char::is_control) || reason.len() > LONGEST) {
        let text = format!("a reason is one line of at most {LONGEST} bytes");
        return Err(Trouble::new(Outcome::Usage, text));
    }
    Ok(Pin {
        reason: reason.map(str::to_owned),
        since: Timestamp::now(),
        by: crate::compose::user(),
    })
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
