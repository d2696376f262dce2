//! What do a file's attributes declare? Notes the ones that make no sense or contradict the data.

use super::kinds::Wish;
use super::table::Table;
use crate::h5::attribute;
use crate::h5::attributes::{self, Encoding, Value};
use crate::schema::{Metric, VectorType};
use crate::source::values::Stored;

/// What attributes declare about the vectors.
pub(super) struct Declared {
    /// The metric, and the attribute and word that declare it.
    metric: Option<(Metric, &'static str, String)>,
    dimension: Option<u64>,
}

impl Declared {
    pub fn of(file: &hdf5::File, notes: &mut Vec<String>) -> Declared {
        let metric_type = text(file, attribute::METRIC, notes).filter(|m| !m.is_empty());
        let metric_type = metric_type.map(|word| {
            let metric = Metric::named(&word).unwrap_or(Metric::Other(word.clone()));
            (metric, attribute::METRIC, word)
        });
        // Other programs may use this attribute for something else: only names of metrics count.
        let word = text(file, attribute::DISTANCE, notes).filter(|word| !word.trim().is_empty());
        let distance = word.and_then(|word| {
            let metric = distance(&word);
            if metric.is_none() {
                notes.push(format!(
                    "the attribute `distance` is `{word}`, which names no metric, and is ignored"
                ));
            }
            Some((metric?, attribute::DISTANCE, word))
        });
        let dimension = dimension(file, notes);
        if let (Some((one, ..)), Some((two, _, word))) = (&metric_type, &distance)
            && one != two
        {
            notes.push(format!(
                "the attribute `metric_type` declares {}, `distance` declares {word}: the former is used",
                one.name()
            ));
        }
        Declared {
            metric: metric_type.or(distance),
            dimension,
        }
    }

    /// What integers mean if the job does not say.
    pub fn wish(&self, vectors: &Table) -> Wish {
        let signed = matches!(
            vectors.stored,
            Stored::Integer {
                bytes: 1,
                signed: true,
                ..
            }
        );
        let components = match (&self.metric, self.dimension, vectors.width) {
            (_, _, None) => false,
            (Some((metric, ..)), ..) if metric.is_binary() => false,
            (_, Some(declared), Some(columns)) => declared == columns,
            // ann-benchmarks writes this in every file; we write it only if components are signed bytes.
            (Some((_, attribute::DISTANCE, _)), None, _) => signed,
            (Some(_), None, _) => true,
            (None, None, _) => false,
        };
        Wish::AsTheFileSays { components }
    }

    /// The metric, if it can measure these vectors; notes contradictions.
    pub fn metric(
        self,
        vectors: &Table,
        vector: VectorType,
        wish: Wish,
        notes: &mut Vec<String>,
    ) -> Option<Metric> {
        if let Some(declared) = self.dimension.filter(|d| *d != u64::from(vector.dimension)) {
            notes.push(format!(
                "the attribute `dimension` declares {declared}, the vectors have {}",
                vector.dimension
            ));
        }
        let binary = |metric: &Metric| metric.is_binary();
        let says_binary = self.metric.as_ref().is_some_and(|(m, ..)| binary(m))
            || self.dimension == Some(u64::from(vector.dimension));
        let bytes = matches!(
            vectors.stored,
            Stored::Integer {
                bytes: 1,
                signed: false,
                ..
            }
        );
        let whole = matches!(vectors.stored, Stored::Integer { .. });
        let asked = !matches!(wish, Wish::AsTheFileSays { .. });
        let misfit = matches!(&self.metric, Some((m, attribute::DISTANCE, _)) if binary(m) != vector.is_binary());
        let taken_for_bits = vector.is_binary() && whole && !asked && !(bytes && says_binary);
        if let (true, false, Some((_, key, word))) = (misfit, taken_for_bits, &self.metric) {
            let kind = if vector.is_binary() {
                "binary"
            } else {
                "float"
            };
            notes.push(format!(
                "the attribute `{key}` declares {word}, which does not measure {kind} vectors, and is ignored"
            ));
        }
        if taken_for_bits {
            let but = match &self.metric {
                Some((_, key, word)) if misfit => {
                    format!(", though the attribute `{key}` declares {word}")
                }
                _ => String::new(),
            };
            notes.push(format!(
                "`{}` holds {}{but}: each value is read as a byte of a binary vector, 8 bits; if the values are \
                 components, `as: float32` in the source carries them as floats",
                vectors.name,
                vectors.stored.name()
            ));
        }
        // A metric for numbers would be refused for bits or, worse, accepted.
        let fits = self.metric.filter(|_| !misfit);
        fits.map(|(metric, ..)| metric)
    }
}

/// The dimension that the file gives. `None` if it has no value, or if it is no dimension, which is noted.
fn dimension(file: &hdf5::File, notes: &mut Vec<String>) -> Option<u64> {
    let value = attributes::read(file, attribute::DIMENSION)?;
    let number = match &value {
        Value::Empty => return None,
        Value::Text(text, _) if text.trim().is_empty() => return None,
        Value::Whole(number) => u64::try_from(*number).ok(),
        // Programs write attributes with all types of numbers.
        Value::Text(text, _) => text.trim().parse().ok(),
        Value::Float(number) if number.fract() == 0.0 && (0.0..1e9).contains(number) => {
            Some(*number as u64)
        }
        Value::Float(_) | Value::Other(_) => None,
    };
    let number = number.filter(|number| *number > 0);
    if number.is_none() {
        notes.push(format!(
            "the attribute `dimension` is not a whole number above 0, and is ignored: {value}"
        ));
    }
    number
}

/// The metric that a word of ann-benchmarks means, or a word that others are known to write there.
fn distance(word: &str) -> Option<Metric> {
    Some(match word.to_ascii_lowercase().as_str() {
        "euclidean" | "l2" => Metric::L2,
        "angular" | "cosine" => Metric::Cosine,
        "ip" | "dot" | "inner_product" | "inner product" => Metric::Ip,
        "hamming" => Metric::Hamming,
        "jaccard" => Metric::Jaccard,
        _ => return None,
    })
}

/// A text attribute of the file. `None` if it has no value, or if it is no text, which is noted.
pub(super) fn text(file: &hdf5::File, name: &str, notes: &mut Vec<String>) -> Option<String> {
    match attributes::read(file, name)? {
        Value::Text(text, Encoding::Utf8) => Some(text),
        Value::Text(text, Encoding::Replaced) => {
            notes.push(format!(
                "the attribute `{name}` is not UTF-8: it is read as `{text}`"
            ));
            Some(text)
        }
        Value::Empty => None,
        other => {
            notes.push(format!(
                "the attribute `{name}` is not text, and is ignored: {other}"
            ));
            None
        }
    }
}
