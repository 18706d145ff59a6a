//! The agent's program in a folder of the node: found there, or brought there, once for each version.
//!
//! A folder will do when it is ours and programs can be run from it. The program that root will run must not be one that
//! somebody else can replace after it was checked, so folders and files of other users are passed over.

use std::io;

use kbo_core::ports::node::{NodeError, NodeErrorKind};
use sha2::{Digest, Sha256};
use ssh2::Session;

use super::SshSettings;
use super::command::{self, Ended};
use super::quote::{quote, sh};
use crate::binary::{AgentBinary, machines};
use crate::complaints::printable;

/// Finds the agent's program on the node or brings it there. Its path on the node.
pub(super) fn install(session: &Session, settings: &SshSettings, binary: &AgentBinary) -> Result<String, NodeError> {
    let node = Node {
        session,
        settings,
        binary,
        tag: tag(),
    };
    let mut refusals: Vec<(String, String)> = Vec::new();
    // Each round adds a folder to those that will not do; the count is for a node that gives no sense.
    for _ in 0..settings.agent_dirs.len() + 4 {
        let skip: Vec<&str> = refusals.iter().map(|(folder, _)| folder.as_str()).collect();
        let survey = node.survey(&skip)?;
        node.check_machine(&survey)?;
        for folder in survey.found {
            // Without a tool for it on the node, its content is hashed here.
            let path = format!("{folder}/{}", binary.name());
            if !survey.unhashed || node.sha256(&path)? == binary.sha256 {
                return Ok(path);
            }
        }
        refusals.extend(survey.refusals);
        let Some(folder) = survey.usable else { break };
        match node.push(&folder)? {
            Ok(path) => return Ok(path),
            Err(why) => {
                if survey.made {
                    node.run(&format!("rmdir {}", quote(&folder)), io::empty())?;
                }
                refusals.push((folder, why));
            }
        }
    }
    let tried: Vec<String> = refusals
        .iter()
        .map(|(folder, why)| format!("{folder}: {}", why.trim()))
        .collect();
    let text = format!(
        "ssh {}: the agent's program can be put nowhere: {}",
        settings.peer(),
        tried.join("; ")
    );
    let text = printable(text.as_bytes());
    Err(NodeError::new(NodeErrorKind::Agent, text)
        .hint("name a folder of that user's own on a filesystem that lets programs run: [ssh] agent_dir"))
}

/// What a look at the node gave.
#[derive(Debug, Default, PartialEq, Eq)]
struct Survey {
    machine: Option<String>,
    /// Folders where the program is.
    found: Vec<String>,
    /// The node has no tool to hash with: what was found may be anything of the same size.
    unhashed: bool,
    /// The first folder where it could go.
    usable: Option<String>,
    /// It was made for us just now.
    made: bool,
    /// Folders before that where it could not, and why.
    refusals: Vec<(String, String)>,
}

struct Node<'a> {
    session: &'a Session,
    settings: &'a SshSettings,
    binary: &'a AgentBinary,
    /// Makes temporary names ours: several may be at it at the same time.
    tag: String,
}

impl Node<'_> {
    fn run(&self, script: &str, input: impl io::Read) -> Result<Ended, NodeError> {
        command::run(self.session, self.settings, &sh(script, self.settings.sudo()), input)
    }

    /// One look: is the program there, and if not, where could it be?
    fn survey(&self, skip: &[&str]) -> Result<Survey, NodeError> {
        if let Some(folder) = self
            .settings
            .agent_dirs
            .iter()
            .find(|folder| folder.chars().any(char::is_control) || !folder.starts_with('/'))
        {
            return Err(NodeError::new(
                NodeErrorKind::Agent,
                format!("{folder:?} is no folder for the agent's program"),
            )
            .hint("give an absolute path: [ssh] agent_dir"));
        }
        let ended = self.run(&self.survey_script(skip), io::empty())?;
        let survey = read_survey(&ended.output);
        if survey.machine.is_some() {
            return Ok(survey);
        }
        let (peer, user) = (self.settings.peer(), &self.settings.user);
        let said = match ended.text() {
            text if text.is_empty() => "it said nothing".to_owned(),
            text => format!("it said: {text}"),
        };
        if self.settings.sudo() {
            return Err(NodeError::new(
                NodeErrorKind::Refused,
                format!("ssh {peer}: sudo -n does not make {user} root: {said}"),
            )
            .hint(format!(
                "on the node, in a file of /etc/sudoers.d: {user} ALL=(root) NOPASSWD: ALL"
            )));
        }
        let status = ended
            .status
            .map_or_else(|| "a signal".to_owned(), |status| format!("status {status}"));
        Err(NodeError::new(
            NodeErrorKind::Agent,
            format!("ssh {peer}: no shell ran there ({status}): {said}"),
        )
        .hint(format!("{user} needs a login shell that runs commands")))
    }

    fn survey_script(&self, skip: &[&str]) -> String {
        let mut folders: Vec<String> = self.settings.agent_dirs.iter().map(|folder| quote(folder)).collect();
        folders.push("/var/lib/kbo".into());
        folders.push(r#""${HOME:-/nonexistent}/.cache/kbo""#.into());
        // Everybody may write in /var/tmp: only a folder of our own in it will do.
        folders.push(r#""/var/tmp/kbo-$(id -u)""#.into());
        let (folders, name) = (folders.join(" "), quote(&self.binary.name()));
        let machine = self
            .binary
            .machine
            .map_or_else(|| "*".to_owned(), |made_for| machines(made_for).join("|"));
        let skip: Vec<String> = skip.iter().map(|folder| quote(folder)).collect();
        let skip = skip.join(" ");
        let (size, sha256, probe) = (self.binary.size, &self.binary.sha256, self.probe());
        let temporary = quote(&format!(".kbo-probe-{}", self.tag));
        [
            "umask 077",
            HASH,
            MINE,
            r#"a=$(uname -m); echo "kbo-machine $a""#,
            // On another machine nothing is touched.
            &format!(r#"case "$a" in {machine}) ;; *) exit 0 ;; esac"#),
            // Is it there?
            &format!("n={name}; for d in {folders}; do f=\"$d/$n\""),
            r#"if mine "$d" && [ -f "$f" ] && [ -O "$f" ] && [ -x "$f" ]; then :; else continue; fi"#,
            &format!(r#"[ "$(wc -c < "$f")" -eq {size} ] || continue"#),
            r#"h=$(hash "$f")"#,
            &format!(r#"[ -z "$h" ] || [ "$h" = {sha256} ] || continue"#),
            &format!(r#""$f" {probe} < /dev/null > /dev/null 2>&1 || continue"#),
            r#"[ -n "$h" ] || echo kbo-unhashed"#,
            r#"echo "kbo-found $d""#,
            r#"[ -z "$h" ] || exit 0; done"#,
            // Where could it be?
            r#"no() { [ -z "$m" ] || rmdir "$d" 2> /dev/null; echo "kbo-refused $d"; echo "kbo-because $(printf %s "$1" | tr '\n' ' ')"; }"#,
            &format!("for d in {folders}; do p=\"$d/\"{temporary}"),
            &format!(r#"for s in {skip}; do [ "$s" = "$d" ] && continue 2; done"#),
            // A folder that we make and cannot use does not stay.
            r#"m=; [ -d "$d" ] || m=made"#,
            r#"e=$(mkdir -p "$d" 2>&1) || { no "$e"; continue; }"#,
            r#"mine "$d" || { no "it belongs to another user"; continue; }"#,
            r#"e=$( { printf '#!/bin/sh\nexit 0\n' > "$p" && chmod 700 "$p"; } 2>&1 ) || { rm -f "$p"; no "$e"; continue; }"#,
            r#"e=$("$p" 2>&1) || { rm -f "$p"; no "no program runs there, it may be mounted noexec: $e"; continue; }"#,
            r#"rm -f "$p"; [ -z "$m" ] || echo kbo-made; echo "kbo-usable $d"; break; done"#,
        ]
        .join("; ")
    }

    fn probe(&self) -> String {
        self.settings
            .probe_args
            .iter()
            .map(|argument| quote(argument))
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn check_machine(&self, survey: &Survey) -> Result<(), NodeError> {
        match (self.binary.machine, &survey.machine) {
            (Some(made_for), Some(machine)) if !machines(made_for).contains(&machine.as_str()) => Err(NodeError::new(
                NodeErrorKind::Agent,
                format!(
                    "ssh {}: the node is {machine}, and this kbo is made for {made_for}",
                    self.settings.peer()
                ),
            )
            .hint(format!(
                "kbo brings itself to its nodes: run one that is made for {machine}, on such a machine"
            ))),
            _ => Ok(()),
        }
    }

    /// Brings the program to a folder. Its path there, or why that folder will not do.
    fn push(&self, folder: &str) -> Result<Result<String, String>, NodeError> {
        let (name, size) = (self.binary.name(), self.binary.size);
        let path = format!("{folder}/{name}");
        let temporary = format!("{folder}/.{name}-{}", self.tag);
        tracing::info!(node = %self.settings.peer(), path, bytes = size, "bringing the agent's program to the node");
        let file = self.binary.reader().map_err(|error| {
            NodeError::new(
                NodeErrorKind::Agent,
                format!("the agent's program cannot be read on this machine: {error}"),
            )
        })?;
        let t = quote(&temporary);
        let upload = [
            "umask 077".to_owned(),
            HASH.to_owned(),
            format!("t={t}"),
            r#"e=$( { cat > "$t"; } 2>&1 ) || { rm -f "$t"; echo "kbo-failed $e"; exit 1; }"#.into(),
            r#"chmod 700 "$t"; echo "kbo-size $(wc -c < "$t")"; echo "kbo-sha256 $(hash "$t")""#.into(),
        ]
        .join("; ");
        let ended = self.run(&upload, file)?;
        if let Some(why) = self.incomplete(&ended, &temporary)? {
            self.run(&format!("rm -f {t}"), io::empty())?;
            return Ok(Err(why));
        }
        // Renamed only when it is whole and runs: the final name never stands for less.
        let (d, f, probe) = (quote(folder), quote(&path), self.probe());
        let finish = [
            format!("d={d}; t={t}; f={f}"),
            format!(r#"e=$("$t" {probe} < /dev/null 2>&1) || {{ s=$?; rm -f "$t"; echo "kbo-failed it does not run there (status $s): $e"; exit 1; }}"#),
            r#"e=$(mv -f "$t" "$f" 2>&1) || { rm -f "$t"; echo "kbo-failed $e"; exit 1; }"#.into(),
            // Other versions, and what broken uploads left a while ago. One that runs just now runs on without its name.
            r#"for o in "$d"/kbo-agent-*; do [ "$o" = "$f" ] || rm -f "$o"; done"#.into(),
            r#"find "$d" -name '.kbo-*' -type f -mmin +60 -exec rm -f '{}' ';' 2> /dev/null"#.into(),
            "echo kbo-installed".into(),
        ]
        .join("; ");
        let ended = self.run(&finish, io::empty())?;
        Ok(match values(&ended.output, "kbo-installed").next() {
            Some(_) => Ok(path),
            None => Err(complaint(&ended)),
        })
    }

    /// Why what was uploaded is not the program.
    fn incomplete(&self, ended: &Ended, path: &str) -> Result<Option<String>, NodeError> {
        let Some(size) = values(&ended.output, "kbo-size").next() else {
            return Ok(Some(complaint(ended)));
        };
        if size.trim() != self.binary.size.to_string() {
            return Ok(Some(format!("{} of {} bytes arrived", size.trim(), self.binary.size)));
        }
        let sha256 = match values(&ended.output, "kbo-sha256").next() {
            Some(hash) if !hash.trim().is_empty() => hash.trim().to_owned(),
            _ => self.sha256(path)?,
        };
        Ok((sha256 != self.binary.sha256).then(|| "what arrived there has another sha256".to_owned()))
    }

    /// Hashes a file of the node here.
    fn sha256(&self, path: &str) -> Result<String, NodeError> {
        let mut hash = Sha256::new();
        let script = format!("cat {}", quote(path));
        let cat = sh(&script, self.settings.sudo());
        command::output(self.session, self.settings, &cat, |bytes| hash.update(bytes))?;
        Ok(hex::encode(hash.finalize()))
    }
}

/// A shell function: the SHA-256 of a file, or nothing where the node has no tool for it.
const HASH: &str = "hash() { for c in sha256sum 'shasum -a 256' 'openssl dgst -sha256 -r'; do \
    h=$($c < \"$1\" 2> /dev/null) || continue; h=${h%% *}; [ ${#h} -eq 64 ] && { echo \"$h\"; return; }; done; }";

/// A shell function: whether a folder is ours. In /var/tmp a link is not: whoever made it could lead it elsewhere later.
const MINE: &str = "mine() { [ -d \"$1\" ] && [ -O \"$1\" ] || return 1; case \"$1\" in /var/tmp/*) if [ -h \"$1\" ]; then return 1; fi;; esac; }";

/// What stands behind a word at the beginning of a line. Login scripts may say other things in between.
fn values<'a>(output: &'a [u8], word: &str) -> impl Iterator<Item = String> + use<'a> {
    let word = word.to_owned();
    output.split(|byte| *byte == b'\n').filter_map(move |line| {
        let rest = line.strip_prefix(word.as_bytes())?;
        // Exactly what follows: a folder may end with a space.
        (rest.is_empty() || rest.starts_with(b" "))
            .then(|| String::from_utf8_lossy(rest.get(1..).unwrap_or_default()).into())
    })
}

fn complaint(ended: &Ended) -> String {
    let said = values(&ended.output, "kbo-failed")
        .next()
        .unwrap_or_else(|| ended.text());
    let said = said.trim();
    if said.is_empty() {
        "the upload failed without a word".into()
    } else {
        said.into()
    }
}

fn read_survey(output: &[u8]) -> Survey {
    Survey {
        machine: values(output, "kbo-machine").next(),
        found: values(output, "kbo-found").collect(),
        made: values(output, "kbo-made").next().is_some(),
        unhashed: values(output, "kbo-unhashed").next().is_some(),
        usable: values(output, "kbo-usable").next(),
        refusals: values(output, "kbo-refused")
            .zip(values(output, "kbo-because"))
            .collect(),
    }
}

fn tag() -> String {
    let mut random = [0; 8];
    if openssl::rand::rand_bytes(&mut random).is_err() {
        let nanos = std::time::UNIX_EPOCH
            .elapsed()
            .map_or(0, |elapsed| elapsed.subsec_nanos());
        random[..4].copy_from_slice(&nanos.to_be_bytes());
        random[4..].copy_from_slice(&std::process::id().to_be_bytes());
    }
    hex::encode(random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_login_scripts_say_does_not_confuse() {
        let survey = read_survey(
            b"Welcome!\nkbo-machine x86_64\nkbo-refused /a b\nkbo-because Permission denied\nkbo-foundling\nkbo-usable /c\n",
        );
        assert_eq!(survey.machine.as_deref(), Some("x86_64"));
        assert_eq!(survey.refusals, [("/a b".to_owned(), "Permission denied".to_owned())]);
        assert_eq!(survey.usable.as_deref(), Some("/c"));
        assert!(survey.found.is_empty());
    }
}
