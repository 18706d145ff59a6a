//! Reading an archive file, one chunk ahead of who asks for it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use kbo_core::ports::store::StoreError;
use kbo_core::ports::stream::{ByteSource, StreamError};
use tokio::task::{JoinHandle, spawn_blocking};

use super::durable::io;

const CHUNK: u64 = 1024 * 1024;

/// The chunks of a file. While one is being used the next is being read, so that disk and consumer work at once.
pub(super) struct FileSource {
    path: PathBuf,
    ahead: Option<JoinHandle<(File, io::Result<Bytes>)>>,
}

impl FileSource {
    /// Opens the file; must be called within a runtime.
    pub(super) fn open(path: PathBuf) -> Result<Self, StoreError> {
        let file = crate::regular::open(&path).map_err(io("open", &path))?;
        Ok(Self {
            path,
            ahead: Some(read_ahead(file)),
        })
    }
}

#[async_trait]
impl ByteSource for FileSource {
    async fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
        let Some(ahead) = self.ahead.take() else {
            return Ok(None);
        };
        let (file, chunk) = ahead.await.map_err(|join| failed(&self.path, io::Error::other(join)))?;
        let chunk = chunk.map_err(|source| failed(&self.path, source))?;
        if chunk.is_empty() {
            return Ok(None);
        }
        self.ahead = Some(read_ahead(file));
        Ok(Some(chunk))
    }
}

fn read_ahead(mut file: File) -> JoinHandle<(File, io::Result<Bytes>)> {
    spawn_blocking(move || {
        let mut chunk = Vec::with_capacity(CHUNK as usize);
        let read = (&mut file).take(CHUNK).read_to_end(&mut chunk);
        (file, read.map(|_| Bytes::from(chunk)))
    })
}

fn failed(path: &Path, source: io::Error) -> StreamError {
    StreamError::Io {
        context: format!("cannot read {}", path.display()),
        source,
    }
}
