#![cfg_attr(fuzzing, no_main)]
//! See [`kbo_fuzz::frame`].
kbo_fuzz::target!(frame);
