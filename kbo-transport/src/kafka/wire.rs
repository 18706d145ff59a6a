//! Reading Kafka's wire format without trusting it.
//!
//! Requests are encoded by the kafka-protocol crate. Its decoders reserve memory for as many elements as an array claims to
//! have, so a response of a few bytes could ask for hundreds of gigabytes, which aborts the process: on a node in the middle of
//! a restart that must not happen, whatever listens on the port. The few fields needed here are read by hand instead.

/// Why a response cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// The unread rest of a response. Nothing is reserved on the word of a length.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// Whether the message is of a flexible version: compact lengths and tagged fields.
    flexible: bool,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], flexible: bool) -> Self {
        Self { rest: bytes, flexible }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(Malformed("it ends too early"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(Malformed("it ends too early"))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn skip(&mut self, n: usize) -> Result<(), Malformed> {
        self.take(n).map(drop)
    }

    pub(crate) fn bool(&mut self) -> Result<bool, Malformed> {
        Ok(self.take(1)?.first().is_some_and(|byte| *byte != 0))
    }

    pub(crate) fn i16(&mut self) -> Result<i16, Malformed> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }

    fn uvarint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| Malformed("a length is out of range"));
            }
        }
        Err(Malformed("a length is out of range"))
    }

    /// A length; `None` for null.
    fn length(&mut self, of_string: bool) -> Result<Option<usize>, Malformed> {
        let length = if self.flexible {
            i64::from(self.uvarint()?) - 1
        } else if of_string {
            i64::from(self.i16()?)
        } else {
            i64::from(self.i32()?)
        };
        if length == -1 {
            return Ok(None);
        }
        // Every element takes a byte at least.
        match usize::try_from(length) {
            Ok(length) if length <= self.rest.len() => Ok(Some(length)),
            _ => Err(Malformed("a length is out of range")),
        }
    }

    /// A string; `None` for null.
    pub(crate) fn string(&mut self) -> Result<Option<&'a str>, Malformed> {
        let Some(length) = self.length(true)? else {
            return Ok(None);
        };
        std::str::from_utf8(self.take(length)?)
            .map(Some)
            .map_err(|_| Malformed("a text is not UTF-8"))
    }

    /// Bytes; null are none.
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.length(false)?.unwrap_or(0);
        self.take(length)
    }

    /// An array; null is an empty one.
    pub(crate) fn list<T>(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let length = self.length(false)?.unwrap_or(0);
        let mut out = Vec::new();
        for _ in 0..length {
            out.push(element(self)?);
        }
        Ok(out)
    }

    /// The tagged fields that end every structure of a flexible version; none of them matters here.
    pub(crate) fn tags(&mut self) -> Result<(), Malformed> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.uvarint()? {
            self.uvarint()?;
            let size = self.uvarint()?;
            self.skip(usize::try_from(size).unwrap_or(usize::MAX))?;
        }
        Ok(())
    }

    /// How many bytes are unread.
    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    /// The response is over; bytes left mean that it was read wrongly.
    pub(crate) fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed("it has bytes left over"))
        }
    }
}
