#![cfg_attr(fuzzing, no_main)]
//! See [`kbo_fuzz::names`].
kbo_fuzz::target!(names);
