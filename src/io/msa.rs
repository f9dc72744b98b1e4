//! EMSA/MSA spectra, of the standard of 1991 and of ISO 22029:2022.
//!
//! Lines `#KEYWORD : value`, then numbers, one or several a line, from `#SPECTRUM` to `#ENDOFDATA`. Data type `Y` has
//! the values, `XY` pairs of abscissa and value. Channel i stands at `OFFSET + i · XPERCHAN`.
//!
//! # References
//! - R. F. Egerton et al., "EMSA/MAS standard format for spectral-data exchange", EMSA Bulletin 21 (1991) 35.
//! - ISO 22029:2022.

use crate::error::Error;
use crate::io::array::Array;
use crate::io::axis::Axis;
use crate::io::bytes::{Bytes, latin1};
use crate::io::data_file::{Contents, OpenParams, Set, SetInfo, Store};
use crate::io::meta::Meta;
use crate::shape::try_reserved;
use crate::tensor::Tensor;
use crate::units::Energy;

pub(crate) fn recognise(head: &[u8]) -> bool {
    let text = latin1(&head[..head.len().min(256)]).to_ascii_uppercase();
    text.trim_start_matches('\u{feff}').trim_start().starts_with("#FORMAT")
        && (text.contains("EMSA/MAS") || text.contains("ISO 22029") || text.contains("MSA"))
}

pub(crate) fn read(bytes: &Bytes, params: &OpenParams) -> Result<Contents, Error> {
    let len = usize::try_from(bytes.len()).unwrap_or(usize::MAX);
    // A number takes at least two characters.
    params.limits.check((len as u64).saturating_mul(5))?;
    let text = latin1(&bytes.head(0, len)?);
    let wrong = |line: usize, reason: String| Error::format("msa", bytes.path(), 0, format!("line {line}: {reason}"));
    let mut entries: Vec<(String, Meta)> = Vec::new();
    let mut values: Vec<f64> = try_reserved(len.min(1 << 20) / 4)?;
    let mut numbers = false;
    for (k, line) in text.lines().enumerate() {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix('#') {
            let (key, value) = rest.split_once(':').unwrap_or((rest, ""));
            // A unit may follow the keyword: `BEAMKV   -kV`.
            let (name, unit) = key.split_once(" -").or_else(|| key.split_once('-')).unwrap_or((key, ""));
            let name = name.trim().to_ascii_uppercase();
            match name.as_str() {
                "SPECTRUM" => {
                    numbers = true;
                    continue;
                }
                "ENDOFDATA" => break,
                _ => {}
            }
            let name = if unit.trim().is_empty() { name } else { format!("{name} -{}", unit.trim()) };
            let value = Meta::guess_number(value);
            // A keyword that comes twice: the last counts.
            match entries.iter_mut().find(|(n, _)| *n == name) {
                Some(entry) => entry.1 = value,
                None => entries.push((name, value)),
            }
        } else if numbers {
            for word in line.split([',', ' ', '\t', ';']).filter(|w| !w.is_empty()) {
                let v = word.parse::<f64>().map_err(|_| wrong(k + 1, format!("{word:?} is no number")))?;
                values.push(v);
            }
        }
    }
    if !numbers {
        return Err(wrong(text.lines().count(), "there is no #SPECTRUM".into()));
    }

    let metadata = Meta::Map(entries);
    let word = |name: &str| metadata.text(name).unwrap_or("").trim().to_string();
    let pairs = word("DATATYPE").eq_ignore_ascii_case("XY");
    let columns = metadata.number("NCOLUMNS").unwrap_or(1.0);
    if pairs {
        if !values.len().is_multiple_of(2) {
            return Err(wrong(0, format!("{} numbers are no pairs", values.len())));
        }
        values = values.chunks_exact(2).map(|p| p[1]).collect();
    }
    // The number of points says where padding of the last line begins.
    if let Some(points) = metadata.number("NPOINTS") {
        let points = if (0.0..1e15).contains(&points) { points as usize } else { 0 };
        if points > values.len() || (values.len() - points) as f64 >= columns.max(2.0) {
            return Err(wrong(0, format!("{} values, NPOINTS is {points}", values.len())));
        }
        values.truncate(points);
    }
    let scale = metadata.number("XPERCHAN").filter(|v| *v != 0.0).unwrap_or(1.0);
    let axis = Axis::new(word("XLABEL"), values.len(), scale, metadata.number("OFFSET").unwrap_or(0.0), word("XUNITS"));
    let mut info = SetInfo::new(word("TITLE"), "f64", vec![axis]);
    info.energy =
        metadata.number("BEAMKV -kV").or_else(|| metadata.number("BEAMKV")).filter(|v| *v > 0.0).map(Energy::kev);
    info.metadata = metadata.clone();
    let array = Array::F64(Tensor::from_vec(&[values.len()], values)?);
    Ok(Contents { format: "msa", sets: vec![Set::new(info, Store::Memory(array))], metadata })
}
