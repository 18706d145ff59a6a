//! The orchestrator over the fake cluster: undisturbed, disturbed at every operation, killed, interrupted, refused.

mod beside;
mod conforming;
mod containers;
mod crashes;
mod faults;
mod hangs;
mod interruptions;
mod judging;
mod kept;
mod leases;
mod oddities;
mod others;
mod power;
mod random;
mod refusals;
mod rotating;
mod runbooks;
mod scene;
mod space;
mod undisturbed;
