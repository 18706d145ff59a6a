//! Against the model in `kbo_core::testing`, with deaths and failures at every step.

mod folders;

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;

use kbo_core::ports::node::NodeErrorKind;
use kbo_core::testing::{FilesDir, sha256};
use proptest::prelude::*;

use super::folder::strike;
use super::*;

const LABEL: &str = "/data/cluster/certificates";
const NAMES: [&str; 3] = ["keystore.p12", "truststore.p12", "ca.pem"];

struct Scene {
    root: tempfile::TempDir,
}

fn run(n: usize) -> RunId {
    format!("20261125T05000{n}Z").parse().unwrap()
}

fn file(name: &str, text: &str, mode: u32) -> NewFile {
    NewFile {
        name: name.to_owned(),
        bytes: text.as_bytes().to_vec().into(),
        mode,
        owner: None,
    }
}

fn staging(n: usize, files: &[(&str, &str)]) -> FilesRequest {
    FilesRequest::Stage {
        run: run(n),
        dir: LABEL.to_owned(),
        files: files.iter().map(|(name, text)| file(name, text, 0o640)).collect(),
    }
}

fn committing(n: usize) -> FilesRequest {
    let (run, dir) = (run(n), LABEL.to_owned());
    FilesRequest::Commit { run, dir }
}

fn undoing(n: usize) -> FilesRequest {
    let (run, dir) = (run(n), LABEL.to_owned());
    FilesRequest::Undo { run, dir }
}

fn rolling_back() -> FilesRequest {
    FilesRequest::Rollback { dir: LABEL.to_owned() }
}

fn dropping() -> FilesRequest {
    FilesRequest::Drop { dir: LABEL.to_owned() }
}

fn looking() -> FilesRequest {
    FilesRequest::Look {
        dir: LABEL.to_owned(),
        names: NAMES.map(str::to_owned).into(),
    }
}

/// Bytes, mode and inode: a file that is put back is the same file.
type State = BTreeMap<String, (Vec<u8>, u32, u64)>;

impl Scene {
    fn new() -> Self {
        let scene = Self {
            root: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(scene.dir()).unwrap();
        scene
    }

    /// With old files, one of them not to be replaced.
    fn filled() -> Self {
        let scene = Self::new();
        for (name, text, mode) in [("keystore.p12", "old key", 0o600), ("other", "other", 0o644)] {
            std::fs::write(scene.dir().join(name), text).unwrap();
            std::fs::set_permissions(scene.dir().join(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        scene
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("certificates")
    }

    fn ask(&self, request: &FilesRequest) -> Result<FilesReport, Error> {
        carry_out(&self.dir(), request, None)
    }

    fn state(&self) -> State {
        let mut state = State::new();
        for entry in std::fs::read_dir(self.dir()).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let meta = std::fs::symlink_metadata(entry.path()).unwrap();
            if !name.starts_with(".kbo-") {
                let bytes = std::fs::read(entry.path()).unwrap_or_default();
                state.insert(name, (bytes, meta.mode() & 0o7777, meta.ino()));
            }
        }
        state
    }

    fn text(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.dir().join(name)).ok()
    }

    fn own(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.starts_with(".kbo-")).collect();
        names.sort();
        names
    }
}

const NEW: &[(&str, &str)] = &[("keystore.p12", "new key"), ("truststore.p12", "new trust")];

#[test]
fn files_are_staged_put_in_place_rolled_back_and_put_in_place_again() {
    let scene = Scene::filled();
    let before = scene.state();
    let staged = scene.ask(&staging(1, NEW)).unwrap();
    assert_eq!(scene.state(), before, "nothing changes before the commit");
    assert_eq!(staged.files.len(), 2);
    assert_eq!(
        (staged.files[1].sha256, staged.files[1].mode),
        (sha256(b"new trust"), 0o640)
    );
    let folder = scene.dir().join(".kbo-staged-20261125T050001Z");
    assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);

    for _ in 0..2 {
        let placed = scene.ask(&committing(1)).unwrap();
        assert_eq!(placed.files, staged.files);
        assert_eq!(placed.previous, ["keystore.p12"]);
    }
    assert_eq!(scene.text("keystore.p12").as_deref(), Some("new key"));
    assert_eq!(scene.own(), [".kbo-previous"]);
    let kept = std::fs::metadata(scene.dir().join(".kbo-previous")).unwrap();
    assert_eq!(kept.mode() & 0o777, 0o700);
    let after = scene.state();

    let rolled = scene.ask(&rolling_back()).unwrap();
    assert_eq!(scene.state(), before, "a file that replaced none is away again");
    assert_eq!(rolled.previous, ["keystore.p12", "truststore.p12"]);
    scene.ask(&rolling_back()).unwrap();
    assert_eq!(scene.state(), after);
}

#[test]
fn an_undo_gives_back_the_files_and_what_was_kept_before_them() {
    let scene = Scene::filled();
    scene.ask(&staging(1, NEW)).unwrap();
    scene.ask(&committing(1)).unwrap();
    let first = scene.state();
    scene
        .ask(&staging(2, &[("keystore.p12", "newer"), ("ca.pem", "ca")]))
        .unwrap();
    scene.ask(&committing(2)).unwrap();
    let error = scene.ask(&undoing(1)).unwrap_err();
    assert!(matches!(error, Error::State { hint: Some(_), .. }), "{error}");

    for _ in 0..2 {
        let undone = scene.ask(&undoing(2)).unwrap();
        assert_eq!(undone.previous, ["keystore.p12"]);
        assert_eq!(scene.state(), first);
    }
    assert_eq!(scene.own(), [".kbo-previous", ".kbo-staged-20261125T050002Z"]);
    scene.ask(&dropping()).unwrap();
    assert_eq!(scene.own(), [".kbo-previous"]);
    scene.ask(&rolling_back()).unwrap();
    assert_eq!(scene.text("keystore.p12").as_deref(), Some("old key"));
}

#[test]
fn only_two_generations_of_old_keys_are_kept() {
    let scene = Scene::filled();
    for n in 1..6 {
        scene
            .ask(&staging(n, &[("keystore.p12", &format!("key {n}"))]))
            .unwrap();
        scene.ask(&committing(n)).unwrap();
    }
    let mut found = vec![];
    let mut folder = scene.dir();
    for name in ["", ".kbo-previous", ".kbo-earlier", ".kbo-earlier", ".kbo-earlier"] {
        folder.push(name);
        found.extend(std::fs::read_to_string(folder.join("keystore.p12")).ok());
    }
    assert_eq!(found, ["key 5", "key 4", "key 3"]);
}

/// The requests that change files in place, each on what it needs.
fn scenes() -> Vec<(&'static str, Vec<FilesRequest>, FilesRequest)> {
    let first = vec![staging(1, NEW), committing(1)];
    let more = &[
        ("keystore.p12", "newer"),
        ("ca.pem", "ca"),
        ("truststore.p12", "newest"),
    ];
    let staged_again = [first.clone(), vec![staging(2, more)]].concat();
    let committed_again = [staged_again.clone(), vec![committing(2)]].concat();
    let rolled_back = [committed_again.clone(), vec![rolling_back()]].concat();
    vec![
        ("the first commit", vec![staging(1, NEW)], committing(1)),
        ("a later commit", staged_again, committing(2)),
        ("the first undo", first.clone(), undoing(1)),
        ("a later undo", committed_again.clone(), undoing(2)),
        ("an undo of what was rolled back", rolled_back.clone(), undoing(2)),
        ("a rollback", committed_again, rolling_back()),
        ("a rollback of the first", first, rolling_back()),
        ("another rollback", rolled_back, rolling_back()),
    ]
}

fn prepared(requests: &[FilesRequest]) -> (Scene, FilesReport) {
    let scene = Scene::filled();
    for request in requests {
        scene.ask(request).unwrap();
    }
    let report = scene.ask(&looking()).unwrap();
    (scene, report)
}

/// What stands where, by bytes and mode: the inodes are others in another directory.
fn content(state: &State) -> BTreeMap<String, (Vec<u8>, u32)> {
    let content = state
        .iter()
        .map(|(name, (bytes, mode, _))| (name.clone(), (bytes.clone(), *mode)));
    content.collect()
}

fn strike_everywhere(dies: bool, without_exchange: bool) {
    strike::without_exchange(without_exchange);
    let mut strikes = 0;
    for (case, before, request) in scenes() {
        let (scene, _) = prepared(&before);
        scene.ask(&request).unwrap();
        let (done, report) = (content(&scene.state()), scene.ask(&looking()).unwrap());
        for at in 0.. {
            assert!(at < 200, "{case} has no end");
            let (scene, found) = prepared(&before);
            let old = content(&scene.state());
            strike::plan(Some(at), dies);
            let result = scene.ask(&request);
            let label = format!("{case}, step {at}: {result:?}");
            let is_over = strike::is_pending();
            strike::plan(None, false);
            let now = content(&scene.state());
            for (name, file) in &now {
                assert!(
                    old.get(name) == Some(file) || done.get(name) == Some(file),
                    "{name}: {label}"
                );
            }
            for name in old.keys().filter(|name| done.contains_key(*name)) {
                assert!(now.contains_key(name), "{name} is away: {label}");
            }
            let is_undo = matches!(request, FilesRequest::Undo { .. });
            if !dies && result.is_err() {
                assert!(
                    now == old || is_undo && now == done,
                    "what fails is taken back: {label}"
                );
            }
            // Whoever looks next finds it as it was or as it was to be.
            let seen = scene.ask(&looking()).unwrap();
            let now = (content(&scene.state()), seen);
            let is_done = now == (done.clone(), report.clone());
            assert!(is_done || now == (old, found), "{now:?}: {label}");
            assert!(is_done || result.is_err(), "{label}");
            // And asked again, it is done. A rollback would exchange again.
            if !is_done || !matches!(request, FilesRequest::Rollback { .. }) {
                scene.ask(&request).unwrap();
            }
            assert_eq!(content(&scene.state()), done, "{label}");
            assert_eq!(scene.ask(&looking()).unwrap(), report, "{label}");
            if is_over {
                break;
            }
            strikes += 1;
        }
    }
    strike::without_exchange(false);
    assert!(strikes > 80, "only {strikes} steps were struck");
}

#[test]
fn a_death_at_any_step_is_mended_by_the_next_request() {
    strike_everywhere(true, false);
}

#[test]
fn a_failure_at_any_step_leaves_nothing_half_done() {
    strike_everywhere(false, false);
}

#[test]
fn a_filesystem_that_cannot_exchange_comes_to_the_same() {
    strike_everywhere(true, true);
    strike_everywhere(false, true);
}

#[test]
fn a_stage_that_dies_can_be_made_again_and_never_committed() {
    for at in 0.. {
        let scene = Scene::filled();
        let before = scene.state();
        strike::plan(Some(at), true);
        let result = scene.ask(&staging(1, NEW));
        let is_over = strike::is_pending();
        strike::plan(None, false);
        assert_eq!(scene.state(), before);
        if is_over {
            result.unwrap();
            assert!(at > 14, "it has {at} steps only");
            break;
        }
        result.unwrap_err();
        let other = scene.ask(&committing(1));
        if other.is_err() {
            assert_eq!(scene.state(), before);
            scene.ask(&staging(1, NEW)).unwrap();
            scene.ask(&committing(1)).unwrap();
        }
        assert_eq!(scene.text("truststore.p12").as_deref(), Some("new trust"));
    }
}

#[test]
fn a_stage_that_fails_leaves_nothing() {
    for at in 0..15 {
        let scene = Scene::filled();
        strike::plan(Some(at), false);
        let result = scene.ask(&staging(1, NEW));
        strike::plan(None, false);
        result.unwrap_err();
        assert_eq!(scene.own(), Vec::<String>::new(), "step {at}");
    }
}

#[test]
fn a_link_is_replaced_as_a_link_and_comes_back_as_one() {
    let scene = Scene::new();
    let elsewhere = scene.root.path().join("elsewhere");
    std::fs::write(&elsewhere, "elsewhere").unwrap();
    symlink(&elsewhere, scene.dir().join("keystore.p12")).unwrap();
    assert_eq!(scene.ask(&looking()).unwrap().files, []);
    scene.ask(&staging(1, NEW)).unwrap();
    scene.ask(&committing(1)).unwrap();
    assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "elsewhere");
    assert!(
        !std::fs::symlink_metadata(scene.dir().join("keystore.p12"))
            .unwrap()
            .is_symlink()
    );
    scene.ask(&rolling_back()).unwrap();
    assert_eq!(std::fs::read_link(scene.dir().join("keystore.p12")).unwrap(), elsewhere);
}

#[test]
fn what_is_planted_leads_nowhere_else() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("keystore.p12"), "outside").unwrap();
    let untouched = || std::fs::read_to_string(outside.path().join("keystore.p12")).unwrap() == "outside";

    // In the place of kbo's folders.
    let scene = Scene::filled();
    symlink(outside.path(), scene.dir().join(".kbo-staged-20261125T050001Z")).unwrap();
    scene.ask(&staging(1, NEW)).unwrap();
    symlink(outside.path(), scene.dir().join(".kbo-previous")).unwrap();
    for request in [committing(1), rolling_back(), staging(2, NEW)] {
        let error = scene.ask(&request).unwrap_err();
        assert_eq!(error.kind(), NodeErrorKind::State, "{error}");
    }
    assert!(scene.ask(&looking()).unwrap().previous.is_empty());
    assert!(untouched() && scene.text("keystore.p12").as_deref() == Some("old key"));
    std::fs::remove_file(scene.dir().join(".kbo-previous")).unwrap();
    scene.ask(&committing(1)).unwrap();

    // In a note: a name that leads out, garbage, endless bytes.
    let note = scene.dir().join(".kbo-previous/.kbo-record.json");
    let text = std::fs::read_to_string(&note).unwrap();
    let endless = format!("{}{text}", " ".repeat(2 << 20));
    for planted in [&text.replace("keystore.p12", "../keystore.p12"), "{", "[[[[", &endless] {
        std::fs::write(&note, planted).unwrap();
        let error = scene.ask(&rolling_back()).unwrap_err();
        assert_eq!(error.kind(), NodeErrorKind::Damaged, "{error}");
        scene.ask(&looking()).unwrap();
    }
    std::fs::write(&note, text).unwrap();
    scene.ask(&rolling_back()).unwrap();

    // A directory, a pipe that nobody writes to.
    let scene = Scene::new();
    std::fs::create_dir(scene.dir().join("keystore.p12")).unwrap();
    assert_eq!(scene.ask(&staging(1, NEW)).unwrap_err().kind(), NodeErrorKind::State);
    std::fs::remove_dir(scene.dir().join("keystore.p12")).unwrap();
    let fifo = scene.dir().join("keystore.p12");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    assert_eq!(scene.ask(&looking()).unwrap().files, []);
    scene.ask(&staging(1, NEW)).unwrap();
    scene.ask(&committing(1)).unwrap();
    assert_eq!(scene.text("keystore.p12").as_deref(), Some("new key"));
}

#[test]
fn a_copy_of_a_directory_that_was_left_half_done_is_not_exchanged_by_its_inodes() {
    let (scene, _) = prepared(&[staging(1, NEW), committing(1)]);
    // Dies after the exchanges, before the note.
    let at = (0..).find(|at| {
        let (scene, _) = prepared(&[staging(1, NEW), committing(1)]);
        strike::plan(Some(*at), true);
        let _ = scene.ask(&rolling_back());
        strike::plan(None, false);
        scene.text("keystore.p12").as_deref() == Some("old key")
    });
    strike::plan(at, true);
    scene.ask(&rolling_back()).unwrap_err();
    strike::plan(None, false);
    let copy = scene.root.path().join("copy");
    let status = std::process::Command::new("cp")
        .arg("-a")
        .args([&scene.dir(), &copy])
        .status();
    assert!(status.unwrap().success());
    carry_out(&copy, &looking(), None).unwrap();
    assert_eq!(std::fs::read_to_string(copy.join("keystore.p12")).unwrap(), "old key");
    scene.ask(&looking()).unwrap();
    assert_eq!(
        scene.text("keystore.p12").as_deref(),
        Some("new key"),
        "here it is taken back"
    );
}

#[test]
fn several_at_work_on_one_directory_come_one_after_the_other() {
    let scene = Scene::filled();
    let dir = scene.dir();
    std::thread::scope(|scope| {
        for n in 0..4 {
            let dir = &dir;
            scope.spawn(move || {
                let text = format!("key {n}");
                let stage = staging(n, &[("keystore.p12", &text), ("ca.pem", &text)]);
                for request in [stage, committing(n), rolling_back(), undoing(n)]
                    .iter()
                    .cycle()
                    .take(40)
                {
                    // Another one's may stand on it or have gone, but nobody is disturbed in the middle.
                    if let Err(error) = carry_out(dir, request, None) {
                        assert_eq!(error.kind(), NodeErrorKind::State, "{request:?}: {error}");
                    }
                }
            });
        }
    });
    scene.ask(&looking()).unwrap();
    let (keystore, ca) = (scene.text("keystore.p12").unwrap(), scene.text("ca.pem"));
    assert!(
        ca.as_ref().map_or(keystore == "old key", |ca| *ca == keystore),
        "{keystore:?} and {ca:?}"
    );
}

#[test]
fn owners_are_as_asked_for_or_nothing_is_staged() {
    let scene = Scene::filled();
    let meta = std::fs::metadata(scene.dir()).unwrap();
    let request = |owner| FilesRequest::Stage {
        run: run(1),
        dir: LABEL.to_owned(),
        files: vec![NewFile {
            owner: Some(owner),
            ..file("keystore.p12", "new key", 0o600)
        }],
    };
    scene.ask(&request((meta.uid(), meta.gid()))).unwrap();
    match scene.ask(&request((4711, 4712))) {
        Ok(report) => {
            assert_eq!((report.files[0].uid, report.files[0].gid), (4711, 4712));
            scene.ask(&committing(1)).unwrap();
            // Who replaces it without a word about owners takes over what is there.
            let report = scene.ask(&staging(2, &[("keystore.p12", "newer")])).unwrap();
            assert_eq!((report.files[0].uid, report.files[0].gid), (4711, 4712));
        }
        Err(error) => {
            assert_ne!(rustix::process::geteuid().as_raw(), 0, "{error}");
            assert!(error.hint().is_some(), "{error}");
            assert_eq!(scene.own(), Vec::<String>::new());
        }
    }
}

fn any_request() -> impl Strategy<Value = FilesRequest> {
    let files = proptest::sample::subsequence(NAMES.to_vec(), 1..=3);
    let stage = (0..3_usize, files, "[a-z]{0,4}", 0..0o1000_u32).prop_map(|(n, names, text, mode)| {
        FilesRequest::Stage {
            run: run(n),
            dir: LABEL.to_owned(),
            // What cannot be read by its owner cannot be read back by who is not root.
            files: names.iter().map(|name| file(name, &text, mode | 0o400)).collect(),
        }
    });
    prop_oneof![
        4 => stage,
        4 => (0..3_usize).prop_map(committing),
        2 => (0..3_usize).prop_map(undoing),
        2 => Just(rolling_back()),
        1 => Just(dropping()),
        1 => Just(looking()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_sequence_comes_to_what_the_model_comes_to(requests in prop::collection::vec(any_request(), 1..24)) {
        let scene = Scene::new();
        let meta = std::fs::metadata(scene.dir()).unwrap();
        let mut model = FilesDir::default();
        for request in &requests {
            let ours = scene.ask(request);
            let theirs = model.carry_out(request, (meta.uid(), meta.gid()));
            match (ours, theirs) {
                (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs, "{:?}", request),
                (Err(ours), Err(theirs)) => prop_assert_eq!(ours.kind(), theirs.kind),
                (ours, theirs) => prop_assert!(false, "{:?}: {:?}, and the model {:?}", request, ours, theirs),
            }
            let live: BTreeMap<String, (Vec<u8>, u32)> = model
                .live
                .iter()
                .map(|(name, file)| (name.clone(), (file.bytes.clone(), file.mode)))
                .collect();
            prop_assert_eq!(content(&scene.state()), live);
            prop_assert_eq!(scene.own().iter().any(|name| name.starts_with(STAGED)), model.is_staged());
        }
    }
}
