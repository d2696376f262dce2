//! HDF5 in both directions, checked by h5py and h5dump.

mod items;
mod refused;
mod shapes;
mod sink;
mod source;
mod support;
