#![cfg_attr(fuzzing, no_main)]
//! See [`kbo_fuzz::import_config`].
kbo_fuzz::target!(import_config);
