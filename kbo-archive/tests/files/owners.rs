//! Work folders and links that are not root's or this user's alone: nothing is done there.

use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::Path;

use kbo_archive::work::Place;
use kbo_archive::{DirSpec, facts};
use kbo_core::inventory::Dataset;

const SOMEBODY: Option<u32> = Some(12_345);

fn spec(path: &Path) -> DirSpec {
    DirSpec {
        dataset: Dataset::Data,
        label: path.display().to_string(),
        path: path.to_owned(),
    }
}

fn refused(path: &Path) -> String {
    let facts = facts::dir_facts(&spec(path));
    facts.error.expect("it is refused")
}

/// Other users' files can be made by root alone.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_work_folder_that_others_own_or_write_to_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (live, work) = (dir.path().join("data"), dir.path().join(".kbo"));
    fs::create_dir_all(&live).unwrap();
    fs::create_dir(&work).unwrap();
    fs::set_permissions(&work, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(facts::dir_facts(&spec(&live)).error, None);
    for mode in [0o770, 0o707, 0o1777] {
        fs::set_permissions(&work, fs::Permissions::from_mode(mode)).unwrap();
        assert!(refused(&live).contains("may be written by others"), "{mode:o}");
        assert!(Place::of(&spec(&live)).is_err());
    }
    fs::set_permissions(&work, fs::Permissions::from_mode(0o700)).unwrap();
    if is_root() {
        lchown(&work, SOMEBODY, SOMEBODY).unwrap();
        assert!(refused(&live).contains("belongs to user 12345"));
    }
    fs::remove_dir(&work).unwrap();
    symlink(dir.path(), &work).unwrap();
    assert!(refused(&live).contains("is a symbolic link"));
}

#[test]
fn a_path_is_resolved_through_links_that_nobody_else_can_change() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let real = root.join("disk1/kafka");
    fs::create_dir_all(&real).unwrap();
    symlink("disk1", root.join("kafka")).unwrap();
    let through = root.join("kafka/kafka");
    let facts = facts::dir_facts(&spec(&through));
    assert_eq!((facts.error, facts.resolved), (None, Some(real.display().to_string())));
    assert_eq!(Place::of(&spec(&through)).unwrap().live, real);
    symlink("loop", root.join("loop")).unwrap();
    assert!(refused(&root.join("loop")).contains("too many symbolic links"));
    symlink("nothing", root.join("dangling")).unwrap();
    assert!(refused(&root.join("dangling")).contains("link to nothing"));
    if is_root() {
        lchown(root.join("kafka"), SOMEBODY, SOMEBODY).unwrap();
        let said = refused(&through);
        assert!(said.contains("user 12345 can change"), "{said}");
        lchown(root.join("kafka"), Some(0), Some(0)).unwrap();
    }
    fs::set_permissions(&root, fs::Permissions::from_mode(0o777)).unwrap();
    let said = refused(&through);
    assert!(said.contains("others can change"), "{said}");
}
