#![cfg_attr(fuzzing, no_main)]
//! See [`kbo_fuzz::manifest`].
kbo_fuzz::target!(manifest);
