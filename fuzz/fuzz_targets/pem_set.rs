#![cfg_attr(fuzzing, no_main)]
//! See [`kbo_fuzz::pem_set`].
kbo_fuzz::target!(pem_set);
