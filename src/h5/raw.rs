//! The library's own calls about datasets and groups that the `hdf5` crate does not wrap. Unsafe room 3.
//! One call per block, each under the library's lock; never keeps a pointer.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};

use hdf5::{Dataset, Location};
use hdf5_sys::h5::{H5_index_t, H5_iter_order_t, herr_t, hsize_t};
use hdf5_sys::h5d::{
    H5Dchunk_iter, H5Dget_chunk_info_by_coord, H5Dget_type, H5Dread, H5Dvlen_get_buf_size,
    H5Dwrite_chunk,
};
use hdf5_sys::h5i::{H5Idec_ref, hid_t};
use hdf5_sys::h5l::{H5L_info2_t, H5Literate2};
use hdf5_sys::h5o::{H5O_INFO_BASIC, H5O_info2_t, H5O_type_t, H5Oget_info_by_name3, H5Oget_info3};
use hdf5_sys::h5p::{H5P_DEFAULT, H5Pget_filter2};
use hdf5_sys::h5r::{H5R_type_t, H5Rcreate};
use hdf5_sys::h5t::{H5Treclaim, hvl_t};
use hdf5_sys::h5z::H5Zfilter_avail;

use super::types::{Class, Type};

/// Something that the library keeps open for us until this is dropped.
pub(super) struct Handle(hid_t);

impl Handle {
    /// What this call opens.
    pub(super) fn new(open: impl FnOnce() -> hid_t) -> hdf5::Result<Handle> {
        hdf5::sync::sync(|| hdf5::h5check(open()).map(Handle))
    }

    pub(super) fn id(&self) -> hid_t {
        self.0
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: it was opened when this was made, and nobody else closes it.
        hdf5::sync::sync(|| unsafe { H5Idec_ref(self.0) });
    }
}

/// The type of a dataset's values.
pub fn type_of(dataset: &Dataset) -> hdf5::Result<Type> {
    // SAFETY: the dataset is open as long as it is borrowed.
    Handle::new(|| unsafe { H5Dget_type(dataset.id()) }).map(Type)
}

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

/// Looks up the chunk whose first element is `offset`; `None` if it was never written.
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

/// All stored chunks of a dataset, each with its first element in each dimension; at most `most`.
pub fn chunks(dataset: &Dataset, most: usize) -> hdf5::Result<Vec<(Vec<u64>, Chunk)>> {
    struct Found {
        rank: usize,
        most: usize,
        chunks: Vec<(Vec<u64>, Chunk)>,
    }
    /// Called by the library for each chunk: never unwinds.
    unsafe extern "C" fn note(
        offset: *const hsize_t,
        mask: c_uint,
        at: u64,
        bytes: hsize_t,
        found: *mut c_void,
    ) -> c_int {
        // SAFETY: it is the pointer that the call below handed in, which outlives it, and no one else has it meanwhile.
        let found = unsafe { &mut *found.cast::<Found>() };
        if found.chunks.len() == found.most {
            return 1;
        }
        // SAFETY: the library gives as many offsets as the dataset has dimensions.
        let offset = unsafe { std::slice::from_raw_parts(offset, found.rank) }.to_vec();
        // An undefined address: no space was ever allocated for it.
        if at != u64::MAX {
            found.chunks.push((offset, Chunk { at, bytes, mask }));
        }
        0
    }
    let mut found = Found {
        rank: dataset.ndim(),
        most,
        chunks: Vec::new(),
    };
    hdf5::sync::sync(|| {
        // SAFETY: the dataset is open as long as it is borrowed; `found` is what the function takes it for.
        let status = unsafe {
            let found = (&raw mut found).cast();
            H5Dchunk_iter(dataset.id(), H5P_DEFAULT, Some(note), found)
        };
        hdf5::h5check(status).map(|_| ())
    })?;
    Ok(found.chunks)
}

/// A filter in a dataset's pipeline.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Its number.
    pub id: i32,
    /// Its settings.
    pub values: Vec<u32>,
    /// Whether the library supports it, including through a plugin.
    pub known: bool,
}

/// The filters of a dataset, in the order in which they are applied on writing.
pub fn filters(plist: &hdf5::plist::DatasetCreate) -> hdf5::Result<Vec<Applied>> {
    /// The number of settings read for a filter: szip has four; nbit has more, but only the library needs those.
    const VALUES: usize = 32;
    let count = plist.get_filters()?.len();
    let applied = (0..count).map(|number| {
        hdf5::sync::sync(|| {
            let (mut flags, mut config) = (0, 0);
            let (mut values, mut len) = ([0; VALUES], VALUES);
            // SAFETY: the list is open as long as it is borrowed; `len` says how much room `values` has, and no name is
            // asked for.
            let id = unsafe {
                H5Pget_filter2(
                    plist.id(),
                    number as c_uint,
                    &mut flags,
                    &mut len,
                    values.as_mut_ptr(),
                    0,
                    std::ptr::null_mut(),
                    &mut config,
                )
            };
            hdf5::h5check(id)?;
            Ok(Applied {
                id,
                values: values[..len.min(VALUES)].to_vec(),
                // SAFETY: a number, which need not be a filter's.
                known: unsafe { H5Zfilter_avail(id) } > 0,
            })
        })
    });
    applied.collect()
}

/// How rows lie in a dataset: the axis that they follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// The axis.
    pub axis: usize,
    /// The first row.
    pub first: u64,
    /// How many.
    pub rows: u64,
}

impl Stretch {
    /// Its elements in the file and in memory.
    fn spaces(self, dataset: &Dataset) -> hdf5::Result<(hdf5::Dataspace, hdf5::Dataspace, u64)> {
        let mut counts = dataset.shape();
        if self.axis >= counts.len() {
            return Err(format!("has no axis {}", self.axis).into());
        }
        counts[self.axis] = self.rows as usize;
        let elements = counts
            .iter()
            .try_fold(1u64, |a, b| a.checked_mul(*b as u64));
        let memory = hdf5::Dataspace::try_new(counts.clone())?;
        let slabs = counts.iter().enumerate().map(|(axis, count)| {
            let start = if axis == self.axis {
                self.first as usize
            } else {
                0
            };
            hdf5::SliceOrIndex::SliceCount {
                start,
                step: 1,
                count: *count,
                block: 1,
            }
        });
        let slabs: Vec<_> = slabs.collect();
        let there = dataset.space()?.select(hdf5::Hyperslab::from(slabs))?;
        Ok((memory, there, elements.unwrap_or(u64::MAX)))
    }
}

/// Reads rows through the library, filters undone, as values of this type, which must be of fixed length: the file's
/// own, or a compound of some of its members. They arrive in the order of the dataset's axes.
pub fn read_rows(
    dataset: &Dataset,
    values: &Type,
    stretch: Stretch,
    to: &mut [u8],
) -> hdf5::Result<()> {
    hdf5::sync::sync(|| {
        let (memory, there, elements) = stretch.spaces(dataset)?;
        let facts = values.facts()?;
        let fits = elements.checked_mul(facts.bytes as u64) == Some(to.len() as u64);
        if !fits || facts.variable {
            return Err(format!("{} bytes are no {} rows", to.len(), stretch.rows).into());
        }
        // SAFETY: all handles are open as long as they are held here; the type is of fixed length, and `to` has room
        // for as many elements as the memory space has (checked above).
        let status = unsafe {
            H5Dread(
                dataset.id(),
                values.0.id(),
                memory.id(),
                there.id(),
                H5P_DEFAULT,
                to.as_mut_ptr().cast(),
            )
        };
        hdf5::h5check(status).map(|_| ())
    })
}

/// Bytes that values of variable length take in memory.
pub fn variable_bytes(dataset: &Dataset, stretch: Stretch) -> hdf5::Result<u64> {
    hdf5::sync::sync(|| {
        let values = type_of(dataset)?;
        let (_, there, _) = stretch.spaces(dataset)?;
        let mut bytes: hsize_t = 0;
        // SAFETY: all handles are open as long as they are held here; the library writes one number.
        let status =
            unsafe { H5Dvlen_get_buf_size(dataset.id(), values.0.id(), there.id(), &mut bytes) };
        hdf5::h5check(status).map(|_| bytes)
    })
}

/// Reads rows whose values have variable length, and passes on the bytes of each value in turn. `bytes` is the length
/// of an element of a sequence; text has elements of one byte.
pub fn read_variable(
    dataset: &Dataset,
    bytes: usize,
    stretch: Stretch,
    each: &mut dyn FnMut(&[u8]) -> Result<(), String>,
) -> hdf5::Result<Result<(), String>> {
    hdf5::sync::sync(|| {
        let values = type_of(dataset)?;
        let (memory, there, elements) = stretch.spaces(dataset)?;
        let facts = values.facts()?;
        let text = facts.class == Class::String;
        if !facts.variable || elements > 1 << 20 {
            return Err(format!("{elements} values are not read at once").into());
        }
        // Text is a pointer, a sequence a length and a pointer.
        let words = if text {
            1
        } else {
            size_of::<hvl_t>() / size_of::<usize>()
        };
        let mut room = vec![0usize; elements as usize * words];
        // SAFETY: all handles are open as long as they are held here; the room is as long as the elements of the memory
        // space are in memory, and aligned for them; the library fills it with pointers or zeros.
        let status = unsafe {
            H5Dread(
                dataset.id(),
                values.0.id(),
                memory.id(),
                there.id(),
                H5P_DEFAULT,
                room.as_mut_ptr().cast(),
            )
        };
        hdf5::h5check(status)?;
        let told = room.chunks_exact(words).try_for_each(|value| {
            let pointer = value[words - 1] as *const u8;
            if pointer.is_null() {
                return each(&[]);
            }
            if text {
                // SAFETY: not null; the library ends text with a NUL, and frees it below.
                return each(unsafe { CStr::from_ptr(pointer.cast()) }.to_bytes());
            }
            // SAFETY: not null; the library made room for that many elements, which it frees below.
            each(unsafe { std::slice::from_raw_parts(pointer, value[0] * bytes) })
        });
        // SAFETY: the room is as the library filled it.
        let status = unsafe {
            H5Treclaim(
                values.0.id(),
                memory.id(),
                H5P_DEFAULT,
                room.as_mut_ptr().cast(),
            )
        };
        hdf5::h5check(status).map(|_| told)
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

/// Names, and how many there may be.
pub(super) struct Names {
    pub(super) names: Vec<String>,
    pub(super) most: usize,
}

impl Names {
    /// The first names that an iteration of the library adds here, at most `most`, under the library's lock.
    pub(super) fn listed(most: usize, walk: impl FnOnce(*mut c_void)) -> Vec<String> {
        let names = Vec::new();
        let mut found = Names { names, most };
        hdf5::sync::sync(|| walk((&raw mut found).cast()));
        found.names
    }

    /// Adds one more; returns 0 as long as there is room for others, as the library expects.
    ///
    /// # Safety
    /// `name` is a C string, and `names` points to a `Names` that nobody else has.
    pub(super) unsafe fn note(name: *const c_char, names: *mut c_void) -> herr_t {
        // SAFETY: as the caller promises.
        let names = unsafe { &mut *names.cast::<Names>() };
        if names.names.len() == names.most {
            return 1;
        }
        // SAFETY: as the caller promises.
        let name = unsafe { CStr::from_ptr(name) };
        names.names.push(name.to_string_lossy().into_owned());
        0
    }
}

/// The names of a group's members, in order, at most `most`. The crate's function turns the link's kind into an enum,
/// for which a damaged file may have any value.
pub fn members(group: &Location, most: usize) -> Vec<String> {
    unsafe extern "C" fn note(
        _: hid_t,
        name: *const c_char,
        _: *const H5L_info2_t,
        names: *mut c_void,
    ) -> herr_t {
        // SAFETY: the library gives a C string, and what the call below handed in.
        unsafe { Names::note(name, names) }
    }
    Names::listed(most, |found| {
        // SAFETY: the group is open as long as it is borrowed; `found` is what the function takes it for. A group that
        // cannot be listed to its end has the members found so far.
        unsafe {
            H5Literate2(
                group.id(),
                H5_index_t::H5_INDEX_NAME,
                H5_iter_order_t::H5_ITER_INC,
                std::ptr::null_mut(),
                Some(note),
                found,
            )
        };
    })
}

/// What a link leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Object {
    /// A group of this file.
    Group,
    /// A dataset of this file.
    Dataset,
    /// A type, a place in another file, or nothing.
    Other,
}

/// What the link of this name in a group leads to.
pub fn object(group: &Location, name: &str) -> Object {
    let Ok(name) = CString::new(name) else {
        return Object::Other;
    };
    let info = |found: bool| {
        hdf5::sync::sync(|| {
            let mut info = std::mem::MaybeUninit::<H5O_info2_t>::zeroed();
            let (id, to) = (group.id(), info.as_mut_ptr());
            let status = match found {
                // SAFETY: the group is open as long as it is borrowed; the name is a C string; the pointer is to a
                // local of the type asked for.
                true => unsafe {
                    H5Oget_info_by_name3(id, name.as_ptr(), to, H5O_INFO_BASIC, H5P_DEFAULT)
                },
                // SAFETY: as above.
                false => unsafe { H5Oget_info3(id, to, H5O_INFO_BASIC) },
            };
            hdf5::h5check(status).ok()?;
            // SAFETY: zeroed, and filled by the library, whose kinds of objects are those of the type.
            Some(unsafe { info.assume_init() })
        })
    };
    let (Some(here), Some(there)) = (info(false), info(true)) else {
        return Object::Other;
    };
    match there.type_ {
        _ if here.fileno != there.fileno => Object::Other,
        H5O_type_t::H5O_TYPE_GROUP => Object::Group,
        H5O_type_t::H5O_TYPE_DATASET => Object::Dataset,
        _ => Object::Other,
    }
}
