//! Words for the shell on the other side.

/// One word that any shell of a login (sh, bash, zsh, fish, csh) reads as exactly this text.
pub(crate) fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@+%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    // A quote within single quotes: close, a quote in double quotes, open again. csh also wants `!` outside of them.
    let mut quoted = String::with_capacity(word.len() + 8);
    quoted.push('\'');
    for c in word.chars() {
        match c {
            '\'' => quoted.push_str(r#"'"'"'"#),
            '!' => quoted.push_str(r"'\!'"),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}

/// Runs a one-line script in sh, whatever the login shell is, and as root by sudo where asked.
pub(crate) fn sh(script: &str, sudo: bool) -> String {
    debug_assert!(!script.contains('\n'), "csh takes no line break within quotes");
    format!("{}sh -c {}", if sudo { "sudo -n " } else { "" }, quote(script))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
        for word in [
            "",
            "plain",
            "/a b/c",
            "it's",
            "$HOME `id` $(id)",
            "a\"b\\c",
            "*?[x]",
            "~root",
            "-n",
            "a!b",
            "'",
            "\t",
        ] {
            let script = format!("printf %s {}", quote(word));
            // Twice, as on a node: the login shell, then the sh in it.
            let out = Command::new("sh").arg("-c").arg(sh(&script, false)).output().unwrap();
            assert_eq!(String::from_utf8(out.stdout).unwrap(), word, "{script}");
        }
    }
}
