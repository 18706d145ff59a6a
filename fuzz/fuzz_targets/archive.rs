#![cfg_attr(fuzzing, no_main)]
//! See [`kbo_fuzz::archive`].
kbo_fuzz::target!(archive);
