//! What if a mapped file is truncated while we read it? Unsafe room 2: the handler of SIGBUS.
//!
//! Reading a page that the file no longer has raises SIGBUS, which would kill the process. The handler puts a page
//! of zeros at the fault, if that is in a mapping of ours, and reading continues; readers check that the file is
//! unchanged (`View::unchanged`) before they use the bytes. A failing disk raises the same signal although the file
//! looks as before, so the mapping is marked, too. A fault anywhere else goes to the previous handler.

#![allow(unsafe_code)]

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Mappings that may be held at a time. A handler must not lock, so the table has a fixed size; if it is full, a file
/// is read without a mapping.
const SLOTS: usize = 4096;

struct Slot {
    start: AtomicUsize,
    /// 0: free; set last, cleared first.
    end: AtomicUsize,
    /// Whether zeros were put into it.
    is_holed: AtomicBool,
}

static TABLE: [Slot; SLOTS] = [const {
    Slot {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        is_holed: AtomicBool::new(false),
    }
}; SLOTS];
static PAGE: AtomicUsize = AtomicUsize::new(0);
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// A range of memory that is guarded until this is dropped.
pub struct Guarded(&'static Slot);

impl Guarded {
    /// Whether a page could not be read and was replaced by zeros for good.
    pub fn is_holed(&self) -> bool {
        self.0.is_holed.load(Ordering::SeqCst)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.0.end.store(0, Ordering::SeqCst);
        self.0.start.store(0, Ordering::SeqCst);
    }
}

/// Guards a mapping; `None` when the table is full. The first call installs the handler.
pub fn guard(start: usize, len: usize) -> io::Result<Option<Guarded>> {
    install()?;
    let free = TABLE.iter().find(|slot| {
        let taken = slot
            .start
            .compare_exchange(0, start, Ordering::SeqCst, Ordering::SeqCst);
        taken.is_ok()
    });
    Ok(free.map(|slot| {
        slot.is_holed.store(false, Ordering::SeqCst);
        slot.end.store(start + len, Ordering::SeqCst);
        Guarded(slot)
    }))
}

fn install() -> io::Result<()> {
    if BEFORE.get().is_some() {
        return Ok(());
    }
    // SAFETY: sysconf has no preconditions.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    PAGE.store(usize::try_from(page).unwrap_or(4096), Ordering::SeqCst);
    let mut failed = None;
    BEFORE.get_or_init(|| {
        // SAFETY: all zeros is a valid sigaction: the default action, an empty mask.
        let (mut ours, mut before): (libc::sigaction, libc::sigaction) =
            unsafe { std::mem::zeroed() };
        ours.sa_sigaction = on_sigbus as *const () as usize;
        ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        // SAFETY: both point to sigactions of ours; the handler only does what is async-signal-safe.
        if unsafe { libc::sigaction(libc::SIGBUS, &ours, &mut before) } != 0 {
            failed = Some(io::Error::last_os_error());
        }
        before
    });
    failed.map_or(Ok(()), Err)
}

extern "C" fn on_sigbus(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel hands a valid siginfo to a handler installed with SA_SIGINFO.
    let at = unsafe { (*info).si_addr() } as usize;
    let ours = TABLE.iter().find(|slot| {
        let (start, end) = (
            slot.start.load(Ordering::SeqCst),
            slot.end.load(Ordering::SeqCst),
        );
        start <= at && at < end
    });
    if let Some(slot) = ours {
        slot.is_holed.store(true, Ordering::SeqCst);
        let page = PAGE.load(Ordering::SeqCst);
        // SAFETY: the page lies in a mapping of ours, is mapped read-only and is only read; mmap is a system
        // call and takes no lock of ours.
        let zeros = unsafe {
            libc::mmap(
                (at / page * page) as *mut libc::c_void,
                page,
                libc::PROT_READ,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                -1,
                0,
            )
        };
        if zeros != libc::MAP_FAILED {
            return;
        }
    }
    give_back(signal, info, context);
}

/// Not ours: acts as if this handler had never been installed.
fn give_back(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let before = BEFORE.get();
    let handler = before.map_or(libc::SIG_DFL, |b| b.sa_sigaction);
    if let Some(before) = before
        && handler != libc::SIG_DFL
        && handler != libc::SIG_IGN
        && before.sa_flags & libc::SA_SIGINFO != 0
    {
        // SAFETY: the handler was installed with SA_SIGINFO, so it has this signature.
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
            unsafe { std::mem::transmute(handler) };
        return handler(signal, info, context);
    }
    // SAFETY: all zeros is the default action; the fault repeats and ends the process as it would have.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, &default, std::ptr::null_mut());
    }
}
