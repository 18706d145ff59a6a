//! [`FilesRequest`] as it goes over the pipe. The port's own type cannot be written anywhere, since it holds keys; this one gives them
//! away on purpose, and only here. Bytes travel as base64.

use base64::prelude::{BASE64_STANDARD, Engine};
use kbo_core::ids::RunId;
use kbo_core::ports::node::{FilesRequest, NewFile};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// A [`FilesRequest`] with secrets in the open. Never logged.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Files(#[serde(with = "Form")] FilesRequest);

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Files {
    /// Whether it may be sent again when nobody knows if it was carried out. A rollback would exchange again.
    pub fn may_be_repeated(&self) -> bool {
        !matches!(self.0, FilesRequest::Rollback { .. })
    }
}

impl From<&FilesRequest> for Files {
    fn from(request: &FilesRequest) -> Self {
        Self(request.clone())
    }
}

impl From<Files> for FilesRequest {
    fn from(files: Files) -> Self {
        files.0
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "FilesRequest", rename_all = "snake_case")]
enum Form {
    Look {
        dir: String,
        names: Vec<String>,
    },
    Stage {
        run: RunId,
        dir: String,
        #[serde(serialize_with = "write_files", deserialize_with = "read_files")]
        files: Vec<NewFile>,
    },
    Commit {
        run: RunId,
        dir: String,
    },
    Undo {
        run: RunId,
        dir: String,
    },
    Rollback {
        dir: String,
    },
    Drop {
        dir: String,
    },
}

#[derive(Serialize, Deserialize)]
struct FileForm {
    name: String,
    bytes: Base64,
    mode: u32,
    owner: Option<(u32, u32)>,
}

fn write_files<S: Serializer>(files: &[NewFile], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(files.iter().map(|file| FileForm {
        name: file.name.clone(),
        bytes: Base64(file.bytes.clone()),
        mode: file.mode,
        owner: file.owner,
    }))
}

fn read_files<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<NewFile>, D::Error> {
    let forms: Vec<FileForm> = Vec::deserialize(deserializer)?;
    let files = forms.into_iter().map(|form| NewFile {
        name: form.name,
        bytes: form.bytes.0,
        mode: form.mode,
        owner: form.owner,
    });
    Ok(files.collect())
}

struct Base64(Zeroizing<Vec<u8>>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&Zeroizing::new(BASE64_STANDARD.encode(&*self.0)))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Base64Text)
    }
}

/// Decoded from where it stands: no copy of the text is made.
struct Base64Text;

impl Visitor<'_> for Base64Text {
    type Value = Base64;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("base64")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Base64, E> {
        // Long enough from the beginning: a buffer that grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 4 * 3 + 3));
        BASE64_STANDARD
            .decode_vec(text, &mut bytes)
            .map_err(|_| E::custom("no base64"))?;
        Ok(Base64(bytes))
    }
}

#[cfg(test)]
mod tests {
    use kbo_core::ports::files::MAX_BYTES;

    use super::super::proto::{Request, decode, decode_and_wipe, encode};
    use super::*;

    fn staging(bytes: &[u8]) -> FilesRequest {
        FilesRequest::Stage {
            run: "20261125T050000Z".parse().unwrap(),
            dir: "/certs".to_owned(),
            files: vec![NewFile {
                name: "keystore.p12".to_owned(),
                bytes: bytes.to_vec().into(),
                mode: 0o640,
                owner: Some((1000, 1001)),
            }],
        }
    }

    #[test]
    fn every_request_arrives_as_it_was_sent() {
        let (run, dir): (RunId, String) = ("20261125T050000Z".parse().unwrap(), "/certs".to_owned());
        let names = vec!["a".to_owned(), "é b".to_owned()];
        let requests = [
            FilesRequest::Look {
                dir: dir.clone(),
                names,
            },
            staging(b""),
            staging(&(0..=255).collect::<Vec<u8>>()),
            FilesRequest::Commit {
                run: run.clone(),
                dir: dir.clone(),
            },
            FilesRequest::Undo { run, dir: dir.clone() },
            FilesRequest::Rollback { dir: dir.clone() },
            FilesRequest::Drop { dir },
        ];
        for request in requests {
            let sent = Request::Files((&request).into());
            let Request::Files(files) = decode_and_wipe(encode(&sent).unwrap()).unwrap() else {
                panic!("another request came");
            };
            assert_eq!(FilesRequest::from(files), request);
            assert_eq!(
                sent.may_be_repeated(),
                !matches!(request, FilesRequest::Rollback { .. })
            );
            assert_eq!(sent.takes_lease(), None);
        }
    }

    #[test]
    fn as_much_as_may_be_asked_for_can_be_sent() {
        let request = staging(&vec![0xff; MAX_BYTES]);
        request.check().unwrap();
        encode(&Request::Files((&request).into())).unwrap();
    }

    #[test]
    fn a_key_is_in_the_message_and_nowhere_else() {
        let request = Request::Files((&staging(b"the very key")).into());
        let shown = format!("{request:?}");
        assert!(shown.contains("12 bytes") && !shown.contains("very"), "{shown}");
        assert!(!shown.contains(&BASE64_STANDARD.encode("the very key")), "{shown}");
        let json = encode(&request).unwrap();
        let broken = String::from_utf8_lossy(&json).replace("dGhl", "dGh!");
        let error = decode::<Request>(broken.as_bytes()).unwrap_err().to_string();
        assert!(!error.contains("dGh"), "{error}");
    }
}
