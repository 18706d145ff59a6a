#![cfg_attr(fuzzing, no_main)]
//! See [`kbo_fuzz::checkpoint`].
kbo_fuzz::target!(checkpoint);
