#![cfg_attr(fuzzing, no_main)]
//! See [`kbo_fuzz::journal`].
kbo_fuzz::target!(journal);
