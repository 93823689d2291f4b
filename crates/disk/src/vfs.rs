//! Stands between SQLite and its default file system.
//!
//! Owns the only unsafe code: SQLite's interface is a table of C functions. A file outside the watched directories gets the real
//! table and this is never asked again. A watched one gets `METHODS`, which tell its `Watch` and call the real table.
//!
//! Invariant: SQLite gives each file `szOsFile` bytes. They begin with `Shim`, and the real file's own bytes follow it.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rusqlite::ffi;

use crate::{Change, Fault, Watch, find};

/// The file system that was the default before.
struct Real(*mut ffi::sqlite3_vfs);

// SAFETY: SQLite's default file system is a constant of the library, and its functions may be called from any thread.
unsafe impl Send for Real {}
unsafe impl Sync for Real {}

static REAL: OnceLock<Real> = OnceLock::new();

fn real_vfs() -> *mut ffi::sqlite3_vfs {
    REAL.get().expect("installed before any file is opened").0
}

/// The beginning of a watched file. `base` must come first: it is all that SQLite knows.
#[repr(C)]
struct Shim {
    base: ffi::sqlite3_file,
    handle: *mut Handle,
}

/// What is known of a watched file.
struct Handle {
    watch: Arc<Watch>,
    name: String,
    /// SQLite's file system syncs the directory at the first sync of a log or journal.
    directory_too: bool,
}

/// Makes this the default file system of the process.
pub fn install() {
    REAL.get_or_init(|| {
        // SAFETY: the default file system exists once SQLite is initialized and lives for ever, as does the leaked copy.
        unsafe {
            let real = ffi::sqlite3_vfs_find(std::ptr::null());
            assert!(!real.is_null(), "SQLite has a file system");
            let ours = Box::leak(Box::new(*real));
            ours.pNext = std::ptr::null_mut();
            ours.zName = c"recorded".as_ptr();
            ours.szOsFile += size_of::<Shim>() as c_int;
            ours.xOpen = Some(open);
            ours.xDelete = Some(delete);
            assert_eq!(ffi::sqlite3_vfs_register(ours, 1), ffi::SQLITE_OK);
            Real(real)
        }
    });
}

/// # Safety
/// `name` is null or one of SQLite's file names.
unsafe fn watched(name: *const c_char) -> Option<(Arc<Watch>, String)> {
    if name.is_null() {
        return None;
    }
    // SAFETY: a file name ends with a zero.
    let name = unsafe { CStr::from_ptr(name) };
    find(Path::new(std::ffi::OsStr::from_bytes(name.to_bytes())))
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: the arguments are SQLite's own, and `file` has room for both parts.
    unsafe {
        let really = (*real_vfs()).xOpen.expect("every file system opens");
        let Some((watch, file_name)) = watched(name) else {
            return really(real_vfs(), name, file, flags, out);
        };
        (*file).pMethods = std::ptr::null();
        watch.touch();
        let path = watch.directory.join(&file_name);
        let mut code = ffi::SQLITE_CANTOPEN;
        let mut open = || {
            code = really(real_vfs(), name, real(file), flags, out);
            code == ffi::SQLITE_OK
        };
        if flags & ffi::SQLITE_OPEN_CREATE != 0 && !path.exists() {
            let _ = watch.change(&file_name, Change::Create, |_| open());
        } else {
            open();
        }
        if code == ffi::SQLITE_OK {
            let journal = flags & (ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_WAL) != 0;
            let directory_too = journal && flags & ffi::SQLITE_OPEN_CREATE != 0;
            watch.opened(&file_name);
            let handle = Box::new(Handle { watch, name: file_name, directory_too });
            (*file.cast::<Shim>()).handle = Box::into_raw(handle);
            (*file).pMethods = &raw const METHODS;
        }
        code
    }
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, name: *const c_char, sync: c_int) -> c_int {
    // SAFETY: the arguments are SQLite's own.
    unsafe {
        let really = (*real_vfs()).xDelete.expect("every file system deletes");
        let Some((watch, file_name)) = watched(name) else { return really(real_vfs(), name, sync) };
        watch.touch();
        let mut code = ffi::SQLITE_IOERR_DELETE;
        let _ = watch.change(&file_name, Change::Delete, |_| {
            code = really(real_vfs(), name, 0);
            code == ffi::SQLITE_OK
        });
        if code == ffi::SQLITE_OK && sync != 0 {
            let _ = watch.change(&file_name, Change::SyncDirectory, |_| true);
        }
        code
    }
}

/// The real file behind a watched one.
///
/// # Safety
/// `file` was opened by `open`, or is being opened.
unsafe fn real(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    // SAFETY: `szOsFile` made room for the real file behind the shim.
    unsafe { file.cast::<Shim>().add(1).cast() }
}

/// # Safety
/// `file` was opened by `open` and is not closed.
unsafe fn handle<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Handle {
    // SAFETY: `open` put a handle there, `close` takes it, and SQLite uses a file from one thread at a time.
    let handle = unsafe { &mut *(*file.cast::<Shim>()).handle };
    handle.watch.touch();
    handle
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes a file that was opened, and only once.
    unsafe {
        let code = real_close(file);
        let handle = Box::from_raw((*file.cast::<Shim>()).handle);
        (*file).pMethods = std::ptr::null();
        handle.watch.was_closed();
        code
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    length: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: `from` has `length` bytes, and the file is open.
    unsafe {
        let bytes = std::slice::from_raw_parts(from.cast::<u8>(), length as usize);
        let handle = handle(file);
        let mut code = ffi::SQLITE_OK;
        let changed = handle.watch.change(&handle.name, Change::Write(at as u64, bytes.into()), |change| {
            let Change::Write(_, bytes) = change else { unreachable!("a part of a write is a write") };
            code = real_write(file, bytes.as_ptr().cast(), bytes.len() as c_int, at);
            code == ffi::SQLITE_OK
        });
        match changed {
            Err(Fault::Full) => ffi::SQLITE_FULL,
            Err(_) => ffi::SQLITE_IOERR_WRITE,
            Ok(()) => code,
        }
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, length: ffi::sqlite3_int64) -> c_int {
    // SAFETY: the file is open.
    unsafe {
        let handle = handle(file);
        let mut code = ffi::SQLITE_IOERR_TRUNCATE;
        let _ = handle.watch.change(&handle.name, Change::Truncate(length as u64), |_| {
            code = real_truncate(file, length);
            code == ffi::SQLITE_OK
        });
        code
    }
}

/// The real file is not synced: the process and the machine live on, and what a sync keeps is worked out from the recording.
unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: the file is open.
    let handle = unsafe { handle(file) };
    if handle.watch.change(&handle.name, Change::Sync, |_| true).is_err() {
        return ffi::SQLITE_IOERR_FSYNC;
    }
    if std::mem::take(&mut handle.directory_too) {
        let _ = handle.watch.change(&handle.name, Change::SyncDirectory, |_| true);
    }
    ffi::SQLITE_OK
}

/// A method that only calls the real one.
macro_rules! pass {
    ($name:ident, $method:ident($($argument:ident: $kind:ty),*) $(-> $answer:ty)?) => {
        unsafe extern "C" fn $name(file: *mut ffi::sqlite3_file $(, $argument: $kind)*) $(-> $answer)? {
            // SAFETY: the file is open, so the real one behind it is too; the arguments are SQLite's own.
            unsafe {
                handle(file);
                let real = real(file);
                ((*(*real).pMethods).$method.expect("the real file has it"))(real $(, $argument)*)
            }
        }
    };
}

pass!(real_close, xClose() -> c_int);
pass!(read, xRead(to: *mut c_void, length: c_int, at: ffi::sqlite3_int64) -> c_int);
pass!(real_write, xWrite(from: *const c_void, length: c_int, at: ffi::sqlite3_int64) -> c_int);
pass!(real_truncate, xTruncate(length: ffi::sqlite3_int64) -> c_int);
pass!(size, xFileSize(size: *mut ffi::sqlite3_int64) -> c_int);
pass!(lock, xLock(level: c_int) -> c_int);
pass!(unlock, xUnlock(level: c_int) -> c_int);
pass!(reserved, xCheckReservedLock(answer: *mut c_int) -> c_int);
pass!(control, xFileControl(what: c_int, argument: *mut c_void) -> c_int);
pass!(sector, xSectorSize() -> c_int);
pass!(characteristics, xDeviceCharacteristics() -> c_int);
pass!(shm_map, xShmMap(region: c_int, size: c_int, extend: c_int, to: *mut *mut c_void) -> c_int);
pass!(shm_lock, xShmLock(offset: c_int, count: c_int, flags: c_int) -> c_int);
pass!(shm_barrier, xShmBarrier());
pass!(shm_unmap, xShmUnmap(delete: c_int) -> c_int);

/// Version 2 has shared memory and no memory mapping, which would change files behind our back.
static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(reserved),
    xFileControl: Some(control),
    xSectorSize: Some(sector),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
