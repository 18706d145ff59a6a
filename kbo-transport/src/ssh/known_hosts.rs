//! The known_hosts file: which keys a host may show.
//!
//! libssh2 has a reader of its own, but it knows neither patterns nor markers: a `@revoked` key would pass for a trusted one.

use openssl::base64;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use sha2::{Digest, Sha256};

/// A known_hosts file as read.
#[derive(Debug, Default)]
pub(crate) struct KnownHosts {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    line: usize,
    marker: Option<String>,
    hosts: String,
    key_type: String,
    key: Vec<u8>,
}

/// What the file says about a host's key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the host's key.
    Known,
    /// The file has another key of this type for the host, on these lines.
    Changed(Vec<usize>),
    /// The file has no key of this type for the host; the types it has.
    Unknown(Vec<String>),
    /// The file says that this key is not to be trusted any more.
    Revoked(usize),
}

impl KnownHosts {
    /// Reads the file's text. Lines that cannot be read are passed over, as ssh does.
    pub(crate) fn parse(text: &str) -> Self {
        let mut entries = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.split_ascii_whitespace().peekable();
            let marker = words.next_if(|word| word.starts_with('@')).map(str::to_owned);
            let (Some(hosts), Some(key_type), Some(key)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let Ok(key) = base64::decode_block(key) else { continue };
            entries.push(Entry {
                line: index + 1,
                marker,
                hosts: hosts.into(),
                key_type: key_type.into(),
                key,
            });
        }
        Self { entries }
    }

    /// The types of the keys known for a host, in the file's order: the ones to ask the host for.
    pub(crate) fn types(&self, host: &str, port: u16) -> Vec<String> {
        let mut types: Vec<String> = Vec::new();
        for entry in self.trusted(&name(host, port)).chain(self.trusted(&name(host, 22))) {
            if !types.contains(&entry.key_type) {
                types.push(entry.key_type.clone());
            }
        }
        types
    }

    /// Judges a key that a host showed (the raw key, as in the protocol).
    pub(crate) fn judge(&self, host: &str, port: u16, key: &[u8]) -> Verdict {
        let wanted = name(host, port);
        let revoked = |entry: &&Entry| entry.marker.as_deref() == Some("@revoked") && entry.key == key;
        if let Some(entry) = self.entries.iter().filter(|e| covers(&e.hosts, &wanted)).find(revoked) {
            return Verdict::Revoked(entry.line);
        }
        if self.trusted(&wanted).any(|entry| entry.key == key) {
            return Verdict::Known;
        }
        // A key that is known for the host's default port vouches for its other ports, as with ssh; it accuses nobody.
        if self.trusted(&name(host, 22)).any(|entry| entry.key == key) {
            return Verdict::Known;
        }
        let shown = key_type(key);
        let same: Vec<usize> = self
            .trusted(&wanted)
            .filter(|e| e.key_type == shown)
            .map(|e| e.line)
            .collect();
        if same.is_empty() {
            return Verdict::Unknown(self.trusted(&wanted).map(|e| e.key_type.clone()).collect());
        }
        Verdict::Changed(same)
    }

    fn trusted(&self, name: &str) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(move |entry| entry.marker.is_none() && covers(&entry.hosts, name))
    }
}

/// A host as known_hosts spells it.
pub(crate) fn name(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if port == 22 { host } else { format!("[{host}]:{port}") }
}

/// The type of a raw key: its first string.
pub(crate) fn key_type(key: &[u8]) -> String {
    let length = key.first_chunk::<4>().map_or(0, |b| u32::from_be_bytes(*b) as usize);
    key.get(4..)
        .and_then(|rest| rest.get(..length))
        .map_or_else(String::new, |t| String::from_utf8_lossy(t).into_owned())
}

/// The fingerprint as every ssh tool shows it.
pub(crate) fn fingerprint(key: &[u8]) -> String {
    format!(
        "SHA256:{}",
        base64::encode_block(&Sha256::digest(key)).trim_end_matches('=')
    )
}

/// The names of the signature algorithms that a type of key is asked for by.
pub(crate) fn algorithms(key_type: &str) -> Vec<&str> {
    match key_type {
        "ssh-rsa" => vec!["rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"],
        other => vec![other],
    }
}

/// Whether a hosts field speaks of this name: hashed, or patterns of which none may deny it.
fn covers(hosts: &str, name: &str) -> bool {
    if let Some(hashed) = hosts.strip_prefix("|1|") {
        return hash_matches(hashed, name).unwrap_or(false);
    }
    let mut found = false;
    for pattern in hosts.split(',') {
        match pattern.strip_prefix('!') {
            Some(denied) if matches(denied.to_ascii_lowercase().as_bytes(), name.as_bytes()) => return false,
            Some(_) => {}
            None => found |= matches(pattern.to_ascii_lowercase().as_bytes(), name.as_bytes()),
        }
    }
    found
}

fn hash_matches(hashed: &str, name: &str) -> Option<bool> {
    let (salt, digest) = hashed.split_once('|')?;
    let key = PKey::hmac(&base64::decode_block(salt).ok()?).ok()?;
    let mut signer = Signer::new(MessageDigest::sha1(), &key).ok()?;
    let made = signer.sign_oneshot_to_vec(name.as_bytes()).ok()?;
    Some(made == base64::decode_block(digest).ok()?)
}

/// `*` and `?`, as in file names.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.first(), name.first()) {
        (None, None) => true,
        (Some(b'*'), _) => matches(&pattern[1..], name) || (!name.is_empty() && matches(pattern, &name[1..])),
        (Some(b'?'), Some(_)) => matches(&pattern[1..], &name[1..]),
        (Some(p), Some(n)) if p == n => matches(&pattern[1..], &name[1..]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJj8vn3GyqX3rQmWQeZUkB6Mrr5oVKLcxKBWvO5k3r1A";
    const OTHER: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJj8vn3GyqX3rQmWQeZUkB6Mrr5oVKLcxKBWvO5k3r1B";

    fn raw(key: &str) -> Vec<u8> {
        base64::decode_block(key).unwrap()
    }

    fn judged(file: &str, host: &str, port: u16, key: &str) -> Verdict {
        KnownHosts::parse(file).judge(host, port, &raw(key))
    }

    #[test]
    fn a_plain_entry_is_found_by_name_and_port() {
        let file = format!("# comment\n\nnode1,10.0.0.1 ssh-ed25519 {ED} remark\n[node2]:2222 ssh-ed25519 {ED}\n");
        assert_eq!(judged(&file, "node1", 22, ED), Verdict::Known);
        assert_eq!(judged(&file, "NODE1", 22, ED), Verdict::Known);
        assert_eq!(judged(&file, "10.0.0.1", 22, ED), Verdict::Known);
        assert_eq!(judged(&file, "node2", 2222, ED), Verdict::Known);
        assert_eq!(judged(&file, "node2", 22, ED), Verdict::Unknown(vec![]));
        assert_eq!(judged(&file, "node1", 22, OTHER), Verdict::Changed(vec![3]));
        assert_eq!(
            judged(&file, "node1", 2222, ED),
            Verdict::Known,
            "the default port's key vouches"
        );
        assert_eq!(
            judged(&file, "node1", 2222, OTHER),
            Verdict::Unknown(vec![]),
            "but accuses nobody"
        );
    }

    #[test]
    fn hashed_entries_as_ssh_keygen_makes_them() {
        // HMAC-SHA1 of "example.org" under the salt, computed with `openssl dgst -sha1 -mac HMAC`.
        let key = PKey::hmac(b"0123456789abcdefghij").unwrap();
        let digest = Signer::new(MessageDigest::sha1(), &key)
            .unwrap()
            .sign_oneshot_to_vec(b"[example.org]:2200")
            .unwrap();
        let (salt, digest) = (
            base64::encode_block(b"0123456789abcdefghij"),
            base64::encode_block(&digest),
        );
        let file = format!("|1|{salt}|{digest} ssh-ed25519 {ED}\n");
        assert_eq!(judged(&file, "example.org", 2200, ED), Verdict::Known);
        assert_eq!(judged(&file, "example.org", 22, ED), Verdict::Unknown(vec![]));
    }

    #[test]
    fn a_revoked_key_is_refused_even_where_it_is_also_trusted() {
        let file = format!("node1 ssh-ed25519 {ED}\n@revoked * ssh-ed25519 {ED}\n");
        assert_eq!(judged(&file, "node1", 22, ED), Verdict::Revoked(2));
    }

    #[test]
    fn a_certificate_authority_is_no_host_key() {
        let file = format!("@cert-authority * ssh-ed25519 {ED}\n");
        assert_eq!(judged(&file, "node1", 22, ED), Verdict::Unknown(vec![]));
    }

    #[test]
    fn patterns_and_their_denial() {
        let file = format!("*.example.org,!bad.example.org ssh-ed25519 {ED}\n");
        assert_eq!(judged(&file, "n1.example.org", 22, ED), Verdict::Known);
        assert_eq!(judged(&file, "bad.example.org", 22, ED), Verdict::Unknown(vec![]));
    }

    #[test]
    fn another_type_of_key_is_unknown_and_not_changed() {
        let file = format!("node1 ssh-rsa {}\n", base64::encode_block(b"\0\0\0\x07ssh-rsa123"));
        let known = KnownHosts::parse(&file);
        assert_eq!(
            known.judge("node1", 22, &raw(ED)),
            Verdict::Unknown(vec!["ssh-rsa".into()])
        );
        assert_eq!(known.types("node1", 22), ["ssh-rsa"]);
        assert_eq!(key_type(&raw(ED)), "ssh-ed25519");
    }

    #[test]
    fn a_damaged_file_trusts_nobody() {
        assert_eq!(
            judged(
                "node1\nnode1 ssh-ed25519\nnode1 ssh-ed25519 ???\n@revoked\n",
                "node1",
                22,
                ED
            ),
            Verdict::Unknown(vec![])
        );
        assert_eq!(key_type(b"\xff\xff\xff\xffx"), "");
    }
}
