//! Every fuzz target over damaged seeds: what nightly and a fuzzer do for hours, for seconds on stable.

use kbo_fuzz::TARGETS;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::TestRunner;

const CASES: u32 = 10_000;

#[derive(Debug, Clone)]
enum Damage {
    Set(Index, u8),
    Remove(Index),
    Insert(Index, Vec<u8>),
    Cut(Index),
    /// A part of the bytes once more, somewhere else.
    Repeat(Index, Index, Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        6 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        2 => any::<Index>().prop_map(Damage::Remove),
        2 => (any::<Index>(), vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        1 => any::<Index>().prop_map(Damage::Cut),
        2 => any::<(Index, Index, Index)>().prop_map(|(from, to, at)| Damage::Repeat(from, to, at)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    let place = |index: &Index| index.index(bytes.len() + 1);
    match damage {
        Damage::Set(at, byte) => {
            let at = place(at);
            if let Some(old) = bytes.get_mut(at) {
                *old = *byte;
            }
        }
        Damage::Remove(at) => {
            let at = place(at);
            if at < bytes.len() {
                bytes.remove(at);
            }
        }
        Damage::Insert(at, more) => {
            let at = place(at);
            bytes.splice(at..at, more.iter().copied());
        }
        Damage::Cut(at) => bytes.truncate(place(at)),
        Damage::Repeat(from, to, at) => {
            let (from, to, at) = (place(from), place(to), place(at));
            let part = bytes[from.min(to)..from.max(to)].to_vec();
            bytes.splice(at..at, part);
        }
    }
}

#[test]
fn no_damage_to_what_a_parser_reads_breaks_its_promises() {
    for (name, target, seeds) in TARGETS {
        let seeds = seeds();
        for seed in &seeds {
            target(seed);
        }
        let damaged = (select(seeds), vec(damage(), 0..6)).prop_map(|(mut bytes, damages)| {
            for damage in &damages {
                apply(&mut bytes, damage);
            }
            bytes
        });
        let mut runner = TestRunner::new(ProptestConfig {
            cases: CASES,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let ran = runner.run(&damaged, |bytes| {
            target(&bytes);
            Ok(())
        });
        assert!(ran.is_ok(), "the target {name}: {}", ran.unwrap_err());
    }
}

#[test]
fn every_target_has_its_program() {
    for (name, _, _) in TARGETS {
        let program = format!("{}/fuzz_targets/{name}.rs", env!("CARGO_MANIFEST_DIR"));
        assert!(std::path::Path::new(&program).is_file(), "{program}");
    }
}

/// A seed that is refused at once would let the fuzzer begin from noise.
#[test]
fn the_seeds_are_understood() {
    use kbo_core::journal::Entry;
    use kbo_core::manifest::Manifest;
    use kbo_fuzz::seeds;
    use kbo_transport::agent::proto::{Request, decode};

    for line in seeds::journal() {
        serde_json::from_slice::<Entry>(&line).unwrap();
    }
    for manifest in seeds::manifest() {
        serde_json::from_slice::<Manifest>(&manifest).unwrap();
    }
    for frame in seeds::frame().iter().filter(|frame| frame[0] == 3) {
        decode::<Request>(&frame[1..]).unwrap();
    }
    let text = String::from_utf8(seeds::configuration().remove(0)).unwrap();
    let raw: kbo_core::config::raw::Raw =
        figment::Figment::from(<figment::providers::Toml as figment::providers::Format>::string(&text))
            .extract()
            .unwrap();
    kbo_core::config::Config::new(&raw, None).unwrap();
    let (record, bytes) = seeds::sound_archive();
    let findings = kbo_archive::reader::verify_archive(&record, &mut &*bytes, &|_| {}, &|| false).unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    let files = seeds::pem_set().remove(0);
    let options = kbo_certs::Options {
        passphrase: None,
        roots: vec![],
        now: seeds::set_time(),
    };
    let files = files.split(|byte| *byte == 0).map(|file| ("file", file));
    let set = kbo_certs::WildcardSet::from_files(files, &options).unwrap();
    assert!(set.key().is_some() && set.served().len() == 2 && set.root().is_some());
}
