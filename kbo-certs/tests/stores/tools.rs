//! The programs that the tests ask. One that is missing fails the test: nothing is skipped.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a program printed; it must end well.
pub(crate) fn run<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: &[S], dir: &Path) -> Vec<u8> {
    let program = program.as_ref();
    let shown: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
    let output = Command::new(program).args(args).current_dir(dir).output();
    let output = output.unwrap_or_else(|error| {
        panic!("{program:?} cannot be run ({error}): install openssl, a JDK, and python3 with venv; `cargo xtask test` does")
    });
    assert!(
        output.status.success(),
        "{program:?} {shown:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// keytool, with texts in UTF-8 whatever the locale.
pub(crate) fn keytool(args: &[&str], dir: &Path) -> Vec<u8> {
    let args: Vec<&str> = args
        .iter()
        .copied()
        .chain(["-J-Dfile.encoding=UTF-8", "-J-Xshare:auto"])
        .collect();
    run("keytool", &args, dir)
}

/// A Python that has pyjks, in an environment of its own under target/.
pub(crate) fn python() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let python = target.join("pyjks/bin/python");
    if Command::new(&python)
        .args(["-c", "import jks"])
        .output()
        .is_ok_and(|done| done.status.success())
    {
        return python;
    }
    let made = target.join("pyjks");
    run(
        "python3",
        &[OsStr::new("-m"), OsStr::new("venv"), made.as_os_str()],
        target,
    );
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "pyjks==20.0.0",
    ];
    run(&python, &install, target);
    python
}
