//! `kbo certs make`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kbo_certs::store::Content;
use kbo_certs::{Format, Made, MakeError, Profile, Recipe};
use kbo_core::config::certs::{Certs, StoreFormat};
use kbo_core::report::{Outcome, chain};
use serde::Serialize;
use zeroize::Zeroizing;

use super::stores::{Passwords, content};
use super::written::{self, Written};
use super::{Seen, seen, show_findings, unless_refused};
use crate::args::CertsMakeArgs;
use crate::commands::{Context, Ended, Trouble};
use crate::output;

#[derive(Serialize)]
struct Document<'a> {
    outcome: Outcome,
    folder: &'a Path,
    serial: &'a str,
    not_after: String,
    files: Vec<&'a str>,
    changed: bool,
    dry_run: bool,
    findings: &'a [kbo_certs::check::Finding],
    verdict: &'a str,
}

type Files = BTreeMap<String, Zeroizing<Vec<u8>>>;

pub(super) async fn run(context: &Context, args: &CertsMakeArgs) -> Ended {
    let certs = &context.config.certs;
    let folder: PathBuf = args.output.clone().unwrap_or_else(|| certs.output.clone());
    let seen = seen(context, None, args.offline).await?;
    let report = &seen.report;
    show_findings(&report.findings, output::error_line);
    unless_refused(report, args.force, "--force makes stores of it")?;
    written::usable(&folder).map_err(|why| Trouble::new(Outcome::Usage, why))?;
    let passwords = Passwords::read(certs).await?;
    let mut files = Files::new();
    for (below, alias) in places(context) {
        for made in stores(&seen, certs, alias, &passwords, args.force)? {
            read_back(&made, &passwords)?;
            files.insert(format!("{below}{}", made.name), made.bytes);
        }
    }
    let before = Written::read(&folder);
    let same_profile = before.as_ref().is_some_and(|before| before.legacy == certs.legacy);
    let kept = keep_what_is_there(&folder, &mut files, &passwords, same_profile);
    let facts = &report.certificate;
    let set = Written {
        serial: facts.serial.clone(),
        fingerprint: facts.fingerprint.clone(),
        not_before: facts.not_before,
        not_after: facts.not_after,
        names: facts.dns_names.clone(),
        legacy: certs.legacy,
        hosts: seen.expected.hosts.iter().map(Into::into).collect(),
        files: files
            .iter()
            .map(|(path, bytes)| (path.clone(), written::digest(bytes)))
            .collect(),
    };
    let changed = kept < files.len() || !before.as_ref().is_some_and(|before| before.is_of(&set));
    if changed && !args.dry_run {
        written::put(&folder, &files, &set, before.as_ref()).map_err(|error| {
            let text = format!("{} cannot be written: {error}", folder.display());
            Trouble::new(Outcome::Failed, text)
        })?;
    }
    let verdict = match (changed, args.dry_run) {
        (false, _) => format!("nothing to do: {} holds the stores of this set", folder.display()),
        (true, true) => format!(
            "dry run: {} files would be written into {}",
            files.len(),
            folder.display()
        ),
        (true, false) => format!("{} files are written into {}", files.len(), folder.display()),
    };
    let outcome = Outcome::Done;
    if context.global.json {
        output::json(&Document {
            outcome,
            folder: &folder,
            serial: &facts.serial,
            not_after: facts.not_after.to_string(),
            files: files.keys().map(String::as_str).collect(),
            changed,
            dry_run: args.dry_run,
            findings: &report.findings,
            verdict: &verdict,
        });
        output::error_line(&verdict);
    } else {
        files.keys().for_each(|path| output::line(path));
        output::line(&verdict);
    }
    Ok(outcome)
}

/// Each set of stores: the folder below the output, and the key's alias.
fn places(context: &Context) -> Vec<(String, String)> {
    let certs = &context.config.certs;
    if !certs.per_node {
        return vec![(String::new(), certs.alias.clone())];
    }
    let nodes = context.config.cluster.start_order().iter();
    nodes
        .map(|node| (format!("{}/", node.name), certs.alias_of(node.name.as_str())))
        .collect()
}

fn stores(seen: &Seen, certs: &Certs, alias: String, passwords: &Passwords, force: bool) -> Result<Vec<Made>, Trouble> {
    let formats = certs.formats.iter().map(|format| match (format, certs.legacy) {
        (StoreFormat::Pkcs12, false) => Format::Pkcs12(Profile::Modern),
        (StoreFormat::Pkcs12, true) => Format::Pkcs12(Profile::Legacy),
        (StoreFormat::Jks, _) => Format::Jks,
        (StoreFormat::Pem, _) => Format::Pem,
    });
    let recipe = Recipe {
        alias,
        password: passwords.keystore.clone(),
        truststore_password: passwords.truststore.clone(),
        formats: formats.collect(),
    };
    kbo_certs::make(&seen.set, &seen.expected, &recipe, force).map_err(|error| {
        let outcome = match &error {
            MakeError::Refused(_) => Outcome::Refused,
            // A password or an alias that the format cannot have.
            _ => Outcome::Usage,
        };
        Trouble::new(outcome, chain(&error))
    })
}

/// What has been made is read as whoever uses it will.
fn read_back(made: &Made, passwords: &Passwords) -> Result<(), Trouble> {
    let wrong = |why: String| Trouble::new(Outcome::Failed, format!("{}, read back: {why}", made.name));
    match content(&made.name, &made.bytes, passwords) {
        None => Ok(()),
        Some(Err(error)) => Err(wrong(chain(&error))),
        Some(Ok(store)) => {
            let has_key = store
                .entries
                .iter()
                .any(|entry| matches!(entry.content, Content::Key { .. }));
            match has_key == made.is_secret {
                true => Ok(()),
                false => Err(wrong("its entries are not those that were written".to_owned())),
            }
        }
    }
}

/// Stores that hold the same already, for their owner alone, stay as they are: only their salts would change. The result is how many did.
fn keep_what_is_there(folder: &Path, files: &mut Files, passwords: &Passwords, same_profile: bool) -> usize {
    let mut kept = 0;
    for (path, bytes) in files.iter_mut().filter(|_| same_profile) {
        let place = folder.join(path);
        let Some(there) = written::bounded(&place)
            .ok()
            .filter(|_| written::is_for_owner_alone(&place))
        else {
            continue;
        };
        let is_same = match (content(path, &there, passwords), content(path, bytes, passwords)) {
            (Some(Ok(old)), Some(Ok(new))) => old == new,
            (None, None) => *there == **bytes,
            _ => false,
        };
        if is_same {
            *bytes = there;
            kept += 1;
        }
    }
    kept
}
