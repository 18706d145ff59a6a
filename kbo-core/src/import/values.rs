//! Values that kbo.toml can have: what could never work is not carried over as if it did.

use std::net::Ipv6Addr;

/// What an address may look like, for hints.
pub(super) const ADDRESSES: &str = "an address is such as 10.0.0.21, kafka-1, kafka-1:2222 or [fe80::1]:22";

/// A host, and the port behind it; an IPv6 address with a port stands in brackets.
pub(super) fn address(text: &str) -> Result<(String, Option<u16>), String> {
    let wrong = |why: &str| format!("`{text}` is no address of a host: {why}");
    let (host, port) = match text.strip_prefix('[') {
        Some(inner) => {
            let (host, behind) = inner.split_once(']').ok_or_else(|| wrong("`]` is missing"))?;
            if !is_ipv6(host) {
                return Err(wrong("what stands in brackets is no IPv6 address"));
            }
            match (behind, behind.strip_prefix(':')) {
                ("", _) => (host, None),
                (_, Some(port)) => (host, Some(port)),
                _ => return Err(wrong("behind `]` comes :PORT or nothing")),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            Some(_) if is_ipv6(text) => (text, None),
            Some(_) => return Err(wrong("it has several colons and is no IPv6 address")),
            None => (text, None),
        },
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(wrong("a host has a name, and no blanks in it"));
    }
    if host.starts_with('-') {
        return Err(wrong("no host begins with a dash"));
    }
    if host.contains(['@', '/', ',']) {
        return Err(wrong("it is one host, without a user and without a path"));
    }
    let port = port
        .map(|port| match port.parse::<u16>() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(wrong("behind the colon comes a port from 1 to 65535")),
        })
        .transpose()?;
    Ok((host.to_owned(), port))
}

/// With its zone or without: `fe80::1%eth0`.
fn is_ipv6(text: &str) -> bool {
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    address.parse::<Ipv6Addr>().is_ok()
}

/// Why a user cannot be called so.
pub(super) fn user(text: &str) -> Result<String, String> {
    match is_word(text) {
        true => Ok(text.to_owned()),
        false => Err("no user is called so: a name has no blanks, and no dash at its beginning".to_owned()),
    }
}

/// Why an image cannot be called so.
pub(super) fn image(text: &str) -> Result<String, String> {
    match is_word(text) {
        true => Ok(text.to_owned()),
        false => Err("no image is called so: a name has no blanks, and no dash at its beginning".to_owned()),
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('-') && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// A percentage, with its sign or without.
pub(super) fn percent(text: &str) -> Option<u8> {
    let number = text.trim_end_matches('%').trim().parse::<u8>().ok()?;
    (number <= 100).then_some(number)
}

/// An absolute path of a directory, without its last slash.
pub(super) fn directory(text: &str) -> Result<String, String> {
    let path = text.trim_end_matches('/');
    let is_normal = path.split('/').all(|part| part != "..") && !path.contains(char::is_control);
    match path.starts_with('/') && path.len() > 1 && is_normal {
        true => Ok(path.to_owned()),
        false => Err(format!("`{text}` is not an absolute path of a directory below /")),
    }
}

/// An absolute path of a file.
pub(super) fn file(text: &str) -> Result<String, String> {
    match directory(text) {
        Ok(path) if !text.ends_with('/') => Ok(path),
        _ => Err(format!("`{text}` is not an absolute path of a file")),
    }
}

/// One directory, or several parted by commas.
pub(super) fn directories(text: &str) -> Result<Vec<String>, String> {
    let paths = text.split(',').map(str::trim).filter(|path| !path.is_empty());
    paths.map(directory).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_split_off_and_what_is_no_host_is_refused() {
        for (text, host, port) in [
            ("h", "h", None),
            ("10.0.0.1:2222", "10.0.0.1", Some(2222)),
            ("[2001:db8::1]:2222", "2001:db8::1", Some(2222)),
            ("[2001:db8::1]", "2001:db8::1", None),
            ("fe80::1%eth0", "fe80::1%eth0", None),
        ] {
            assert_eq!(address(text), Ok((host.to_owned(), port)), "{text}");
        }
        for wrong in [
            "", "a b", "-oX", "ops@h", "h:", "h:0", "h:65536", "h:x", "[::1", "[::1]22", "[h]:22", "a:b:c", "h/24",
            "a,b",
        ] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn paths_are_absolute_and_below_the_root() {
        assert_eq!(directories("/a/, /b").unwrap(), ["/a", "/b"]);
        for wrong in ["/", "//", "a", "/a/../b", "./a"] {
            assert!(directory(wrong).is_err() && file(wrong).is_err(), "{wrong}");
        }
        assert!(file("/a/").is_err() && file("/a").is_ok());
    }

    #[test]
    fn names_are_words() {
        assert!(user("ops").is_ok() && user("a b").is_err() && user("-l").is_err());
        assert!(image("apache/kafka:4.3.1").is_ok() && image("a b").is_err());
    }
}
