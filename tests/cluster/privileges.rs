//! What a thread may do without its privileges, which it gets back afterwards.

/// `_LINUX_CAPABILITY_VERSION_3`: two words of 32 capabilities each.
const VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    thread: i32,
}

#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Word {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn get() -> [Word; 2] {
    let (header, mut words) = (Header { version: VERSION, thread: 0 }, [Word::default(); 2]);
    let (head, body) = (&raw const header, &raw mut words);
    // SAFETY: the kernel reads one and writes the other, which are locals, and has two words.
    assert_eq!(unsafe { libc::syscall(libc::SYS_capget, head, body) }, 0);
    words
}

fn set(words: [Word; 2]) {
    let header = Header { version: VERSION, thread: 0 };
    let (head, body) = (&raw const header, &raw const words);
    // SAFETY: the kernel reads both, which are locals, and this version has two words.
    assert_eq!(unsafe { libc::syscall(libc::SYS_capset, head, body) }, 0);
}

/// Runs `body` without any capability that this thread has; other threads keep theirs.
pub(crate) fn without<R>(body: impl FnOnce() -> R) -> R {
    struct Back([Word; 2]);
    impl Drop for Back {
        fn drop(&mut self) {
            set(self.0);
        }
    }
    let before = get();
    set(before.map(|word| Word { effective: 0, ..word }));
    let _back = Back(before);
    body()
}
