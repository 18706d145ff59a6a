//! Swaps: one rename each, told apart by what stands where, undone and repeated at will.

use std::fs;

use kbo_archive::{Error, clean, kept, swap};
use kbo_core::inventory::Dataset;
use kbo_core::ports::node::{CleanRequest, StageRequest, SwapOutcome};

use crate::looking::hold_lock_in_another_process;
use crate::support::*;

/// A live broker and a staged backup of another.
fn staged_over_live() -> (Machine, StageRequest, Vec<u8>) {
    let from = Machine::broker();
    put(&from.data(), "restored", b"yes");
    take(&from.dirs);
    let (bytes, report) = archive(&from.dirs).unwrap();
    let to = Machine::broker();
    let request = request(&report, Dataset::Data);
    unpack(&request, &to.dirs, &bytes).unwrap();
    (to, request, bytes)
}

fn is_restored(machine: &Machine) -> bool {
    machine.data().join("restored").exists()
}

#[test]
fn swap_and_swap_back_are_idempotent_and_restore_what_was() {
    let (to, _, _) = staged_over_live();
    let before = prints(&to.data());
    assert_eq!(
        swap::swap_back(&other_run(), &to.dirs).unwrap(),
        SwapOutcome::AlreadySwapped
    );
    for _ in 0..2 {
        assert_eq!(swap::swap(&other_run(), &to.dirs).unwrap(), SwapOutcome::Swapped);
        assert!(is_restored(&to));
        assert_eq!(swap::swap(&other_run(), &to.dirs).unwrap(), SwapOutcome::AlreadySwapped);
        assert!(is_restored(&to));
        assert_eq!(swap::swap_back(&other_run(), &to.dirs).unwrap(), SwapOutcome::Swapped);
        assert_eq!(prints(&to.data()), before);
        assert_eq!(
            swap::swap_back(&other_run(), &to.dirs).unwrap(),
            SwapOutcome::AlreadySwapped
        );
        assert_eq!(prints(&to.data()), before);
    }
}

#[test]
fn a_kafka_that_runs_on_the_live_directory_refuses_the_swap_and_the_swap_back_and_nothing_moves() {
    let (to, _, _) = staged_over_live();
    for is_swapped in [false, true] {
        if is_swapped {
            assert_eq!(swap::swap(&other_run(), &to.dirs).unwrap(), SwapOutcome::Swapped);
        }
        let mut holder = hold_lock_in_another_process(&to.data().join(".lock"));
        let refused = match is_swapped {
            false => swap::swap(&other_run(), &to.dirs),
            true => swap::swap_back(&other_run(), &to.dirs),
        };
        drop(holder.stdin.take());
        holder.wait().unwrap();
        let Err(Error::State { what, .. }) = refused else {
            panic!("{refused:?}");
        };
        assert!(what.contains(&to.data().join(".lock").display().to_string()), "{what}");
        assert_eq!(is_restored(&to), is_swapped);
        // The holder's own file.
        fs::remove_file(to.data().join(".lock")).unwrap();
    }
    assert_eq!(swap::swap_back(&other_run(), &to.dirs).unwrap(), SwapOutcome::Swapped);
    assert!(!is_restored(&to) && !to.data().join(".lock").exists());
}

#[test]
fn a_missing_directory_is_swapped_in_and_missing_again_after_swap_back() {
    let (to, _, _) = staged_over_live();
    fs::remove_dir_all(to.data()).unwrap();
    assert_eq!(swap::swap(&other_run(), &to.dirs).unwrap(), SwapOutcome::Swapped);
    assert!(is_restored(&to));
    assert_eq!(swap::swap_back(&other_run(), &to.dirs).unwrap(), SwapOutcome::Swapped);
    assert!(!to.data().exists());
    assert_eq!(swap::swap(&other_run(), &to.dirs).unwrap(), SwapOutcome::Swapped);
    clean::remove(&to.dirs, &CleanRequest::RunKeepingPrevious(other_run())).unwrap();
    assert_eq!(to.beside(), ["data"]);
}

#[test]
fn what_a_swap_replaced_is_removed_or_kept_as_asked() {
    let (to, _, _) = staged_over_live();
    let before = prints(&to.data());
    swap::swap(&other_run(), &to.dirs).unwrap();
    let report = clean::remove(&to.dirs, &CleanRequest::RunKeepingPrevious(other_run())).unwrap();
    let previous = to.root.path().join("data.previous-20261123T030000Z");
    assert_eq!(report.kept, [previous.display().to_string()]);
    assert_eq!(report.removed, [other_run()]);
    assert_eq!(prints(&previous), before);
    assert!(is_restored(&to));
    assert_eq!(to.beside(), ["data", "data.previous-20261123T030000Z"]);
    // Once more: nothing is there, nothing happens.
    let again = clean::remove(&to.dirs, &CleanRequest::RunKeepingPrevious(other_run())).unwrap();
    assert_eq!((again.kept.len(), again.removed.len()), (0, 0));

    let (to, _, _) = staged_over_live();
    swap::swap(&other_run(), &to.dirs).unwrap();
    clean::remove(&to.dirs, &CleanRequest::Run(other_run())).unwrap();
    assert!(is_restored(&to));
    assert_eq!(to.beside(), ["data"]);
}

#[test]
fn keeping_what_was_never_replaced_keeps_nothing() {
    let (to, _, _) = staged_over_live();
    let report = clean::remove(&to.dirs, &CleanRequest::RunKeepingPrevious(other_run())).unwrap();
    assert_eq!(report.kept, Vec::<String>::new());
    assert!(!is_restored(&to));
    assert_eq!(to.beside(), ["data"]);
}

#[test]
fn an_incomplete_stage_is_not_swapped_and_no_directory_is_when_one_cannot() {
    let (to, _, _) = staged_over_live();
    fs::remove_file(staged(&to.dirs[0]).with_extension("json")).unwrap();
    assert!(matches!(swap::swap(&other_run(), &to.dirs), Err(Error::State { .. })));
    assert_eq!(
        swap::swap_back(&other_run(), &to.dirs).unwrap(),
        SwapOutcome::AlreadySwapped
    );

    let (to, _, _) = staged_over_live();
    let dirs = [
        to.dirs[0].clone(),
        spec(Dataset::Config, &to.root.path().join("config")),
    ];
    assert!(matches!(swap::swap(&other_run(), &dirs), Err(Error::State { .. })));
    assert!(!is_restored(&to));
}

#[test]
fn a_stage_that_was_exchanged_for_something_else_is_not_swapped() {
    let (to, _, _) = staged_over_live();
    let stage = staged(&to.dirs[0]);
    fs::rename(&stage, stage.with_extension("moved")).unwrap();
    fs::create_dir(&stage).unwrap();
    assert!(matches!(swap::swap(&other_run(), &to.dirs), Err(Error::State { .. })));
    assert!(!is_restored(&to));
}

#[test]
fn staging_after_the_swap_is_refused_as_it_would_delete_what_was_replaced() {
    let (to, request, bytes) = staged_over_live();
    let before = prints(&to.data());
    swap::swap(&other_run(), &to.dirs).unwrap();
    assert!(matches!(unpack(&request, &to.dirs, &bytes), Err(Error::State { .. })));
    swap::swap_back(&other_run(), &to.dirs).unwrap();
    assert_eq!(prints(&to.data()), before);
    // Staged again, it can be swapped again.
    unpack(&request, &to.dirs, &bytes).unwrap();
    swap::swap(&other_run(), &to.dirs).unwrap();
    assert!(is_restored(&to));
}

#[test]
fn a_file_in_the_place_of_the_directory_is_left_alone() {
    let (to, _, _) = staged_over_live();
    fs::remove_dir_all(to.data()).unwrap();
    fs::write(to.data(), "a file").unwrap();
    assert!(matches!(swap::swap(&other_run(), &to.dirs), Err(Error::State { .. })));
    assert_eq!(fs::read(to.data()).unwrap(), b"a file");
    // Nor is anything staged for it.
    let (_, request, bytes) = staged_over_live();
    assert!(matches!(unpack(&request, &to.dirs, &bytes), Err(Error::State { .. })));
}

#[test]
fn a_directory_behind_a_symbolic_link_is_swapped_where_it_stands() {
    let (to, _, _) = staged_over_live();
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("kafka-logs");
    std::os::unix::fs::symlink(to.data(), &link).unwrap();
    let dirs = [spec(Dataset::Data, &link)];
    assert_eq!(swap::swap(&other_run(), &dirs).unwrap(), SwapOutcome::Swapped);
    assert!(is_restored(&to));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[test]
fn another_number_of_directories_than_backed_up_is_refused() {
    let (to, request, bytes) = staged_over_live();
    let dirs = [to.dirs[0].clone(), spec(Dataset::Data, &to.root.path().join("second"))];
    assert!(matches!(unpack(&request, &dirs, &bytes), Err(Error::State { .. })));
}

#[test]
fn a_swap_is_undone_after_a_reboot_that_numbers_devices_otherwise() {
    let (to, _, _) = staged_over_live();
    let before = prints(&to.data());
    swap::swap(&other_run(), &to.dirs).unwrap();
    let marker = staged(&to.dirs[0]).with_file_name("stage.json");
    let text = fs::read_to_string(&marker).unwrap();
    assert!(!text.contains("\"dev\""), "{text}");
    assert_eq!(swap::swap_back(&other_run(), &to.dirs).unwrap(), SwapOutcome::Swapped);
    assert_eq!(prints(&to.data()), before);
}

#[test]
fn directories_of_which_neither_is_the_staged_one_are_not_moved() {
    let (to, _, _) = staged_over_live();
    swap::swap(&other_run(), &to.dirs).unwrap();
    // Somebody has put a third directory in the live one's place.
    fs::rename(to.data(), to.data().with_file_name("aside")).unwrap();
    fs::create_dir(to.data()).unwrap();
    let refused = swap::swap_back(&other_run(), &to.dirs);
    assert!(matches!(refused, Err(Error::State { .. })), "{refused:?}");
    assert!(staged(&to.dirs[0]).exists());
}

#[test]
fn what_is_kept_until_its_node_was_ready_is_gone_back_to_and_nothing_half_removed_is() {
    let (to, _, _) = staged_over_live();
    let before = prints(&to.data());
    swap::swap(&other_run(), &to.dirs).unwrap();
    clean::remove(&to.dirs, &CleanRequest::RunKeepingUntilReady(other_run())).unwrap();
    assert_eq!(to.beside(), ["data", "data.until-ready-20261123T030000Z"]);
    let [told] = &kept::list(&to.dirs).unwrap()[..] else {
        panic!("one directory is kept")
    };
    assert!(
        told.until_ready && told.bytes > 0 && told.run == other_run(),
        "{told:?}"
    );
    assert_eq!(
        (told.dir.as_str(), told.path.as_str()),
        ("/configured/data", "/configured/data.until-ready-20261123T030000Z")
    );
    clean::remove(&to.dirs, &CleanRequest::Orphans { keep: vec![] }).unwrap();

    // Gone back to, undone, and gone back to.
    let back = "20261124T030000Z".parse().unwrap();
    kept::stage(&back, &other_run(), &to.dirs).unwrap();
    swap::swap(&back, &to.dirs).unwrap();
    assert_eq!(prints(&to.data()), before);
    kept::stage(&back, &other_run(), &to.dirs).unwrap();
    swap::swap_back(&back, &to.dirs).unwrap();
    clean::remove(&to.dirs, &CleanRequest::Run(back.clone())).unwrap();
    assert!(is_restored(&to));
    assert_eq!(to.beside(), ["data", "data.until-ready-20261123T030000Z"]);
    kept::stage(&back, &other_run(), &to.dirs).unwrap();
    swap::swap(&back, &to.dirs).unwrap();
    clean::remove(&to.dirs, &CleanRequest::RunKeepingUntilReady(back.clone())).unwrap();
    assert_eq!(to.beside(), ["data", "data.until-ready-20261124T030000Z"]);
    assert_eq!(prints(&to.data()), before);

    // A removal that died in the middle has left a work folder, and nothing that could be gone back to.
    let folder = to.root.path().join(".kbo/20261124T030000Z/d-data");
    fs::create_dir_all(&folder).unwrap();
    fs::rename(
        to.root.path().join("data.until-ready-20261124T030000Z"),
        folder.join("discarded"),
    )
    .unwrap();
    assert_eq!(kept::list(&to.dirs).unwrap(), vec![]);
    clean::remove(&to.dirs, &CleanRequest::Orphans { keep: vec![] }).unwrap();
    assert_eq!(to.beside(), ["data"]);
}

#[test]
fn a_return_without_keeping_removes_what_it_replaced() {
    let (to, _, _) = staged_over_live();
    swap::swap(&other_run(), &to.dirs).unwrap();
    clean::remove(&to.dirs, &CleanRequest::RunKeepingPrevious(other_run())).unwrap();
    let back = "20261124T030000Z".parse().unwrap();
    kept::stage(&back, &other_run(), &to.dirs).unwrap();
    swap::swap(&back, &to.dirs).unwrap();
    clean::remove(&to.dirs, &CleanRequest::Run(back)).unwrap();
    assert!(!is_restored(&to));
    assert_eq!(to.beside(), ["data"]);
}

#[test]
fn a_directory_that_had_not_been_there_is_kept_as_an_empty_one() {
    let (to, _, _) = staged_over_live();
    fs::remove_dir_all(to.data()).unwrap();
    swap::swap(&other_run(), &to.dirs).unwrap();
    for _ in 0..2 {
        clean::remove(&to.dirs, &CleanRequest::RunKeepingUntilReady(other_run())).unwrap();
        assert_eq!(kept::list(&to.dirs).unwrap()[0].bytes, 0);
    }
    let back = "20261124T030000Z".parse().unwrap();
    kept::stage(&back, &other_run(), &to.dirs).unwrap();
    swap::swap(&back, &to.dirs).unwrap();
    assert_eq!(fs::read_dir(to.data()).unwrap().count(), 0);
}

#[test]
fn names_beside_a_directory_that_kbo_did_not_give_are_not_taken_for_kept_ones() {
    let (to, _, _) = staged_over_live();
    for name in [
        "data.previous-",
        "data.until-ready-yesterday",
        "data2.previous-20261123T030000Z",
    ] {
        fs::create_dir(to.root.path().join(name)).unwrap();
    }
    fs::write(to.root.path().join("data.previous-20261123T030000Z"), "a file").unwrap();
    assert_eq!(kept::list(&to.dirs).unwrap(), vec![]);
    let back = "20261124T030000Z".parse().unwrap();
    let Err(Error::State { what, .. }) = kept::stage(&back, &other_run(), &to.dirs) else {
        panic!("nothing is kept")
    };
    assert!(what.contains("20261123T030000Z"), "{what}");
    // What leads elsewhere is no stage, whoever wrote it.
    kept::stage(&back, &other_run(), &to.dirs).unwrap_err();
    let folder = to.root.path().join(".kbo/20261124T030000Z/d-data");
    fs::create_dir_all(&folder).unwrap();
    let stray = r#"{"run":"20261124T030000Z","label":"/data","ino":1,"kept_as":"../../etc"}"#;
    fs::write(folder.join("stage.json"), stray).unwrap();
    assert!(matches!(swap::swap(&back, &to.dirs), Err(Error::Damaged(_))));
}
