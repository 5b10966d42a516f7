//! Protocol buffers, a field at a time.
//!
//! A model is not decoded in one go: its weights stay where they are in the file, and a few bytes of a hostile file
//! can ask for a thousand times their size in decoded structures. So messages are walked field by field, the heavy
//! fields are left out, and what is kept is counted.

use std::ops::Range;

use prost::Message;

/// Fields that one message may have. The largest models have some ten thousand nodes.
const MAX_FIELDS: usize = 1 << 20;
/// Messages of one file that are decoded by themselves: an attribute of two bytes takes more than a kilobyte of memory.
const MAX_MESSAGES: usize = 1 << 18;
/// Bytes of one file that are decoded, heavy fields aside: names mostly. Lists of empty entries take some fifty times
/// their size in memory.
const MAX_DECODED: usize = 32 << 20;

/// What may still be decoded of a file.
#[derive(Debug)]
pub struct Budget {
    messages: usize,
    bytes: usize,
}

impl Budget {
    /// For one file.
    pub fn new() -> Self {
        Budget { messages: MAX_MESSAGES, bytes: MAX_DECODED }
    }

    fn take(&mut self, bytes: usize) -> Result<(), String> {
        let spent = |what: usize, unit: &str| format!("has more than {what} {unit} besides its weights");
        self.messages =
            self.messages.checked_sub(1).ok_or_else(|| spent(MAX_MESSAGES, "nodes, attributes and tensors"))?;
        self.bytes = self.bytes.checked_sub(bytes).ok_or_else(|| spent(MAX_DECODED >> 20, "MiB"))?;
        Ok(())
    }
}

/// One field of a message: where its payload lies.
#[derive(Clone, Debug)]
pub struct Field {
    pub number: u32,
    /// The payload, without tag and length.
    pub body: Range<usize>,
    /// Tag, length and payload.
    whole: Range<usize>,
}

/// The fields of the message that lies at `range` of `bytes`.
pub fn fields(bytes: &[u8], range: Range<usize>) -> Result<Vec<Field>, String> {
    let mut found = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let start = at;
        let tag = varint(bytes, &mut at, range.end)?;
        let number = u32::try_from(tag >> 3).map_err(|_| "has a field number that no message has".to_owned())?;
        let length = match tag & 7 {
            0 => {
                let body = at;
                varint(bytes, &mut at, range.end)?;
                found.push(Field { number, body: body..at, whole: start..at });
                continue;
            }
            1 => 8,
            2 => varint(bytes, &mut at, range.end)?,
            5 => 4,
            other => return Err(format!("has a field of wire type {other}, which ONNX files do not have")),
        };
        let end = usize::try_from(length).ok().and_then(|length| at.checked_add(length));
        let Some(end) = end.filter(|&end| end <= range.end) else {
            return Err(format!("ends inside a field: {length} bytes are announced, {} are left", range.end - at));
        };
        if found.len() == MAX_FIELDS {
            return Err(format!("has a message with more than {MAX_FIELDS} fields"));
        }
        found.push(Field { number, body: at..end, whole: start..end });
        at = end;
    }
    Ok(found)
}

fn varint(bytes: &[u8], at: &mut usize, end: usize) -> Result<u64, String> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = match bytes.get(*at) {
            Some(&byte) if *at < end => byte,
            _ => return Err("ends inside a number".to_owned()),
        };
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("has a number of more than 64 bits".to_owned())
}

/// Decodes a message without some of its fields, and gives those fields as they lie in the file.
pub fn decode_without<M: Message + Default>(
    bytes: &[u8],
    range: Range<usize>,
    heavy: &[u32],
    budget: &mut Budget,
) -> Result<(M, Vec<Field>), String> {
    let (left_out, light): (Vec<Field>, Vec<Field>) =
        fields(bytes, range)?.into_iter().partition(|field| heavy.contains(&field.number));
    budget.take(light.iter().map(|field| field.whole.len()).sum())?;
    let mut kept = Vec::new();
    for field in light {
        kept.extend_from_slice(&bytes[field.whole]);
    }
    let message = M::decode(&kept[..]).map_err(|error| format!("is no ONNX file: {error}"))?;
    Ok((message, left_out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::{NodeProto, TensorProto};

    #[test]
    fn heavy_fields_are_left_where_they_are() {
        let tensor = TensorProto { dims: vec![3], raw_data: Some(vec![7; 3]), ..TensorProto::default() };
        let bytes = tensor.encode_to_vec();
        let (light, heavy) = decode_without::<TensorProto>(&bytes, 0..bytes.len(), &[9], &mut Budget::new()).unwrap();
        assert_eq!((light.dims, light.raw_data), (vec![3], None));
        assert_eq!(bytes[heavy[0].body.clone()], [7; 3]);
    }

    #[test]
    fn a_file_has_one_budget() {
        let bytes = [(1 << 3) | 2, 0];
        let mut budget = Budget { messages: 3, bytes: 5 };
        let mut decode = |heavy: &[u32]| decode_without::<NodeProto>(&bytes, 0..2, heavy, &mut budget).map(drop);
        decode(&[]).unwrap();
        decode(&[]).unwrap();
        // What is left out costs no bytes.
        decode(&[1]).unwrap();
        assert!(decode(&[]).unwrap_err().contains("nodes, attributes and tensors"));
        let mut budget = Budget { messages: 3, bytes: 1 };
        let error = decode_without::<NodeProto>(&bytes, 0..2, &[], &mut budget).unwrap_err();
        assert!(error.contains("MiB besides its weights"), "{error}");
    }

    #[test]
    fn a_length_past_the_end_is_an_error_and_no_allocation() {
        let bytes = [(9 << 3) | 2, 0xff, 0xff, 0xff, 0xff, 0x7f, 1];
        assert!(fields(&bytes, 0..bytes.len()).unwrap_err().contains("are left"));
        assert!(fields(&[0x80; 12], 0..12).is_err());
        assert!(fields(&[0x0b], 0..1).is_err());
    }
}
