//! The operations on a node's files that stream: the archive crate's, which block, joined to the ports' asynchronous streams.

use std::io::Write;

use kbo_archive::{DirSpec, snapshot, stage, writer};
use kbo_core::inventory::{Dataset, Role};
use kbo_core::manifest::{FileKind, FileRecord};
use kbo_core::ports::node::{ArchiveReport, ArchiveRequest, NodeError, NodeErrorKind, StageReport, StageRequest};
use kbo_core::ports::stream::{ByteSink, ByteSource, StreamError};

use super::blocking;
use super::bridge::{chunk_reader, chunk_writer, pump_in, pump_out};

/// Bytes that an entry has in the archive.
pub(super) fn size_of(file: &FileRecord) -> u64 {
    match &file.kind {
        FileKind::File { size, .. } => *size,
        FileKind::Dir | FileKind::Symlink { .. } => 0,
    }
}

/// An archive made in a blocking thread, carried into the sink meanwhile.
pub(super) async fn archive(
    request: ArchiveRequest,
    (dirs, role): (Vec<DirSpec>, Role),
    progress: impl Fn(u64) + Send + 'static,
    sink: &mut dyn ByteSink,
) -> Result<ArchiveReport, NodeError> {
    let (mut chunks, receiver) = chunk_writer();
    let writing = blocking(move || {
        // What is not all of the node is no backup of it, and need not be read.
        let caveats = match request.dataset {
            Dataset::Data => snapshot::prove_whole(&request.run, &dirs, role)?,
            Dataset::Config => Vec::new(),
        };
        let options = writer::Options {
            level: request.level,
            threads: request.threads,
        };
        // Its end ends the pump. A sink that has failed fails the writing, so that nothing else need cancel it.
        writer::write(&request.run, &dirs, options, &mut chunks, &progress, &|| false).and_then(|report| {
            chunks
                .flush()
                .map(|()| ArchiveReport { caveats, ..report })
                .map_err(|source| kbo_archive::Error::Stream { doing: "write", source })
        })
    });
    let (report, pumped) = tokio::join!(writing, pump_out(receiver, sink));
    // The sink's own words say more than the broken pipe that the writer saw.
    pumped.map_err(stream_failed)?;
    report
}

/// An archive unpacked in a blocking thread, carried there from the source meanwhile.
pub(super) async fn stage(
    request: StageRequest,
    dirs: Vec<DirSpec>,
    progress: impl Fn(u64) + Send + 'static,
    source: &mut dyn ByteSource,
) -> Result<StageReport, NodeError> {
    let (mut reader, sender) = chunk_reader();
    let unpacking = blocking(move || stage::unpack(&request, &dirs, &mut reader, &progress, &|| false));
    let (report, pumped) = tokio::join!(unpacking, pump_in(source, sender));
    pumped.map_err(stream_failed)?;
    report
}

fn stream_failed(error: StreamError) -> NodeError {
    let kind = match &error {
        StreamError::Interrupted => NodeErrorKind::Interrupted,
        StreamError::Io { .. } | StreamError::Other(_) => NodeErrorKind::Io,
    };
    let mut message = format!("the archive's stream ended early: {error}");
    if let Some(source) = std::error::Error::source(&error) {
        message = format!("{message}: {source}");
    }
    NodeError::new(kind, message)
}
