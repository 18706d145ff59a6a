#![cfg_attr(fuzzing, no_main)]
//! See [`kbo_fuzz::meta_properties`].
kbo_fuzz::target!(meta_properties);
