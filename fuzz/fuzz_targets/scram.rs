#![cfg_attr(fuzzing, no_main)]
//! See [`kbo_fuzz::scram`].
kbo_fuzz::target!(scram);
