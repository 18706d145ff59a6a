#![cfg_attr(fuzzing, no_main)]
//! See [`kbo_fuzz::configuration`].
kbo_fuzz::target!(configuration);
