//! Progress on stderr: a bar per node on a terminal, a line now and then elsewhere.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use kbo_core::ids::NodeName;
use kbo_core::ports::monitor::{Monitor, MonitorEvent};
use kbo_core::text::{human, printable};

/// How often a line is written where there is no terminal.
const EVERY: Duration = Duration::from_secs(5);

/// Shows events.
pub(crate) enum Progress {
    /// Nothing (`-q`).
    Quiet,
    /// Bars.
    Bars(Bars),
    /// Lines.
    Lines(Lines),
}

/// Bars on a terminal.
pub(crate) struct Bars {
    multi: MultiProgress,
    bars: Mutex<BTreeMap<(NodeName, String), ProgressBar>>,
}

/// Rate-limited lines.
pub(crate) struct Lines {
    moving: Mutex<BTreeMap<(NodeName, String), Moving>>,
}

struct Moving {
    began: Instant,
    said: Instant,
}

impl Progress {
    /// As fits stderr.
    pub(crate) fn new(quiet: bool) -> Self {
        if quiet {
            Progress::Quiet
        } else if std::io::stderr().is_terminal() {
            Progress::Bars(Bars {
                multi: MultiProgress::new(),
                bars: Mutex::default(),
            })
        } else {
            Progress::Lines(Lines {
                moving: Mutex::default(),
            })
        }
    }

    fn say(&self, text: &str) {
        match self {
            Progress::Quiet => {}
            // Prints above the bars.
            Progress::Bars(bars) => drop(bars.multi.println(printable(text))),
            Progress::Lines(_) => crate::output::error_line(text),
        }
    }
}

impl Monitor for Progress {
    fn event(&self, event: MonitorEvent) {
        match event {
            MonitorEvent::Phase(phase) => {
                tracing::info!(%phase, "phase");
                crate::interrupt::note(phase);
                self.say(&format!("== {phase}"));
            }
            MonitorEvent::StepStarted { step } => tracing::info!(%step, "begins"),
            MonitorEvent::StepFinished {
                step,
                seconds,
                error: None,
            } => {
                tracing::info!(%step, seconds, "done");
                self.say(&format!("   {step}: {seconds:.1} s"));
            }
            MonitorEvent::StepFinished {
                step,
                seconds,
                error: Some(error),
            } => {
                tracing::info!(%step, seconds, %error, "failed");
                self.say(&format!("   {step}: FAILED after {seconds:.1} s: {error}"));
            }
            MonitorEvent::Warning(text) => {
                tracing::info!(%text, "warning");
                self.say(&format!("   warning: {text}"));
            }
            MonitorEvent::Waiting(text) => {
                tracing::info!(%text, "waiting");
                self.say(&format!("   waiting for {text}"));
            }
            MonitorEvent::Progress {
                node,
                what,
                done,
                total,
            } => match self {
                Progress::Quiet => {}
                Progress::Bars(bars) => bars.moved(node, what, done, total),
                Progress::Lines(lines) => lines.moved(node, what, done, total),
            },
        }
    }
}

impl Bars {
    fn moved(&self, node: NodeName, what: String, done: u64, total: u64) {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = bars.entry((node.clone(), what.clone())).or_insert_with(|| {
            let style = "   {prefix:<40} {bar:24} {bytes:>11}/{total_bytes:<11} {binary_bytes_per_sec:>13} eta {eta}";
            let style = ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
            self.multi.add(
                ProgressBar::new(total)
                    .with_style(style)
                    .with_prefix(format!("{node} {what}")),
            )
        });
        bar.set_length(total.max(done));
        bar.set_position(done);
        if done >= total {
            bar.finish_and_clear();
        }
    }
}

impl Lines {
    fn moved(&self, node: NodeName, what: String, done: u64, total: u64) {
        let mut moving = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let state = moving
            .entry((node.clone(), what.clone()))
            .or_insert(Moving { began: now, said: now });
        if now.duration_since(state.said) < EVERY {
            return;
        }
        state.said = now;
        let seconds = now.duration_since(state.began).as_secs().max(1);
        let rate = (done / seconds).max(1);
        let left = total.saturating_sub(done) / rate;
        let (done, total, rate) = (human(done), human(total), human(rate));
        crate::output::error_line(&format!("   {node} {what}: {done} of {total}, {rate}/s, {left} s left"));
    }
}
