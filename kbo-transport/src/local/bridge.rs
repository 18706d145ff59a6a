//! Between the archive code, which reads and writes as files do, and the ports' streams, which are asynchronous.
//!
//! Each direction is a short channel of reference-counted chunks: while one is compressed, the one before it travels.

use std::io::{Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use kbo_core::ports::stream::{ByteSink, ByteSource, StreamError};
use tokio::sync::mpsc;

/// Bytes of a chunk: large enough that handing it over costs nothing, small enough that a few of them fit the agent's memory.
const CHUNK: usize = 256 << 10;

/// Chunks under way.
const DEPTH: usize = 4;

/// The blocking end that an archive is written to.
pub(super) struct ChunkWriter {
    chunk: BytesMut,
    sender: mpsc::Sender<Bytes>,
}

/// A writer, and where its chunks come out. Dropping the receiver makes the writer fail.
pub(super) fn chunk_writer() -> (ChunkWriter, mpsc::Receiver<Bytes>) {
    let (sender, receiver) = mpsc::channel(DEPTH);
    (
        ChunkWriter {
            chunk: BytesMut::with_capacity(CHUNK),
            sender,
        },
        receiver,
    )
}

impl ChunkWriter {
    fn send(&mut self) -> std::io::Result<()> {
        let chunk = std::mem::replace(&mut self.chunk, BytesMut::with_capacity(CHUNK)).freeze();
        self.sender
            .blocking_send(chunk)
            .map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let taken = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        if self.chunk.len() == CHUNK {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.chunk.is_empty() { Ok(()) } else { self.send() }
    }
}

/// Carries a writer's chunks into `sink` until the writer is dropped.
///
/// # Errors
/// The sink's; the writer then fails at its next chunk.
pub(super) async fn pump_out(mut chunks: mpsc::Receiver<Bytes>, sink: &mut dyn ByteSink) -> Result<(), StreamError> {
    while let Some(chunk) = chunks.recv().await {
        sink.write(chunk).await?;
    }
    Ok(())
}

/// The blocking end that an archive is read from.
pub(super) struct ChunkReader {
    chunk: Bytes,
    receiver: mpsc::Receiver<Option<Bytes>>,
    ended: bool,
}

/// A reader, and where its chunks go in. The end is said by `None`: a sender that is only dropped has failed, and so does the
/// reader, rather than take the part that came for the whole.
pub(super) fn chunk_reader() -> (ChunkReader, mpsc::Sender<Option<Bytes>>) {
    let (sender, receiver) = mpsc::channel(DEPTH);
    (
        ChunkReader {
            chunk: Bytes::new(),
            receiver,
            ended: false,
        },
        sender,
    )
}

impl Read for ChunkReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.chunk.is_empty() {
            if self.ended {
                return Ok(0);
            }
            match self.receiver.blocking_recv() {
                Some(Some(chunk)) => self.chunk = chunk,
                Some(None) => self.ended = true,
                None => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let taken = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..taken]);
        Ok(taken)
    }
}

/// Carries `source` into a reader until the source's end, or until the reader is dropped, which is no error here: why it
/// wants no more is the reader's to say.
///
/// # Errors
/// The source's; the reader then fails too.
pub(super) async fn pump_in(
    source: &mut dyn ByteSource,
    chunks: mpsc::Sender<Option<Bytes>>,
) -> Result<(), StreamError> {
    loop {
        let next = tokio::select! {
            next = source.next() => next?,
            // The reader may fail while the source is slow.
            () = chunks.closed() => return Ok(()),
        };
        let last = next.is_none();
        if chunks.send(next).await.is_err() || last {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;

    struct Collect(Vec<u8>, Option<usize>);

    #[async_trait]
    impl ByteSink for Collect {
        async fn write(&mut self, chunk: Bytes) -> Result<(), StreamError> {
            if self.1.is_some_and(|limit| self.0.len() >= limit) {
                return Err(StreamError::Other("full".to_owned()));
            }
            self.0.extend_from_slice(&chunk);
            Ok(())
        }
    }

    struct Give(Vec<Result<Bytes, ()>>);

    #[async_trait]
    impl ByteSource for Give {
        async fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
            match self.0.pop() {
                Some(Ok(chunk)) => Ok(Some(chunk)),
                Some(Err(())) => Err(StreamError::Other("gone".to_owned())),
                None => Ok(None),
            }
        }
    }

    #[tokio::test]
    async fn what_is_written_comes_out() {
        let (mut writer, chunks) = chunk_writer();
        let data: Vec<u8> = (0..1_000_003_u32).map(|i| (i % 251) as u8).collect();
        let written = data.clone();
        let thread = tokio::task::spawn_blocking(move || {
            writer.write_all(&written)?;
            writer.flush()
        });
        let mut sink = Collect(Vec::new(), None);
        pump_out(chunks, &mut sink).await.unwrap();
        thread.await.unwrap().unwrap();
        assert!(sink.0 == data);
    }

    #[tokio::test]
    async fn a_failing_sink_stops_the_writer() {
        let (mut writer, chunks) = chunk_writer();
        let thread = tokio::task::spawn_blocking(move || {
            let block = vec![0; CHUNK];
            loop {
                if let Err(error) = writer.write_all(&block) {
                    return error;
                }
            }
        });
        assert!(pump_out(chunks, &mut Collect(Vec::new(), Some(1))).await.is_err());
        assert_eq!(thread.await.unwrap().kind(), std::io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn a_source_that_breaks_is_not_taken_for_its_end() {
        let (mut reader, chunks) = chunk_reader();
        let thread = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        });
        let mut source = Give(vec![Err(()), Ok(Bytes::from_static(b"part"))]);
        assert!(pump_in(&mut source, chunks).await.is_err());
        assert!(thread.await.unwrap().is_err());
    }

    #[tokio::test]
    async fn a_reader_that_wants_no_more_ends_a_silent_source() {
        struct Silent;
        #[async_trait]
        impl ByteSource for Silent {
            async fn next(&mut self) -> Result<Option<Bytes>, StreamError> {
                std::future::pending().await
            }
        }
        let (reader, chunks) = chunk_reader();
        drop(reader);
        pump_in(&mut Silent, chunks).await.unwrap();
    }
}
