//! Files that the operator has named: kbo.toml, keys, passwords.

use std::io;
use std::path::Path;

/// None of them is longer.
const LONGEST: u64 = 16 << 20;

/// The text of a file. Whatever else has its name is refused at once, but for what a shell hands over.
///
/// # Errors
/// It cannot be read, is no file, or is longer than any of them.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    kbo_archive::regular::read_given(path, LONGEST)
}
