//! The functions behind ours: libc's, or those of a library preloaded after this one.

use core::ffi::CStr;
use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use libc::{c_int, c_uint, c_void, ssize_t};

/// A function that this library shadows, looked up once.
pub(crate) struct Next {
    name: &'static CStr,
    address: AtomicPtr<c_void>,
}

impl Next {
    pub(crate) const fn new(name: &'static CStr) -> Self {
        Self { name, address: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Its address; null if there is none (an older libc).
    ///
    /// Other libraries may call before this one is initialized, so there is no moment at which all
    /// could be looked up in advance. `dlsym` itself calls none of the functions shadowed here.
    pub(crate) fn address(&self) -> *mut c_void {
        let known = self.address.load(Ordering::Relaxed);
        if known.is_null() { self.resolve() } else { known }
    }

    #[cold]
    fn resolve(&self) -> *mut c_void {
        // SAFETY: a C string and a special handle; several threads may look up the same name.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        self.address.store(found, Ordering::Relaxed);
        found
    }
}

/// What a function returns that does not exist, beside `ENOSYS`.
pub(crate) trait Failure: Sized {
    const FAILED: Self;

    #[cold]
    fn failure() -> Self {
        iopkt::set_errno(libc::ENOSYS);
        Self::FAILED
    }
}

impl Failure for c_int {
    const FAILED: Self = -1;
}

impl Failure for ssize_t {
    const FAILED: Self = -1;
}

/// An interface's number.
impl Failure for c_uint {
    const FAILED: Self = 0;
}

impl<T> Failure for *mut T {
    const FAILED: Self = ptr::null_mut();
}

/// Calls the next function of this name, whose signature is given. It may be a cancellation point of libc's,
/// which unwinds: nothing that has to be dropped may be on the stack.
macro_rules! call_next {
    ($name:ident($($arg:expr => $ty:ty),* $(; $variadic:tt)?) -> $ret:ty) => {{
        static NEXT: $crate::next::Next = $crate::next::Next::new(
            match core::ffi::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!("a name has no NUL within"),
            },
        );
        let address = NEXT.address();
        if address.is_null() {
            <$ret as $crate::next::Failure>::failure()
        } else {
            // SAFETY: libc's function of this name has this signature.
            let next = unsafe {
                core::mem::transmute::<
                    *mut libc::c_void,
                    unsafe extern "C-unwind" fn($($ty),* $(, $variadic)?) -> $ret,
                >(address)
            };
            // SAFETY: the arguments are the program's own; the promise was made to libc.
            unsafe { next($($arg),*) }
        }
    }};
}

/// Defines functions as `interpose` does that are cancellation points.
macro_rules! interpose_cancellable {
    ($($name:ident($fd:ident: c_int $(, $arg:ident: $ty:ty)*) -> $ret:ty => $ours:ident;)*) => {$(
        /// The C call of this name: libiopkt's for a socket of a stack, else libc's.
        ///
        /// # Safety
        /// As for the C call.
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name($fd: c_int $(, $arg: $ty)*) -> $ret {
            if iopkt::is_ours($fd) {
                // SAFETY: the caller's promise.
                return $crate::cancel::cancellable!(unsafe { iopkt::abi::$ours($fd $(, $arg)*) });
            }
            $crate::next::call_next!($name($fd => c_int $(, $arg => $ty)*) -> $ret)
        }
    )*};
}

/// Defines functions that ask the table, then call libiopkt's function or the next one.
macro_rules! interpose {
    ($($name:ident($fd:ident: c_int $(, $arg:ident: $ty:ty)*) -> $ret:ty => $ours:ident;)*) => {$(
        /// The C call of this name: libiopkt's for a socket of a stack, else libc's.
        ///
        /// # Safety
        /// As for the C call.
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name($fd: c_int $(, $arg: $ty)*) -> $ret {
            if iopkt::is_ours($fd) {
                #[allow(unused_unsafe, reason = "some of them take no pointers")]
                // SAFETY: the caller's promise.
                return unsafe { iopkt::abi::$ours($fd $(, $arg)*) };
            }
            $crate::next::call_next!($name($fd => c_int $(, $arg => $ty)*) -> $ret)
        }
    )*};
}

pub(crate) use {call_next, interpose, interpose_cancellable};
