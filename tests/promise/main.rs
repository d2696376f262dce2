//! No row is lost or doubled: simulations, faults, and what `verify` finds.

mod checkpoint;
mod doubt;
mod faults;
mod liar;
mod moving;
mod promise;
mod random_faults;
mod repeats;
mod resume;
mod soak;
#[path = "../support/mod.rs"]
mod support;
mod verify;
mod verify_fake;
mod verify_files;
