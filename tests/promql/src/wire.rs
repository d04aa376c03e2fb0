//! Prometheus' remote write, as far as samples need it: protobuf within snappy, both written by hand. It carries timestamps
//! and staleness markers exactly.

use crate::ground::Series;

/// The body of one request: of every series the samples from `from` (included) to `to` (excluded).
pub fn body(all: &[Series], from: i64, to: i64) -> Vec<u8> {
    let mut request = Vec::new();
    for series in all {
        let mut message = Vec::new();
        for (name, value) in series.labels.iter() {
            let mut label = Vec::new();
            bytes(&mut label, 1, name.as_bytes());
            bytes(&mut label, 2, value.as_bytes());
            bytes(&mut message, 1, &label);
        }
        let mut any = false;
        for (at, value) in series.samples.iter().filter(|(at, _)| (from..to).contains(at)) {
            any = true;
            let mut sample = vec![(1 << 3) | 1];
            sample.extend_from_slice(&value.to_bits().to_le_bytes());
            sample.push(2 << 3);
            varint(&mut sample, *at as u64);
            bytes(&mut message, 2, &sample);
        }
        if any {
            bytes(&mut request, 1, &message);
        }
    }
    snappy(&request)
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    out.push((field << 3) | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Valid snappy that compresses nothing: literals only.
fn snappy(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + data.len() / 1000 + 16);
    varint(&mut out, data.len() as u64);
    for chunk in data.chunks(0x1_0000) {
        // 61: the length follows in two bytes, less one.
        out.push(61 << 2);
        out.extend_from_slice(&((chunk.len() - 1) as u16).to_le_bytes());
        out.extend_from_slice(chunk);
    }
    out
}
