#![cfg_attr(fuzzing, no_main)]
//! See [`kbo_fuzz::segment`].
kbo_fuzz::target!(segment);
