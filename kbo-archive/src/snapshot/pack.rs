//! Copies, one behind the other in one file: thousands of small files cost no creation and no fsync each.

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;

use super::index::Packed;
use crate::error::{At, Error};

const BUFFER: usize = 1 << 20;

/// A pack being written; the file is created with the first byte.
#[derive(Debug)]
pub(crate) struct Pack {
    path: PathBuf,
    name: String,
    file: Option<File>,
    written: u64,
    buffer: Vec<u8>,
}

impl Pack {
    pub(crate) fn new(folder: &std::path::Path, name: String) -> Self {
        Self {
            path: folder.join(&name),
            name,
            file: None,
            written: 0,
            buffer: Vec::new(),
        }
    }

    /// Appends what the source yields up to its end, or up to `limit` bytes. A shorter source is no error: the length is
    /// the one of what was read.
    pub(crate) fn append(&mut self, source: &File, limit: u64, source_path: &std::path::Path) -> Result<Packed, Error> {
        let at = self.written + self.buffer.len() as u64;
        let mut len = 0;
        let mut source = source.take(limit);
        loop {
            if self.buffer.len() >= BUFFER {
                self.flush()?;
            }
            let room = (BUFFER - self.buffer.len()) as u64;
            let read = Read::by_ref(&mut source)
                .take(room)
                .read_to_end(&mut self.buffer)
                .at("read", source_path)?;
            len += read as u64;
            if (read as u64) < room {
                return Ok(Packed {
                    name: self.name.clone(),
                    at,
                    len,
                });
            }
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(File::create_new(&self.path).at("create", &self.path)?),
        };
        file.write_all(&self.buffer).at("write", &self.path)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left and makes it durable.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        if !self.buffer.is_empty() {
            self.flush()?;
        }
        match self.file {
            Some(file) => file.sync_all().at("sync", &self.path),
            None => Ok(()),
        }
    }
}
