//! A monitor that remembers.

use std::sync::{Arc, Mutex, PoisonError};

use crate::machine::Phase;
use crate::ports::monitor::{Monitor, MonitorEvent};

/// Records every event. Clones share the record.
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<MonitorEvent>>>);

impl Recorder {
    /// Everything so far, in order.
    pub fn events(&self) -> Vec<MonitorEvent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The phases entered, in order.
    pub fn phases(&self) -> Vec<Phase> {
        let phase = |event| match event {
            MonitorEvent::Phase(phase) => Some(phase),
            _ => None,
        };
        self.events().into_iter().filter_map(phase).collect()
    }

    /// The steps begun, as the plan prints them, in order.
    pub fn steps(&self) -> Vec<String> {
        let step = |event| match event {
            MonitorEvent::StepStarted { step } => Some(step),
            _ => None,
        };
        self.events().into_iter().filter_map(step).collect()
    }
}

impl Monitor for Recorder {
    fn event(&self, event: MonitorEvent) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}
