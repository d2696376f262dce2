//! Where are the pages of a column chunk? They are located, verified and decompressed one at a time, each within
//! bounds. What the values mean is decided elsewhere.

use bytes::Bytes;

use ::parquet::arrow::arrow_reader::RowGroups;
use ::parquet::basic::{Encoding, Type};
use ::parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};

use super::codec::Codec;
use super::header::{self, Bad, Header, Kind};
use crate::error::{Error, Result};
use crate::input::View;
use crate::limits;

/// The pages of a column chunk, in order.
pub struct Pages {
    /// The chunk, and how far it has been read.
    view: View,
    at: u64,
    codec: Codec,
    /// The header of the next page, once it has been read, and where the page begins.
    next: Option<(Header, u64)>,
    name: String,
    /// The type of its values.
    physical: Type,
    /// Whether a dictionary has been read.
    has_dictionary: bool,
}

/// A page that was skipped.
pub enum Skimmed {
    /// The values of a dictionary.
    Dictionary(Bytes),
    /// A page of data; only its header.
    Data(Header),
}

impl Pages {
    /// The pages of a column chunk of this file.
    pub fn new(file: &View, chunk: &ColumnChunkMetaData) -> Result<Pages> {
        let name = chunk.column_path().string();
        let start = chunk
            .dictionary_page_offset()
            .unwrap_or(i64::MAX)
            .min(chunk.data_page_offset());
        let (start, len) = (u64::try_from(start), u64::try_from(chunk.compressed_size()));
        let (Ok(start), Ok(len)) = (start, len) else {
            return Err(file.corrupt(0, format!("column `{name}` begins before the file does")));
        };
        let view = file.cut(start, len)?;
        let codec = Codec::of(chunk.compression());
        let codec = codec.map_err(|what| {
            let error = Error::new(
                crate::error::Kind::Unsupported,
                format!("column `{name}` is {what}"),
            );
            error.at(view.place(0))
        })?;
        Ok(Pages {
            view,
            at: 0,
            codec,
            next: None,
            name,
            physical: chunk.column_type(),
            has_dictionary: false,
        })
    }

    /// An error at the byte of the file that is read next.
    pub fn corrupt(&self, what: &str) -> Error {
        self.view.corrupt(
            self.at.min(self.view.len()),
            format!("column `{}`: {what}", self.name),
        )
    }

    fn peek(&mut self) -> Result<Option<(Header, u64)>> {
        /// Headers with statistics take a few hundred bytes; long values in them make them longer.
        const FIRST: u64 = 512;
        while self.next.is_none() && self.at < self.view.len() {
            let mut room = vec![0; FIRST.min(self.view.len() - self.at) as usize];
            let header = loop {
                self.view.read(self.at, &mut room)?;
                match header::read(&room) {
                    Ok(header) => break header,
                    Err(Bad::Wrong(what)) => return Err(self.corrupt(what)),
                    Err(Bad::Short) => {
                        let more = (room.len() as u64 * 4).min(self.view.len() - self.at);
                        if more == room.len() as u64 || more > limits::PARQUET_HEADER_BYTES_MAX {
                            return Err(self.corrupt("a page header has no end"));
                        }
                        room.resize(more as usize, 0);
                    }
                }
            };
            let body = self.at + header.len as u64;
            self.view.cut(body, u64::from(header.stored))?;
            if u64::from(header.unpacked) > limits::PARQUET_PAGE_BYTES_MAX {
                let what = format!("a page of {} bytes, decompressed", header.unpacked);
                return Err(self.too_large(&what));
            }
            if header.values > limits::PARQUET_PAGE_VALUES_MAX {
                return Err(self.too_large(&format!("a page of {} values", header.values)));
            }
            self.check(&header).map_err(|what| self.corrupt(what))?;
            match header.kind {
                Kind::Other => self.at = body + u64::from(header.stored),
                _ => self.next = Some((header, body)),
            }
        }
        Ok(self.next)
    }

    /// Returns an error for a page that cannot be decoded: the crate does not check this.
    fn check(&self, header: &Header) -> std::result::Result<(), &'static str> {
        use Encoding as E;
        #[expect(deprecated, reason = "files contain it")]
        let levels = [E::RLE, E::BIT_PACKED];
        let known = match header.kind {
            Kind::Other => return Ok(()),
            Kind::Dictionary { .. } if self.has_dictionary => {
                return Err("there are two dictionaries");
            }
            Kind::Dictionary { .. } => {
                self.physical != Type::BOOLEAN
                    && [E::PLAIN, E::PLAIN_DICTIONARY].contains(&header.encoding)
            }
            _ => match header.encoding {
                E::PLAIN => true,
                E::RLE => self.physical == Type::BOOLEAN,
                E::PLAIN_DICTIONARY | E::RLE_DICTIONARY if !self.has_dictionary => {
                    return Err("a page refers to a dictionary, but there is none");
                }
                E::PLAIN_DICTIONARY | E::RLE_DICTIONARY => true,
                E::DELTA_BINARY_PACKED => matches!(self.physical, Type::INT32 | Type::INT64),
                E::DELTA_LENGTH_BYTE_ARRAY => self.physical == Type::BYTE_ARRAY,
                E::DELTA_BYTE_ARRAY => {
                    matches!(self.physical, Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY)
                }
                E::BYTE_STREAM_SPLIT => !matches!(
                    self.physical,
                    Type::BOOLEAN | Type::BYTE_ARRAY | Type::INT96
                ),
                _ => false,
            },
        };
        let levels = [header.definition_encoding, header.repetition_encoding]
            .iter()
            .all(|encoding| levels.contains(encoding));
        match known && levels {
            true => Ok(()),
            false => Err("a page has an encoding that does not exist for its type"),
        }
    }

    fn too_large(&self, what: &str) -> Error {
        let what = format!("column `{}` has {what}", self.name);
        let error = Error::new(crate::error::Kind::Unsupported, what).at(self.view.place(self.at));
        error.hint("rewrite the file with smaller pages")
    }

    fn pass(&mut self, header: &Header, body: u64) {
        self.at = body + u64::from(header.stored);
        self.next = None;
        self.has_dictionary |= matches!(header.kind, Kind::Dictionary { .. });
    }

    /// Skips the next page, and returns its kind.
    pub fn skim(&mut self) -> Result<Option<Skimmed>> {
        let Some((header, body)) = self.peek()? else {
            return Ok(None);
        };
        Ok(match header.kind {
            Kind::Dictionary { .. } => match self.next_page()? {
                Some(Page::DictionaryPage { buf, .. }) => Some(Skimmed::Dictionary(buf)),
                _ => None,
            },
            _ => {
                self.pass(&header, body);
                Some(Skimmed::Data(header))
            }
        })
    }

    /// The next page, decompressed; if it is not compressed, a range of the file.
    pub fn next_page(&mut self) -> Result<Option<Page>> {
        let Some((header, body)) = self.peek()? else {
            return Ok(None);
        };
        let stored = self.view.cut(body, u64::from(header.stored))?.bytes()?;
        if header
            .crc32
            .is_some_and(|crc32| crc32 != crc32fast::hash(&stored))
        {
            return Err(self.corrupt("a page is damaged: its checksum differs"));
        }
        // The levels of this kind of page are not compressed.
        let (levels, packed) = match header.kind {
            Kind::DataV2 {
                definition_bytes,
                repetition_bytes,
                packed,
                ..
            } => (
                u64::from(definition_bytes) + u64::from(repetition_bytes),
                packed,
            ),
            _ => (0, true),
        };
        let unpacked = header.unpacked as usize;
        if levels > stored.len().min(unpacked) as u64 {
            return Err(self.corrupt("the levels of a page are longer than the page"));
        }
        let levels = levels as usize;
        let buf = match &mut self.codec {
            Codec::None => stored,
            _ if !packed => stored,
            // Some codecs write a byte for empty input, such as the dictionary of a column without values.
            _ if unpacked == levels => stored.slice(..levels),
            codec => {
                let mut room = stored[..levels].to_vec();
                let done = codec.unpack(&stored[levels..], unpacked - levels, &mut room);
                done.map_err(|what| self.corrupt(&format!("a page {what}")))?;
                Bytes::from(room)
            }
        };
        if buf.len() != unpacked {
            let what = format!(
                "a page has {} bytes, its header declares {unpacked}",
                buf.len()
            );
            return Err(self.corrupt(&what));
        }
        self.pass(&header, body);
        Ok(Some(page(&header, buf)))
    }
}

fn page(header: &Header, buf: Bytes) -> Page {
    match header.kind {
        Kind::Dictionary { sorted } => Page::DictionaryPage {
            buf,
            num_values: header.values,
            encoding: header.encoding,
            is_sorted: sorted,
        },
        Kind::DataV2 {
            rows,
            nulls,
            definition_bytes,
            repetition_bytes,
            packed,
        } => Page::DataPageV2 {
            buf,
            num_values: header.values,
            encoding: header.encoding,
            num_nulls: nulls,
            num_rows: rows,
            def_levels_byte_len: definition_bytes,
            rep_levels_byte_len: repetition_bytes,
            is_compressed: packed,
            statistics: None,
        },
        Kind::Data | Kind::Other => Page::DataPage {
            buf,
            num_values: header.values,
            encoding: header.encoding,
            def_level_encoding: header.definition_encoding,
            rep_level_encoding: header.repetition_encoding,
            statistics: None,
        },
    }
}

/// Carries our errors through the crate and back: the crate only passes them on.
pub fn outward(error: Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl Iterator for Pages {
    type Item = ::parquet::errors::Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_page().map_err(outward).transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> ::parquet::errors::Result<Option<Page>> {
        self.next_page().map_err(outward)
    }

    fn peek_next_page(&mut self) -> ::parquet::errors::Result<Option<PageMetadata>> {
        let next = self.peek().map_err(outward)?;
        Ok(next.map(|(header, _)| {
            let rows = match header.kind {
                Kind::DataV2 { rows, .. } => Some(rows as usize),
                _ => None,
            };
            let is_dict = matches!(header.kind, Kind::Dictionary { .. });
            PageMetadata {
                num_rows: rows,
                num_levels: (!is_dict).then_some(header.values as usize),
                is_dict,
            }
        }))
    }

    fn skip_next_page(&mut self) -> ::parquet::errors::Result<()> {
        if let Some((header, body)) = self.peek().map_err(outward)? {
            self.pass(&header, body);
        }
        Ok(())
    }
}

/// One row group, from which the crate reads columns.
pub struct Group<'f> {
    pub view: &'f View,
    pub metadata: &'f ParquetMetaData,
    pub number: usize,
}

impl RowGroups for Group<'_> {
    fn num_rows(&self) -> usize {
        self.metadata.row_group(self.number).num_rows() as usize
    }

    fn column_chunks(&self, column: usize) -> ::parquet::errors::Result<Box<dyn PageIterator>> {
        let chunk = self.metadata.row_group(self.number).column(column);
        let pages = Pages::new(self.view, chunk).map_err(outward)?;
        Ok(Box::new(Once(Some(pages))))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.metadata.row_group(self.number)))
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.metadata
    }
}

/// The pages of the only chunk.
struct Once(Option<Pages>);

impl Iterator for Once {
    type Item = ::parquet::errors::Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0
            .take()
            .map(|pages| Ok(Box::new(pages) as Box<dyn PageReader>))
    }
}

impl PageIterator for Once {}
