//! The library's own calls that the `hdf5` crate does not wrap. Unsafe room 3.
//! One call per block, each under the library's lock; never keeps a pointer.

#![allow(unsafe_code)]

use std::ffi::c_char;

use hdf5::datatype::Datatype;
use hdf5::{Dataset, Location};
use hdf5_sys::h5::{H5_index_t, H5_iter_order_t, herr_t, hsize_t};
use hdf5_sys::h5a::H5Aget_name_by_idx;
use hdf5_sys::h5d::{H5Dget_chunk_info_by_coord, H5Dread, H5Dread_chunk, H5Dwrite_chunk};
use hdf5_sys::h5i::hid_t;
use hdf5_sys::h5l::H5Lget_name_by_idx;
use hdf5_sys::h5p::H5P_DEFAULT;
use hdf5_sys::h5r::{H5R_type_t, H5Rcreate};
use hdf5_sys::h5t::{
    H5T_class_t, H5T_sign_t, H5Tget_class, H5Tget_ebias, H5Tget_fields, H5Tget_offset,
    H5Tget_precision, H5Tget_sign, H5Tis_variable_str,
};

/// Hands a finished chunk to the library: `offset` is its first element in each dimension, `mask` the filters
/// that were left out.
pub fn write_chunk(dataset: &Dataset, offset: &[u64], mask: u32, bytes: &[u8]) -> hdf5::Result<()> {
    assert_eq!(offset.len(), dataset.ndim(), "the library reads that many");
    hdf5::sync::sync(|| {
        // SAFETY: the dataset is open as long as it is borrowed; `offset` has as many elements as it has
        // dimensions (asserted above); the library reads `bytes.len()` bytes and keeps neither pointer.
        let status = unsafe {
            H5Dwrite_chunk(
                dataset.id(),
                H5P_DEFAULT,
                mask,
                offset.as_ptr(),
                bytes.len(),
                bytes.as_ptr().cast(),
            )
        };
        hdf5::h5check(status).map(|_| ())
    })
}

/// A stored chunk: where it is, how long it is, and which filters were left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// Its first byte in the file.
    pub at: u64,
    /// Its length as stored.
    pub bytes: u64,
    /// A bit for each filter that was left out.
    pub mask: u32,
}

/// Looks up the chunk whose first element is `offset`; `None` when it was never written.
///
/// Libraries before 1.14 walk the whole index for it.
pub fn find_chunk(dataset: &Dataset, offset: &[u64]) -> hdf5::Result<Option<Chunk>> {
    assert_eq!(offset.len(), dataset.ndim(), "the library reads that many");
    let (mut mask, mut at, mut bytes) = (0, 0, 0);
    let status = hdf5::sync::sync(|| {
        // SAFETY: the dataset is open as long as it is borrowed; `offset` has as many elements as it has
        // dimensions (asserted above); the other pointers are to locals of the types asked for.
        let status = unsafe {
            H5Dget_chunk_info_by_coord(
                dataset.id(),
                offset.as_ptr(),
                &mut mask,
                &mut at,
                &mut bytes,
            )
        };
        hdf5::h5check(status).map(|_| ())
    });
    // The library's word for an address that is not defined.
    let defined = at != u64::MAX && bytes > 0;
    status.map(|()| defined.then_some(Chunk { at, bytes, mask }))
}

unsafe extern "C" {
    // In the library since 1.10.2; hdf5-metno-sys does not declare it.
    fn H5Dget_chunk_storage_size(
        dataset: hid_t,
        offset: *const hsize_t,
        chunk_bytes: *mut hsize_t,
    ) -> herr_t;
}

/// A stored chunk as it is, and the filters that were left out; `None` when it was never written.
pub fn read_chunk(dataset: &Dataset, offset: &[u64]) -> hdf5::Result<Option<(u32, Vec<u8>)>> {
    assert_eq!(offset.len(), dataset.ndim(), "the library reads that many");
    hdf5::sync::sync(|| {
        let mut bytes = 0;
        // SAFETY: the dataset is open as long as it is borrowed; `offset` has as many elements as it has
        // dimensions (asserted above); the other pointer is to a local of the type asked for.
        let status =
            unsafe { H5Dget_chunk_storage_size(dataset.id(), offset.as_ptr(), &mut bytes) };
        hdf5::h5check(status)?;
        if bytes == 0 {
            return Ok(None);
        }
        let mut to = vec![0u8; usize::try_from(bytes).map_err(|e| e.to_string())?];
        let (mut mask, mut room) = (0, to.len());
        // SAFETY: as above; `to` has the chunk's length, asked for above under the same lock, and the library is told so.
        let status = unsafe {
            H5Dread_chunk(
                dataset.id(),
                H5P_DEFAULT,
                offset.as_ptr(),
                &mut mask,
                to.as_mut_ptr().cast(),
                &mut room,
            )
        };
        hdf5::h5check(status).map(|_| Some((mask, to)))
    })
}

/// Reads rows through the library, filters undone, as the bytes of the file's own type. `row_bytes` is the
/// length of a row; the type must be of fixed length.
pub fn read_rows(dataset: &Dataset, first: u64, row_bytes: u64, to: &mut [u8]) -> hdf5::Result<()> {
    hdf5::sync::sync(|| {
        let (dtype, shape) = (dataset.dtype()?, dataset.shape());
        let elements: usize = shape.iter().skip(1).product();
        let rows = to.len() as u64 / row_bytes.max(1);
        let fits = elements as u64 * dtype.size() as u64 == row_bytes
            && rows * row_bytes == to.len() as u64
            && !facts(&dtype)?.variable;
        if !fits || shape.is_empty() {
            return Err(format!("rows are not {row_bytes} bytes long").into());
        }
        let mut counts = shape.clone();
        counts[0] = rows as usize;
        let memory = hdf5::Dataspace::try_new(counts.clone())?;
        let slabs = counts.iter().enumerate().map(|(i, count)| {
            let start = if i == 0 { first as usize } else { 0 };
            hdf5::SliceOrIndex::SliceCount {
                start,
                step: 1,
                count: *count,
                block: 1,
            }
        });
        let slabs: Vec<_> = slabs.collect();
        let there = dataset.space()?.select(hdf5::Hyperslab::from(slabs))?;
        // SAFETY: all handles are open as long as they are held here; the type is of fixed length (checked
        // above), and `to` has room for as many elements as the memory space has (rows × row_bytes, above).
        let status = unsafe {
            H5Dread(
                dataset.id(),
                dtype.id(),
                memory.id(),
                there.id(),
                H5P_DEFAULT,
                to.as_mut_ptr().cast(),
            )
        };
        hdf5::h5check(status).map(|_| ())
    })
}

/// The address of a dataset's object header, counted from the end of the file's user block.
pub fn address(dataset: &Dataset) -> hdf5::Result<u64> {
    let mut address = 0u64;
    hdf5::sync::sync(|| {
        // SAFETY: an object reference is 8 bytes (hobj_ref_t), which is what the pointer is to; the name is a
        // C string; the space is not looked at for object references.
        let status = unsafe {
            H5Rcreate(
                (&raw mut address).cast(),
                dataset.id(),
                c".".as_ptr(),
                H5R_type_t::H5R_OBJECT1,
                -1,
            )
        };
        hdf5::h5check(status).map(|_| address)
    })
}

type NameOf = unsafe extern "C" fn(
    hid_t,
    *const c_char,
    H5_index_t,
    H5_iter_order_t,
    hsize_t,
    *mut c_char,
    usize,
    hid_t,
) -> isize;

/// The first names of a group's members. The crate's way to them makes an enum of the link's kind, which a damaged
/// file may say anything for.
pub fn members(group: &Location, most: usize) -> Vec<String> {
    names(group, most, H5Lget_name_by_idx)
}

/// The first names of an object's attributes. The crate's way to them makes an enum of their encoding, in the same way.
pub fn attributes(object: &Location, most: usize) -> Vec<String> {
    names(object, most, H5Aget_name_by_idx)
}

fn names(of: &Location, most: usize, name_of: NameOf) -> Vec<String> {
    let mut names = Vec::new();
    while names.len() < most {
        let mut room = [0u8; 4096];
        let len = hdf5::sync::sync(|| {
            // SAFETY: the object is open as long as it is borrowed; both functions write at most as many bytes as
            // `room` has, and keep no pointer; "." is a C string.
            unsafe {
                name_of(
                    of.id(),
                    c".".as_ptr(),
                    H5_index_t::H5_INDEX_NAME,
                    H5_iter_order_t::H5_ITER_INC,
                    names.len() as hsize_t,
                    room.as_mut_ptr().cast(),
                    room.len(),
                    H5P_DEFAULT,
                )
            }
        });
        // It fails behind the last one.
        let Ok(len) = usize::try_from(len) else { break };
        let name = &room[..len.min(room.len() - 1)];
        names.push(String::from_utf8_lossy(name).into_owned());
    }
    names
}

/// What a type is, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// Its class.
    pub class: Class,
    /// Whether values have lengths of their own.
    pub variable: bool,
    /// Integers: whether they have a sign.
    pub signed: bool,
    /// Bits in use, and the first of them.
    pub precision: usize,
    /// The first bit in use.
    pub offset: i32,
    /// Floats: positions and sizes of sign, exponent and mantissa, and the exponent's bias.
    pub float: Option<[usize; 6]>,
}

/// Classes of types.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Whole numbers.
    Integer,
    /// Floating-point numbers.
    Float,
    /// Text.
    String,
    /// Bytes without a meaning.
    Opaque,
    /// Named numbers; Python's booleans.
    Enum,
    /// All others, by HDF5's name.
    Other(&'static str),
}

/// What a type is.
pub fn facts(dtype: &Datatype) -> hdf5::Result<Facts> {
    hdf5::sync::sync(|| {
        let id = dtype.id();
        // SAFETY: the type is open as long as it is borrowed.
        let class = match unsafe { H5Tget_class(id) } {
            H5T_class_t::H5T_INTEGER => Class::Integer,
            H5T_class_t::H5T_FLOAT => Class::Float,
            H5T_class_t::H5T_STRING => Class::String,
            H5T_class_t::H5T_OPAQUE => Class::Opaque,
            H5T_class_t::H5T_ENUM => Class::Enum,
            H5T_class_t::H5T_TIME => Class::Other("time"),
            H5T_class_t::H5T_BITFIELD => Class::Other("bitfield"),
            H5T_class_t::H5T_COMPOUND => Class::Other("compound"),
            H5T_class_t::H5T_REFERENCE => Class::Other("reference"),
            H5T_class_t::H5T_VLEN => Class::Other("variable-length"),
            H5T_class_t::H5T_ARRAY => Class::Other("array"),
            _ => Class::Other("unknown"),
        };
        let mut facts = Facts {
            class,
            variable: class == Class::Other("variable-length"),
            signed: false,
            precision: 0,
            offset: 0,
            float: None,
        };
        if class == Class::String {
            // SAFETY: as above; the type is a string.
            facts.variable = unsafe { H5Tis_variable_str(id) } != 0;
        }
        if matches!(class, Class::Integer | Class::Float) {
            // SAFETY: as above; the type is a number.
            facts.precision = unsafe { H5Tget_precision(id) };
            // SAFETY: as above.
            facts.offset = unsafe { H5Tget_offset(id) };
        }
        if class == Class::Integer {
            // SAFETY: as above; the type is an integer.
            facts.signed = unsafe { H5Tget_sign(id) } != H5T_sign_t::H5T_SGN_NONE;
        }
        if class == Class::Float {
            let [
                mut sign,
                mut exponent,
                mut exponent_bits,
                mut mantissa,
                mut mantissa_bits,
            ] = [0usize; 5];
            // SAFETY: as above; the pointers are to locals of the types asked for.
            let status = unsafe {
                H5Tget_fields(
                    id,
                    &mut sign,
                    &mut exponent,
                    &mut exponent_bits,
                    &mut mantissa,
                    &mut mantissa_bits,
                )
            };
            hdf5::h5check(status)?;
            // SAFETY: as above; the type is a float.
            let bias = unsafe { H5Tget_ebias(id) };
            facts.float = Some([sign, exponent, exponent_bits, mantissa, mantissa_bits, bias]);
        }
        Ok(facts)
    })
}
