//! placeholder
use serde::{Deserialize, Serialize};
/// An entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {}
