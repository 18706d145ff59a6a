#![cfg_attr(fuzzing, no_main)]
//! See [`kbo_fuzz::kafka_answer`].
kbo_fuzz::target!(kafka_answer);
