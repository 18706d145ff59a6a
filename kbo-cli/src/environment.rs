//! `environment_file`: variables of a container that are secrets, in a file of their own.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use kbo_core::container::Definition;

/// The variables of a definition's file; none where it names none.
pub(crate) fn of(definition: &Definition) -> anyhow::Result<BTreeMap<String, String>> {
    let Some(file) = &definition.environment_file else {
        return Ok(BTreeMap::new());
    };
    let text = crate::given::read(file).with_context(|| format!("environment_file: cannot read {}", file.display()))?;
    parse(&text).with_context(|| format!("environment_file {}", file.display()))
}

/// `NAME=VALUE` a line, as Docker's own `--env-file` has it: no quoting, `#` begins a comment at the beginning of a line only.
fn parse(text: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() && !name.contains(char::is_whitespace) => {
                variables.insert(name.to_owned(), value.to_owned());
            }
            // Not shown: it may be a secret.
            _ => bail!("line {} is not NAME=VALUE", number + 1),
        }
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_as_they_stand_and_wrong_lines_are_named_not_shown() {
        let parsed = parse("# secrets\nA=1\n\nB= x=y \nC=\"q\"\n").unwrap();
        assert_eq!(parsed["A"], "1");
        assert_eq!(parsed["B"], " x=y ");
        assert_eq!(parsed["C"], "\"q\"");
        let error = format!("{:#}", parse("A=1\nhunter2\n").unwrap_err());
        assert!(error.contains("line 2") && !error.contains("hunter2"), "{error}");
    }
}
