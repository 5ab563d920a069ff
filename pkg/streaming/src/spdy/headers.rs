//! Header blocks: name and value pairs inside one zlib stream per direction, primed with SPDY's dictionary.

use std::sync::OnceLock;

use flate2::{Decompress, FlushDecompress, Status};

use crate::Error;

/// Longest header block after decompression: a guard against bombs.
const MAX_BLOCK: usize = 64 * 1024;

/// Words that the dictionary holds with their length in front, in the order of the specification.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow \
authorization cache-control connection content-base content-encoding content-language content-length content-location content-md5 \
content-range content-type date etag expect expires from host if-match if-modified-since if-none-match if-range if-unmodified-since \
last-modified location max-forwards pragma proxy-authenticate proxy-authorization range referer retry-after server te trailer \
transfer-encoding upgrade user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie \
keep-alive origin";

/// What follows the words.
const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative \
Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error501 \
Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, \
GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,\
publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

fn dictionary() -> &'static [u8] {
    static DICTIONARY: OnceLock<Vec<u8>> = OnceLock::new();
    DICTIONARY.get_or_init(|| {
        let mut bytes = Vec::with_capacity(1423);
        for word in WORDS.split(' ') {
            let word = word.replace('_', " ");
            bytes.extend_from_slice(&(word.len() as u32).to_be_bytes());
            bytes.extend_from_slice(word.as_bytes());
        }
        bytes.extend_from_slice(TAIL.as_bytes());
        bytes
    })
}

/// Adler-32 of the dictionary, which zlib's header names it by.
const DICTIONARY_ID: u32 = 0xe3c6_a7c2;

/// Writes header blocks as stored (uncompressed) deflate blocks, which any inflater reads. A handful of short headers per
/// connection would save nothing that is worth a compressor's quarter of a megabyte.
#[derive(Default)]
pub(super) struct Deflater {
    started: bool,
}

impl Deflater {
    pub(super) fn block(&mut self, headers: &[(String, String)]) -> Vec<u8> {
        let mut plain = (headers.len() as u32).to_be_bytes().to_vec();
        for (name, value) in headers {
            for text in [name, value] {
                plain.extend_from_slice(&(text.len() as u32).to_be_bytes());
                plain.extend_from_slice(text.as_bytes());
            }
        }
        let mut out = Vec::with_capacity(plain.len() + 16);
        if !self.started {
            self.started = true;
            out.extend_from_slice(&[0x78, 0xbb]); // Deflate with a 32 KiB window, preset dictionary, default level.
            out.extend_from_slice(&DICTIONARY_ID.to_be_bytes());
        }
        for part in plain.chunks(usize::from(u16::MAX)) {
            stored(&mut out, part);
        }
        // An empty block ends each flush: Go's inflater hands out what it holds only then.
        stored(&mut out, &[]);
        out
    }
}

fn stored(out: &mut Vec<u8>, part: &[u8]) {
    let length = part.len() as u16;
    out.push(0);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&(!length).to_le_bytes());
    out.extend_from_slice(part);
}

/// Reads header blocks. The inflater is made with the first one.
#[derive(Default)]
pub(super) struct Inflater {
    zlib: Option<Box<Decompress>>,
}

impl Inflater {
    /// Decompresses one block and takes it apart. Every block must go through here, in order.
    pub(super) fn block(&mut self, compressed: &[u8]) -> Result<Vec<(String, String)>, Error> {
        let plain = self.inflate(compressed)?;
        parse(&plain).ok_or_else(|| Error::protocol("malformed header block"))
    }

    fn inflate(&mut self, mut compressed: &[u8]) -> Result<Vec<u8>, Error> {
        let zlib = self.zlib.get_or_insert_with(|| Box::new(Decompress::new(true)));
        let mut plain = Vec::with_capacity(512);
        loop {
            let (before_in, before_out) = (zlib.total_in(), zlib.total_out());
            let outcome = zlib.decompress_vec(compressed, &mut plain, FlushDecompress::Sync);
            compressed = &compressed[((zlib.total_in() - before_in) as usize).min(compressed.len())..];
            match outcome {
                Ok(Status::StreamEnd) => return Ok(plain),
                Ok(_) => {}
                Err(err) => match err.needs_dictionary() {
                    Some(DICTIONARY_ID) => {
                        zlib.set_dictionary(dictionary()).map_err(|err| Error::protocol(format!("header compression: {err}")))?;
                        continue;
                    }
                    _ => return Err(Error::protocol(format!("header compression: {err}"))),
                },
            }
            if plain.len() > MAX_BLOCK {
                return Err(Error::protocol("header block is too large"));
            }
            let full = plain.len() == plain.capacity();
            if !full && (compressed.is_empty() || (zlib.total_in(), zlib.total_out()) == (before_in, before_out)) {
                return if compressed.is_empty() { Ok(plain) } else { Err(Error::protocol("header compression is stuck")) };
            }
            if full {
                plain.reserve(plain.capacity());
            }
        }
    }
}

fn parse(mut plain: &[u8]) -> Option<Vec<(String, String)>> {
    fn word(plain: &mut &[u8]) -> Option<usize> {
        let (head, rest) = plain.split_first_chunk::<4>()?;
        *plain = rest;
        Some(u32::from_be_bytes(*head) as usize)
    }
    fn text(plain: &mut &[u8]) -> Option<String> {
        let length = word(plain)?;
        let (head, rest) = plain.split_at_checked(length)?;
        *plain = rest;
        String::from_utf8(head.to_vec()).ok()
    }
    let count = word(&mut plain)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let name = text(&mut plain)?;
        let value = text(&mut plain)?;
        headers.push((name, value));
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};

    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn the_dictionary_is_the_one_of_the_specification() {
        let (mut a, mut b) = (1u32, 0u32);
        for byte in dictionary() {
            a = (a + u32::from(*byte)) % 65521;
            b = (b + a) % 65521;
        }
        assert_eq!((dictionary().len(), (b << 16) | a), (1423, DICTIONARY_ID));
    }

    #[test]
    fn blocks_written_stored_are_read_back_in_order() {
        let (mut deflater, mut inflater) = (Deflater::default(), Inflater::default());
        let long = "x".repeat(20_000);
        for list in
            [pairs(&[("streamtype", "stdin"), ("port", "80")]), pairs(&[]), pairs(&[("a", &long)]), pairs(&[("streamtype", "error")])]
        {
            let block = deflater.block(&list);
            assert_eq!(inflater.block(&block).unwrap(), list);
        }
    }

    #[test]
    fn blocks_of_a_compressor_with_the_dictionary_are_read() {
        let mut zlib = Compress::new(Compression::best(), true);
        zlib.set_dictionary(dictionary()).unwrap();
        let mut inflater = Inflater::default();
        for value in ["stdin", "stdout", "stderr", "error", "resize"] {
            let mut plain = 1u32.to_be_bytes().to_vec();
            for text in ["streamtype", value] {
                plain.extend_from_slice(&(text.len() as u32).to_be_bytes());
                plain.extend_from_slice(text.as_bytes());
            }
            let mut block = Vec::with_capacity(1024);
            zlib.compress_vec(&plain, &mut block, FlushCompress::Sync).unwrap();
            assert_eq!(inflater.block(&block).unwrap(), pairs(&[("streamtype", value)]));
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut zlib = Compress::new(Compression::best(), true);
        zlib.set_dictionary(dictionary()).unwrap();
        let mut block = Vec::with_capacity(64 * 1024);
        zlib.compress_vec(&vec![0; 10 << 20], &mut block, FlushCompress::Sync).unwrap();
        assert!(Inflater::default().block(&block).unwrap_err().to_string().contains("too large"));
    }
}
