#![cfg_attr(fuzzing, no_main)]
//! See [`kbo_fuzz::metadata_log`].
kbo_fuzz::target!(metadata_log);
