//! The folder itself: made, owned, and rid of what dead runs have left.

use std::os::unix::fs::MetadataExt;

use super::*;

#[test]
fn a_directory_that_is_missing_is_made_and_no_more_than_it() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("certificates");
    for request in [looking(), undoing(1), dropping()] {
        let report = carry_out(&dir, &request, None).unwrap();
        assert!(report.files.is_empty() && report.previous.is_empty());
    }
    for request in [committing(1), rolling_back()] {
        assert_eq!(
            carry_out(&dir, &request, None).unwrap_err().kind(),
            NodeErrorKind::State
        );
    }
    assert!(!dir.exists());
    carry_out(&dir, &staging(1, NEW), None).unwrap();
    carry_out(&dir, &committing(1), None).unwrap();
    assert_eq!(std::fs::metadata(&dir).unwrap().mode() & 0o777, 0o750);
    let error = carry_out(&dir.join("a/b"), &staging(1, NEW), None).unwrap_err();
    assert!(matches!(error, Error::State { hint: Some(_), .. }), "{error}");
}

#[test]
fn what_a_run_that_died_has_staged_goes_with_the_next_staging() {
    let scene = Scene::new();
    scene.ask(&staging(1, NEW)).unwrap();
    scene.ask(&staging(2, NEW)).unwrap();
    let staged = std::fs::read_dir(scene.dir()).unwrap().count();
    assert_eq!(staged, 1, "there are keys in it");
    assert_eq!(scene.ask(&committing(1)).unwrap_err().kind(), NodeErrorKind::State);
    scene.ask(&committing(2)).unwrap();
}

#[test]
fn a_directory_that_is_made_gets_the_owner_of_the_data_and_a_link_in_its_place_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let meta = std::fs::metadata(root.path()).unwrap();
    // Only root may give a file away; others can be told from it by nothing but their own.
    let owner = match meta.uid() {
        0 => (1000, 1001),
        own => (own, meta.gid()),
    };
    let dir = root.path().join("certificates");
    carry_out(&dir, &staging(1, NEW), Some(owner)).unwrap();
    carry_out(&dir, &committing(1), Some(owner)).unwrap();
    for path in [dir.clone(), dir.join("keystore.p12")] {
        let made = std::fs::metadata(&path).unwrap();
        assert_eq!((made.uid(), made.gid()), owner, "{}", path.display());
    }
    let dangling = root.path().join("dangling");
    std::os::unix::fs::symlink(root.path().join("nowhere"), &dangling).unwrap();
    carry_out(&dangling, &staging(1, NEW), Some(owner)).unwrap_err();
    assert!(!root.path().join("nowhere").exists());
}
