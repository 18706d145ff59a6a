#![cfg_attr(fuzzing, no_main)]
//! See [`kbo_fuzz::pkcs12`].
kbo_fuzz::target!(pkcs12);
