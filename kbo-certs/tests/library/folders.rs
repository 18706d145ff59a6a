//! Folders as ACME clients leave them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use kbo_certs::folder::{FolderError, Layout};
use kbo_certs::set::{SetError, WildcardSet};
use tempfile::TempDir;

use crate::support::{Made, Wish, made, options};

fn write(folder: &Path, files: &[(String, Vec<u8>)]) {
    for (name, bytes) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn domain(name: &str) -> Layout {
    Layout {
        domain: Some(name.to_owned()),
        ..Layout::default()
    }
}

fn complete(folder: &Path, layout: &Layout) -> WildcardSet {
    let set = WildcardSet::load(folder, layout, &options()).unwrap();
    assert!(set.key().is_some());
    assert_eq!(set.served().len(), 2);
    set
}

fn acme(made: &Made, domain: &str) -> Vec<(String, Vec<u8>)> {
    let name = |part| format!("wildcard.{domain}-ACME.{part}");
    vec![
        (
            name("all.pem"),
            [made.leaf.key_pem(), made.leaf.pem(), made.intermediate.pem()].concat(),
        ),
        (name("ca"), made.intermediate.pem()),
        (name("crt"), made.leaf.pem()),
        (name("fullchain"), [made.leaf.pem(), made.intermediate.pem()].concat()),
        (name("key"), made.leaf.key_pem()),
    ]
}

#[test]
fn each_file_may_be_missing_while_the_others_suffice() {
    let made = made(&Wish::leaf());
    let all = acme(&made, "example.org");
    for files in [
        vec![0],
        vec![3, 4],
        vec![1, 2, 4],
        vec![0, 1, 2, 3],
        vec![0, 1, 2, 3, 4],
    ] {
        let folder = TempDir::new().unwrap();
        let files: Vec<_> = files.into_iter().map(|at: usize| all[at].clone()).collect();
        write(folder.path(), &files);
        write(folder.path(), &[("README".to_owned(), b"something else".to_vec())]);
        for layout in [Layout::default(), domain("example.org"), domain("*.example.org")] {
            assert!(complete(folder.path(), &layout).notes().is_empty());
        }
    }
}

#[test]
fn of_several_domains_one_must_be_named() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), &acme(&made(&Wish::leaf()), "example.org"));
    write(
        folder.path(),
        &acme(
            &made(&Wish {
                name: "b".to_owned(),
                ..Wish::leaf()
            }),
            "test.example.net",
        ),
    );
    let error = WildcardSet::load(folder.path(), &Layout::default(), &options())
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("has the sets of several domains: example.org, test.example.net; say which one is meant"),
        "{error}"
    );
    let set = complete(folder.path(), &domain("test.example.net"));
    assert_eq!(set.leaf().facts().subject, "CN=b");
    let error = WildcardSet::load(folder.path(), &domain("example.com"), &options())
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("has no set of example.com, but of example.org, test.example.net"),
        "{error}"
    );
}

#[test]
fn names_may_be_of_another_pattern() {
    let made = made(&Wish::leaf());
    let folder = TempDir::new().unwrap();
    let files = [
        ("pki/key-of-example.org", made.leaf.key_pem()),
        ("pki/fullchain-of-example.org", made.files().concat_all()),
    ];
    write(folder.path(), &files.map(|(name, bytes)| (name.to_owned(), bytes)));
    let names = |names: &str| Layout {
        names: names.to_owned(),
        domain: None,
    };
    complete(folder.path(), &names("pki/{part}-of-{domain}"));
    complete(folder.path(), &names("pki/{part}-of-example.org"));
    for wrong in [
        "no-part",
        "../{part}",
        "/etc/{part}",
        "{part}{part}",
        "{domain}/{domain}.{part}",
    ] {
        let error = WildcardSet::load(folder.path(), &names(wrong), &options()).unwrap_err();
        assert!(
            matches!(error, SetError::Folder(FolderError::Pattern(_))),
            "{wrong}: {error}"
        );
    }
}

trait ConcatAll {
    fn concat_all(self) -> Vec<u8>;
}

impl ConcatAll for Vec<(&'static str, Vec<u8>)> {
    fn concat_all(self) -> Vec<u8> {
        self.into_iter().flat_map(|(_, bytes)| bytes).collect()
    }
}

#[test]
fn certbot_s_layout_is_known_from_its_top_and_from_below() {
    let (one, two) = (made(&Wish::leaf()), made(&Wish::leaf()));
    let folder = TempDir::new().unwrap();
    for (domain, made) in [("example.org", &one), ("example.net", &two)] {
        let parts = [
            ("privkey", made.leaf.key_pem()),
            ("cert", made.leaf.pem()),
            ("chain", made.intermediate.pem()),
            ("fullchain", [made.leaf.pem(), made.intermediate.pem()].concat()),
        ];
        fs::create_dir_all(folder.path().join("live").join(domain)).unwrap();
        for (part, bytes) in parts {
            write(folder.path(), &[(format!("archive/{domain}/{part}1.pem"), bytes)]);
            let link = folder.path().join(format!("live/{domain}/{part}.pem"));
            symlink(format!("../../archive/{domain}/{part}1.pem"), link).unwrap();
        }
    }
    write(
        folder.path(),
        &[("live/README".to_owned(), b"This directory contains your keys".to_vec())],
    );
    for top in ["", "live"] {
        let set = complete(&folder.path().join(top), &domain("example.org"));
        assert_eq!(set.leaf().certificate().0, one.leaf.der());
        let error = WildcardSet::load(&folder.path().join(top), &Layout::default(), &options()).unwrap_err();
        assert!(error.to_string().contains("example.net, example.org"), "{error}");
    }
    let below = folder.path().join("live/example.net");
    for layout in [Layout::default(), domain("example.net")] {
        assert_eq!(complete(&below, &layout).leaf().certificate().0, two.leaf.der());
    }
}

#[test]
fn acme_sh_s_layout_is_known_from_its_top_and_from_below() {
    let (ecc, rsa) = (made(&Wish::leaf()), made(&Wish::leaf()));
    let folder = TempDir::new().unwrap();
    for (at, name, made) in [
        ("*.example.org_ecc", "*.example.org", &ecc),
        ("example.net", "example.net", &rsa),
    ] {
        write(
            folder.path(),
            &[
                (format!("{at}/{name}.key"), made.leaf.key_pem()),
                (format!("{at}/{name}.cer"), made.leaf.pem()),
                (format!("{at}/{name}.csr"), b"x".to_vec()),
                (format!("{at}/{name}.conf"), b"x".to_vec()),
                (format!("{at}/ca.cer"), made.intermediate.pem()),
                (
                    format!("{at}/fullchain.cer"),
                    [made.leaf.pem(), made.intermediate.pem()].concat(),
                ),
            ],
        );
    }
    for name in ["example.org", "*.example.org", "*.example.org_ecc"] {
        assert_eq!(
            complete(folder.path(), &domain(name)).leaf().certificate().0,
            ecc.leaf.der()
        );
    }
    assert_eq!(
        complete(folder.path(), &domain("example.net")).leaf().certificate().0,
        rsa.leaf.der()
    );
    complete(&folder.path().join("*.example.org_ecc"), &Layout::default());
    complete(&folder.path().join("example.net"), &domain("example.net"));
}

#[test]
fn a_folder_without_a_set_says_what_was_looked_for() {
    let folder = TempDir::new().unwrap();
    let error = WildcardSet::load(folder.path(), &Layout::default(), &options())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("neither wildcard.{domain}-ACME.{part}, nor certbot's, nor acme.sh's"),
        "{error}"
    );
    let missing = folder.path().join("missing");
    let error = WildcardSet::load(&missing, &Layout::default(), &options()).unwrap_err();
    assert!(matches!(error, SetError::Folder(FolderError::Read { .. })), "{error}");
    assert_eq!(error.to_string(), missing.display().to_string());
}

#[test]
fn a_pipe_or_a_dangling_link_in_the_folder_is_passed_over() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), &acme(&made(&Wish::leaf()), "example.org")[..1]);
    symlink("nowhere", folder.path().join("wildcard.example.org-ACME.crt")).unwrap();
    let pipe = folder.path().join("wildcard.example.org-ACME.key");
    let status = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(status.success());
    complete(folder.path(), &Layout::default());
}

#[test]
fn a_file_that_cannot_be_read_is_noted_where_the_others_suffice() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), &acme(&made(&Wish::leaf()), "example.org")[..1]);
    let huge = folder.path().join("wildcard.example.org-ACME.crt");
    fs::write(&huge, vec![b' '; (1 << 20) + 1]).unwrap();
    let error = WildcardSet::load(folder.path(), &Layout::default(), &options())
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "wildcard.example.org-ACME.crt is larger than 1 MiB: that is no file of a set"
    );
    fs::write(&huge, b"").unwrap();
    fs::set_permissions(&huge, fs::Permissions::from_mode(0o000)).unwrap();
    // Root reads it all the same, and then finds nothing in it.
    assert_eq!(complete(folder.path(), &Layout::default()).notes().len(), 1);
}
