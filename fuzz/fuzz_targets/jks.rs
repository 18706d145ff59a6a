#![cfg_attr(fuzzing, no_main)]
//! See [`kbo_fuzz::jks`].
kbo_fuzz::target!(jks);
