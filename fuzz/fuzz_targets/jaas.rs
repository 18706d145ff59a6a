#![cfg_attr(fuzzing, no_main)]
//! See [`kbo_fuzz::jaas`].
kbo_fuzz::target!(jaas);
