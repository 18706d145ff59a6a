#![cfg_attr(fuzzing, no_main)]
//! See [`kbo_fuzz::properties`].
kbo_fuzz::target!(properties);
