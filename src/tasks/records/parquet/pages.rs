//! Pages of a Parquet file, taken apart within bounds.
//!
//! What a page's header says of its size and of its number of values is believed by the library, which makes room for it or
//! unpacks until memory ends. So the library is told that nothing is compressed, and pages are unpacked here, no further
//! than a page may go; numbers of values are looked at where the library would make room for as many.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use parquet::basic::{Compression, Encoding, Type as Physical};
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::reader::{FileReader, RowGroupReader};
use parquet::file::serialized_reader::{SerializedFileReader, SerializedPageReader};
use parquet::record::reader::RowIter;
use parquet::schema::types::{ColumnDescPtr, Type};

/// What a page may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of a page when it is unpacked. Writers make pages of about a mebibyte.
    pub page: usize,
    /// Bytes of a dictionary; its values are held apart, at up to eight times their size.
    pub dictionary: usize,
    /// Bytes of a page of DELTA_BYTE_ARRAY: a thousand values are made at once, each as long as the page if it says so.
    pub prefixes: usize,
    /// Values of a page.
    pub values: u64,
}

pub const BOUNDS: Bounds = Bounds { page: 256 << 20, dictionary: 64 << 20, prefixes: 2 << 20, values: 1 << 24 };

/// A file whose pages are unpacked within bounds.
pub struct Bounded {
    file: Arc<File>,
    metadata: ParquetMetaData,
    bounds: Bounds,
}

impl Bounded {
    /// # Errors
    /// Where the file has no sound description of itself.
    pub fn open(file: File, bounds: Bounds) -> Result<Bounded> {
        let metadata = SerializedFileReader::new(file.try_clone()?)?.metadata().clone();
        Ok(Bounded { file: Arc::new(file), metadata, bounds })
    }
}

impl FileReader for Bounded {
    fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }

    fn num_row_groups(&self) -> usize {
        self.metadata.num_row_groups()
    }

    fn get_row_group(&self, i: usize) -> Result<Box<dyn RowGroupReader + '_>> {
        Ok(Box::new(Group { of: self, metadata: self.metadata.row_group(i) }))
    }

    fn get_row_iter(&self, projection: Option<Type>) -> Result<RowIter<'_>> {
        RowIter::from_file(projection, self)
    }
}

struct Group<'a> {
    of: &'a Bounded,
    metadata: &'a RowGroupMetaData,
}

impl RowGroupReader for Group<'_> {
    fn metadata(&self) -> &RowGroupMetaData {
        self.metadata
    }

    fn num_columns(&self) -> usize {
        self.metadata.num_columns()
    }

    fn get_column_page_reader(&self, i: usize) -> Result<Box<dyn PageReader>> {
        let column = self.metadata.column(i);
        let packing = column.compression();
        let raw = column.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()?;
        let rows = usize::try_from(self.metadata.num_rows())?;
        let inner = SerializedPageReader::new(Arc::clone(&self.of.file), &raw, rows, None)?;
        let unpacker = Unpacker { packing, column: column.column_descr_ptr(), bounds: self.of.bounds };
        Ok(Box::new(Pages { inner, unpacker }))
    }

    fn get_column_bloom_filter(&self, _: usize) -> Option<&Sbbf> {
        None
    }

    fn get_row_iter(&self, projection: Option<Type>) -> Result<RowIter<'_>> {
        RowIter::from_row_group(projection, self)
    }
}

/// The pages of one column of a row group.
struct Pages {
    /// Told that they are not packed.
    inner: SerializedPageReader<File>,
    unpacker: Unpacker,
}

struct Unpacker {
    packing: Compression,
    column: ColumnDescPtr,
    bounds: Bounds,
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        match self.inner.get_next_page()? {
            Some(page) => self.unpacker.unpacked(page).map(Some),
            None => Ok(None),
        }
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.inner.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.inner.skip_next_page()
    }
}

impl Unpacker {
    fn unpacked(&self, mut page: Page) -> Result<Page> {
        let bounds = self.bounds;
        match &mut page {
            Page::DictionaryPage { buf, num_values, .. } => {
                *buf = unpack(self.packing, buf, bounds.dictionary)?.into();
                // Room is made for as many as the header says, and none is shorter than this.
                let shortest = match self.column.physical_type() {
                    Physical::FIXED_LEN_BYTE_ARRAY => usize::try_from(self.column.type_length())?.max(1),
                    _ => 4,
                };
                if *num_values as usize > buf.len() / shortest {
                    return Err(broken(format!("a dictionary of {} bytes cannot have {num_values} values", buf.len())));
                }
            }
            Page::DataPage { buf, num_values, encoding, def_level_encoding, rep_level_encoding, .. } => {
                bounded_count((*num_values).into(), bounds)?;
                *buf = unpack(self.packing, buf, bounds.page)?.into();
                if is_delta(*encoding) {
                    let mut levels = 0;
                    let of_levels = [
                        (self.column.max_rep_level(), *rep_level_encoding),
                        (self.column.max_def_level(), *def_level_encoding),
                    ];
                    for (_, encoding) in of_levels.into_iter().filter(|(most, _)| *most > 0) {
                        let rest = buf.get(levels..).unwrap_or_default();
                        levels = levels.saturating_add(level_bytes(encoding, rest)?);
                    }
                    check_delta(*encoding, buf.get(levels..), (*num_values).into(), bounds)?;
                }
            }
            Page::DataPageV2 {
                buf,
                num_values,
                encoding,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed,
                ..
            } => {
                bounded_count((*num_values).into(), bounds)?;
                let levels = *def_levels_byte_len as usize + *rep_levels_byte_len as usize;
                let (Some(before), Some(values)) = (buf.get(..levels), buf.get(levels..)) else {
                    return Err(broken("a page is shorter than its levels".to_owned()));
                };
                if *is_compressed {
                    let mut whole = before.to_vec();
                    whole.append(&mut unpack(self.packing, values, bounds.page)?);
                    *buf = whole.into();
                }
                if is_delta(*encoding) {
                    check_delta(*encoding, buf.get(levels..), (*num_values).into(), bounds)?;
                }
            }
        }
        Ok(page)
    }
}

fn broken(what: String) -> ParquetError {
    ParquetError::General(what)
}

fn bounded_count(values: u64, bounds: Bounds) -> Result<()> {
    if values > bounds.values {
        return Err(broken(format!("a page says that it has {values} values; at most {} are read", bounds.values)));
    }
    Ok(())
}

/// The bytes of a page, at most `most` of them.
fn unpack(packing: Compression, packed: &[u8], most: usize) -> Result<Vec<u8>> {
    let too_long = || {
        let bound = if most >= 1 << 20 { format!("{} MiB", most >> 20) } else { format!("{most} bytes") };
        broken(format!("a page is longer than {bound} when it is unpacked; write the file with smaller pages"))
    };
    let read = |unpacker: &mut dyn Read| {
        let mut bytes = Vec::new();
        unpacker.take(most as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > most { Err(too_long()) } else { Ok(bytes) }
    };
    if packed.is_empty() {
        // A page without values; not every packing has nothing for nothing.
        return Ok(Vec::new());
    }
    match packing {
        Compression::UNCOMPRESSED if packed.len() > most => Err(too_long()),
        Compression::UNCOMPRESSED => Ok(packed.to_vec()),
        // The length stands in front, and may be as wrong as anything else.
        Compression::SNAPPY => match snap::raw::decompress_len(packed) {
            Ok(length) if length > most => Err(too_long()),
            Ok(_) => snap::raw::Decoder::new().decompress_vec(packed).map_err(|error| broken(error.to_string())),
            Err(error) => Err(broken(error.to_string())),
        },
        Compression::GZIP(_) => read(&mut flate2::read::MultiGzDecoder::new(packed)),
        Compression::ZSTD(_) => {
            let mut unpacker = zstd::Decoder::with_buffer(packed)?;
            // A window of as much memory is asked for before the first byte comes out.
            unpacker.window_log_max(27)?;
            read(&mut unpacker)
        }
        other => {
            let name = other.to_string().to_lowercase();
            let name = name.split('(').next().unwrap_or_default();
            Err(broken(format!(
                "its pages are packed with {name}, which is not read; write it with snappy, zstd or gzip"
            )))
        }
    }
}

fn is_delta(encoding: Encoding) -> bool {
    matches!(encoding, Encoding::DELTA_LENGTH_BYTE_ARRAY | Encoding::DELTA_BYTE_ARRAY)
}

/// How many bytes the levels at the start of a page's first version take.
fn level_bytes(encoding: Encoding, rest: &[u8]) -> Result<usize> {
    match (encoding, rest.first_chunk::<4>()) {
        (Encoding::RLE, Some(length)) => Ok(4 + u32::from_le_bytes(*length) as usize),
        _ => Err(broken(format!("levels of a page cannot be read ({encoding})"))),
    }
}

/// Whether lengths that are packed as differences are no more than the page has values: the library makes room for as many
/// as they say.
fn check_delta(encoding: Encoding, values: Option<&[u8]>, count: u64, bounds: Bounds) -> Result<()> {
    let values = values.ok_or_else(|| broken("a page is shorter than its levels".to_owned()))?;
    if encoding == Encoding::DELTA_BYTE_ARRAY && values.len() > bounds.prefixes {
        let bound = bounds.prefixes >> 20;
        return Err(broken(format!(
            "a page of prefixes (DELTA_BYTE_ARRAY) is longer than {bound} MiB; write the file with smaller pages"
        )));
    }
    let lengths = delta_end(values, count)?;
    if encoding == Encoding::DELTA_BYTE_ARRAY {
        delta_end(values.get(lengths..).unwrap_or_default(), count)?;
    }
    Ok(())
}

/// Where a block of differences ends (DELTA_BINARY_PACKED of Parquet's format), of at most `most` numbers.
fn delta_end(bytes: &[u8], most: u64) -> Result<usize> {
    let cut_off = || broken("a page ends in the middle of its lengths".to_owned());
    let mut at = 0;
    let mut number = || number_at(bytes, &mut at).ok_or_else(cut_off);
    let (block, parts, count) = (number()?, number()?, number()?);
    number()?;
    if count > most {
        return Err(broken(format!("a page of {most} values says that it has {count} lengths")));
    }
    let each = block.checked_div(parts).filter(|each| each.is_multiple_of(32) && (32..=1 << 20).contains(each));
    let (Some(each), Ok(parts)) = (each, usize::try_from(parts)) else {
        return Err(broken("the lengths of a page are in blocks that there are not".to_owned()));
    };
    let mut left = count.saturating_sub(1);
    while left > 0 {
        // The least difference, the width of each part, and the parts; those after the last number are not there.
        number_at(bytes, &mut at).ok_or_else(cut_off)?;
        let widths = bytes.get(at..at.saturating_add(parts)).ok_or_else(cut_off)?;
        at += parts;
        for width in widths {
            if left == 0 {
                break;
            }
            at = at.saturating_add(usize::from(*width) * each as usize / 8);
            left = left.saturating_sub(each);
        }
    }
    Ok(at)
}

/// The number of seven bits a byte that begins there; `at` is then behind it.
fn number_at(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use parquet::basic::{GzipLevel, ZstdLevel};
    use parquet::data_type::{ByteArray, ByteArrayType};
    use parquet::file::properties::{WriterProperties, WriterVersion};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    const SMALL: Bounds = Bounds { page: 1 << 20, dictionary: 1 << 20, prefixes: 1 << 20, values: 1 << 20 };

    fn packings() -> [Compression; 4] {
        let (gzip, zstd) = (GzipLevel::default(), ZstdLevel::default());
        [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::GZIP(gzip), Compression::ZSTD(zstd)]
    }

    /// A column of texts that may be absent.
    fn written(texts: &[Option<String>], properties: WriterProperties) -> File {
        let schema = Arc::new(parse_message_type("message m { OPTIONAL BYTE_ARRAY text (UTF8); }").unwrap());
        let file = tempfile::tempfile().unwrap();
        let mut writer = SerializedFileWriter::new(file.try_clone().unwrap(), schema, Arc::new(properties)).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let levels: Vec<i16> = texts.iter().map(|text| i16::from(text.is_some())).collect();
        let there: Vec<ByteArray> = texts.iter().flatten().map(|text| ByteArray::from(text.as_str())).collect();
        column.typed::<ByteArrayType>().write_batch(&there, Some(&levels), None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
        writer.close().unwrap();
        file
    }

    fn read(file: File, bounds: Bounds) -> Result<Vec<Option<String>>> {
        let rows = RowIter::from_file_into(Box::new(Bounded::open(file, bounds)?));
        let text = |row: parquet::record::Row| match row.get_column_iter().next().unwrap().1 {
            parquet::record::Field::Str(text) => Some(text.clone()),
            _ => None,
        };
        rows.map(|row| row.map(text)).collect()
    }

    #[test]
    fn every_packing_and_encoding_comes_out_as_it_went_in() {
        let texts: Vec<Option<String>> =
            (0..3000).map(|i| (i % 7 != 0).then(|| format!("text {} and {}", i % 50, "x".repeat(i % 13)))).collect();
        for packing in packings() {
            for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
                for encoding in [None, Some(Encoding::DELTA_LENGTH_BYTE_ARRAY), Some(Encoding::DELTA_BYTE_ARRAY)] {
                    let properties = WriterProperties::builder().set_compression(packing).set_writer_version(version);
                    let properties = match encoding {
                        None => properties,
                        Some(encoding) => properties.set_dictionary_enabled(false).set_encoding(encoding),
                    };
                    let properties = properties.set_data_page_row_count_limit(1000).build();
                    assert_eq!(
                        read(written(&texts, properties), SMALL).unwrap(),
                        texts,
                        "{packing} {version:?} {encoding:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_page_is_unpacked_no_further_than_it_may_go() {
        let long = [Some("a".repeat(3 << 20))];
        for packing in packings() {
            for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
                for dictionary in [true, false] {
                    let properties = WriterProperties::builder()
                        .set_compression(packing)
                        .set_writer_version(version)
                        .set_dictionary_enabled(dictionary);
                    let error = read(written(&long, properties.build()), SMALL).unwrap_err().to_string();
                    assert!(error.contains("longer than 1 MiB"), "{packing} {version:?}: {error}");
                }
            }
        }
    }

    #[test]
    fn a_page_of_nothing_is_empty_in_every_packing() {
        for packing in packings() {
            assert!(unpack(packing, &[], 10).unwrap().is_empty(), "{packing}");
            assert_eq!(packing == Compression::UNCOMPRESSED, unpack(packing, &[1, 2, 3], 10).is_ok(), "{packing}");
        }
    }

    #[test]
    fn no_room_is_made_for_what_a_page_only_claims() {
        let file = Bounded::open(written(&[Some("a".into())], WriterProperties::default()), SMALL).unwrap();
        let column = file.metadata.row_group(0).column(0).column_descr_ptr();
        let unpacker = Unpacker { packing: Compression::UNCOMPRESSED, column, bounds: SMALL };
        let dictionary = |num_values| Page::DictionaryPage {
            buf: vec![0; 40].into(),
            num_values,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        assert!(unpacker.unpacked(dictionary(10)).is_ok());
        assert!(unpacker.unpacked(dictionary(11)).is_err());
        let data = |encoding, num_values, bytes: &[u8]| Page::DataPage {
            // No level: the column's are optional, so their four bytes of length come first.
            buf: [&[0; 4], bytes].concat().into(),
            num_values,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        let encoding = Encoding::DELTA_LENGTH_BYTE_ARRAY;
        // Blocks of 128 in 4 parts, one number, which is 0.
        let one = [0x80, 1, 4, 1, 0];
        assert!(unpacker.unpacked(data(encoding, 1, &one)).is_ok());
        assert!(unpacker.unpacked(data(encoding, 2 << 20, &one)).is_err(), "more values than a page has");
        // As many as 2^35 numbers.
        assert!(unpacker.unpacked(data(encoding, 1, &[0x80, 1, 4, 0x80, 0x80, 0x80, 0x80, 0x80, 1, 0])).is_err());
        let twice = [one, one].concat();
        assert!(unpacker.unpacked(data(Encoding::DELTA_BYTE_ARRAY, 1, &twice)).is_ok());
        assert!(
            unpacker.unpacked(data(Encoding::DELTA_BYTE_ARRAY, 1, &[&one[..], &[0x80, 1, 4, 2, 0]].concat())).is_err()
        );
        assert!(unpacker.unpacked(data(Encoding::DELTA_BYTE_ARRAY, 1, &vec![0; 2 << 20])).is_err());
        for length in 0..one.len() {
            assert!(unpacker.unpacked(data(encoding, 1, &one[..length])).is_err(), "cut off at {length}");
        }
    }
}
