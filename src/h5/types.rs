//! What are the values in a file? Types as the library knows them, including members of compounds. Unsafe room 4.
//! One call per block, each under the library's lock.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_void};

use hdf5_sys::h5::{H5free_memory, hsize_t};
use hdf5_sys::h5t::{
    H5T_class_t, H5T_order_t, H5T_sign_t, H5T_str_t, H5Tcreate, H5Tget_array_dims2,
    H5Tget_array_ndims, H5Tget_class, H5Tget_ebias, H5Tget_fields, H5Tget_member_index,
    H5Tget_member_name, H5Tget_member_type, H5Tget_nmembers, H5Tget_offset, H5Tget_order,
    H5Tget_precision, H5Tget_sign, H5Tget_size, H5Tget_strpad, H5Tget_super, H5Tinsert,
    H5Tis_variable_str,
};

use super::raw::Handle;

/// A type of values in a file.
pub struct Type(pub(super) Handle);

/// What a type is, as far as it matters here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Facts {
    /// Its class.
    pub class: Class,
    /// Bytes of a value.
    pub bytes: usize,
    /// Whether values have variable length.
    pub variable: bool,
    /// The byte order of a number.
    pub order: Order,
    /// Integers: whether they have a sign.
    pub signed: bool,
    /// Text of fixed length: how it is padded, and whether it ends at its first NUL.
    pub padding: Padding,
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
    /// Enumerated values, such as Python's booleans.
    Enum,
    /// Members with names.
    Compound,
    /// Values of one type, a fixed number of them.
    Array,
    /// Values of one type, a variable number of them.
    Sequence,
    /// All others, by HDF5's name.
    Other(&'static str),
}

/// Orders of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// The lowest first, or it does not matter.
    Little,
    /// The highest first.
    Big,
    /// VAX, or mixed.
    Other,
}

/// What follows text of fixed length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Padding {
    /// A NUL, and then anything.
    Ended,
    /// NULs.
    Nuls,
    /// Spaces.
    Spaces,
}

impl Type {
    /// What it is.
    pub fn facts(&self) -> hdf5::Result<Facts> {
        hdf5::sync::sync(|| {
            let id = self.0.id();
            // SAFETY: the type is open as long as it is borrowed.
            let class = match unsafe { H5Tget_class(id) } {
                H5T_class_t::H5T_INTEGER => Class::Integer,
                H5T_class_t::H5T_FLOAT => Class::Float,
                H5T_class_t::H5T_STRING => Class::String,
                H5T_class_t::H5T_OPAQUE => Class::Opaque,
                H5T_class_t::H5T_ENUM => Class::Enum,
                H5T_class_t::H5T_COMPOUND => Class::Compound,
                H5T_class_t::H5T_ARRAY => Class::Array,
                H5T_class_t::H5T_VLEN => Class::Sequence,
                H5T_class_t::H5T_TIME => Class::Other("time"),
                H5T_class_t::H5T_BITFIELD => Class::Other("bitfield"),
                H5T_class_t::H5T_REFERENCE => Class::Other("reference"),
                _ => Class::Other("unknown"),
            };
            let number = matches!(class, Class::Integer | Class::Float | Class::Enum);
            let mut facts = Facts {
                class,
                // SAFETY: as above.
                bytes: unsafe { H5Tget_size(id) },
                variable: class == Class::Sequence,
                order: Order::Little,
                signed: false,
                padding: Padding::Nuls,
                precision: 0,
                offset: 0,
                float: None,
            };
            if class == Class::String {
                // SAFETY: as above; the type is a string.
                facts.variable = unsafe { H5Tis_variable_str(id) } != 0;
                // SAFETY: as above.
                facts.padding = match unsafe { H5Tget_strpad(id) } {
                    H5T_str_t::H5T_STR_NULLTERM => Padding::Ended,
                    H5T_str_t::H5T_STR_SPACEPAD => Padding::Spaces,
                    _ => Padding::Nuls,
                };
            }
            if number {
                // SAFETY: as above; the type is a number, or has one.
                facts.order = match unsafe { H5Tget_order(id) } {
                    H5T_order_t::H5T_ORDER_LE | H5T_order_t::H5T_ORDER_NONE => Order::Little,
                    H5T_order_t::H5T_ORDER_BE => Order::Big,
                    _ => Order::Other,
                };
                // SAFETY: as above.
                facts.precision = unsafe { H5Tget_precision(id) };
                // SAFETY: as above.
                facts.offset = unsafe { H5Tget_offset(id) };
            }
            if class == Class::Integer {
                // SAFETY: as above; the type is an integer.
                facts.signed = unsafe { H5Tget_sign(id) } != H5T_sign_t::H5T_SGN_NONE;
            }
            if class == Class::Float {
                facts.float = Some(float(id)?);
            }
            Ok(facts)
        })
    }

    /// The type of an array's, a sequence's or an enumeration's values.
    pub fn base(&self) -> hdf5::Result<Type> {
        // SAFETY: the type is open as long as it is borrowed.
        Handle::new(|| unsafe { H5Tget_super(self.0.id()) }).map(Type)
    }

    /// How many values an array has.
    pub fn values(&self) -> hdf5::Result<u64> {
        hdf5::sync::sync(|| {
            // SAFETY: the type is open as long as it is borrowed.
            let rank = hdf5::h5check(unsafe { H5Tget_array_ndims(self.0.id()) })?;
            let mut extents: Vec<hsize_t> = vec![0; rank as usize];
            // SAFETY: as above; there is space for as many dimensions as it has, requested under the same lock.
            hdf5::h5check(unsafe { H5Tget_array_dims2(self.0.id(), extents.as_mut_ptr()) })?;
            let values = extents.iter().try_fold(1u64, |a, b| a.checked_mul(*b));
            values.ok_or_else(|| "an array has more values than a file can hold".into())
        })
    }

    /// The names of a compound's members.
    pub fn members(&self) -> Vec<String> {
        hdf5::sync::sync(|| {
            // SAFETY: the type is open as long as it is borrowed.
            let count = unsafe { H5Tget_nmembers(self.0.id()) };
            let names = (0..count.max(0)).filter_map(|number| {
                // SAFETY: as above; the number is below the count.
                let name = unsafe { H5Tget_member_name(self.0.id(), number as u32) };
                if name.is_null() {
                    return None;
                }
                // SAFETY: not null (checked above), and the library ends it with a NUL.
                let text = unsafe { CStr::from_ptr(name) }
                    .to_string_lossy()
                    .into_owned();
                // SAFETY: the library allocated it, and expects it to be freed this way.
                unsafe { H5free_memory(name.cast::<c_void>()) };
                Some(text)
            });
            names.collect()
        })
    }

    /// A compound's member of this name, if it has one.
    pub fn member(&self, name: &str) -> Option<Type> {
        let name = CString::new(name).ok()?;
        let member = || {
            // SAFETY: the type is open as long as it is borrowed; the name is a C string.
            let number = unsafe { H5Tget_member_index(self.0.id(), name.as_ptr()) };
            // SAFETY: as above; a negative number means no such member.
            unsafe { H5Tget_member_type(self.0.id(), number as u32) }
        };
        Handle::new(member).ok().map(Type)
    }

    /// A compound that has this as its only member: values are read as it lays them out in memory.
    pub fn alone(&self, name: &str) -> hdf5::Result<Type> {
        let name = CString::new(name).map_err(|e| e.to_string())?;
        let bytes = self.facts()?.bytes;
        // SAFETY: a compound of its only member's size.
        let made = Handle::new(|| unsafe { H5Tcreate(H5T_class_t::H5T_COMPOUND, bytes) })?;
        hdf5::sync::sync(|| {
            // SAFETY: both types are open; the name is a C string, which the library copies.
            hdf5::h5check(unsafe { H5Tinsert(made.id(), name.as_ptr(), 0, self.0.id()) })
        })?;
        Ok(Type(made))
    }
}

/// Positions and sizes of a float's sign, exponent and mantissa, and its exponent's bias.
fn float(id: hdf5_sys::h5i::hid_t) -> hdf5::Result<[usize; 6]> {
    let [
        mut sign,
        mut exponent,
        mut exponent_bits,
        mut mantissa,
        mut mantissa_bits,
    ] = [0usize; 5];
    // SAFETY: the caller has the type open, and it is a float; the pointers are to locals of the types asked for.
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
    // SAFETY: as above.
    let bias = unsafe { H5Tget_ebias(id) };
    Ok([sign, exponent, exponent_bits, mantissa, mantissa_bits, bias])
}
