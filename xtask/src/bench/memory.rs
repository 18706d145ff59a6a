//! The highest memory seen of the centre and of any agent, over all runs so far.

use super::kbo::Kbo;
use super::table::{Figure, Table, Wanted};

pub(super) fn record(kbo: &Kbo, table: &mut Table, what: &str) {
    for (who, kib, limit) in [
        ("an agent", kbo.agent_kib.get(), 96.0),
        ("the centre", kbo.centre_kib.get(), 128.0),
    ] {
        #[expect(clippy::cast_precision_loss, reason = "kibibytes of memory are far below 2^52")]
        let value = kib as f64 / 1024.0;
        let name = format!("peak memory of {who}, up to {what}");
        table.add(Figure {
            name,
            value,
            unit: "MiB",
            wanted: Some(Wanted::AtMost(limit)),
            detail: "six nodes".to_owned(),
        });
    }
}
