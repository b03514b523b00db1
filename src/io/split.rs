//! [`Events`] and [`Sender`]: the two halves of an [`Io`](super::Io).

use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::engine::Engine;
use crate::error::Result;
use crate::event::Event;
use crate::pool::OwnedSlot;

/// The half that gives events.
///
/// An event borrows this half, so it ends before the next one is asked for:
///
/// ```compile_fail
/// # let mut io = zero_io::Io::new(zero_io::Config::default()).unwrap();
/// let (mut events, _sender) = io.split();
/// let first = events.next_event();
/// let second = events.next_event();
/// drop((first, second));
/// ```
///
/// and no poll can come between:
///
/// ```compile_fail
/// # let mut io = zero_io::Io::new(zero_io::Config::default()).unwrap();
/// let (mut events, _sender) = io.split();
/// let event = events.next_event();
/// io.poll(std::time::Duration::ZERO).unwrap();
/// drop(event);
/// ```
pub struct Events<'io> {
    engine: NonNull<Engine>,
    _io: PhantomData<&'io mut Engine>,
}

/// The half that acts: every method of [`Io`](super::Io) by which something is opened, sent, armed,
/// closed, or learned of a connection or an endpoint. What an `Io` tells of itself (its pools, its
/// counters, a handle) is asked of it as a whole.
///
/// ```compile_fail
/// # let mut io = zero_io::Io::new(zero_io::Config::default()).unwrap();
/// let (_events, sender) = io.split();
/// std::thread::spawn(move || drop(sender));
/// ```
pub struct Sender<'io> {
    engine: NonNull<Engine>,
    _io: PhantomData<&'io mut Engine>,
}

/// Both halves refer to the engine by address and borrow it for one call at a time, on one thread.
/// What an event lends out is memory of the pool, not of the engine, and stays untouched while
/// `inbox.current` holds it: see `engine::events`.
pub(super) fn split(engine: &mut Engine) -> (Events<'_>, Sender<'_>) {
    let engine = NonNull::from(engine);
    (Events { engine, _io: PhantomData }, Sender { engine, _io: PhantomData })
}

impl Events<'_> {
    #[inline]
    pub(super) const fn engine(&mut self) -> &mut Engine {
        // SAFETY: the split borrows the engine exclusively for both halves; they are `!Send`, and
        // neither keeps a reference to it across calls.
        unsafe { self.engine.as_mut() }
    }

    /// As [`Io::next_event`](super::Io::next_event).
    #[inline]
    pub fn next_event(&mut self) -> Option<Event<'_>> {
        self.engine().next_event()
    }

    /// As [`Io::detach_event_data`](super::Io::detach_event_data).
    pub fn detach_event_data(&mut self) -> Option<OwnedSlot> {
        self.engine().detach_current().ok()
    }

    /// As [`Io::try_detach_event_data`](super::Io::try_detach_event_data).
    ///
    /// # Errors
    /// As there.
    pub fn try_detach_event_data(&mut self) -> Result<OwnedSlot> {
        self.engine().detach_current()
    }
}

impl Sender<'_> {
    #[inline]
    pub(super) const fn engine(&mut self) -> &mut Engine {
        // SAFETY: as in `Events::engine`.
        unsafe { self.engine.as_mut() }
    }
}

impl super::Io {
    #[inline]
    pub(crate) const fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    pub(crate) const fn engine_ref(&self) -> &Engine {
        &self.engine
    }
}

/// Writes methods for both `Io` and `Sender`, which differ in how they reach the engine only.
macro_rules! both {
    ($(
        $(#[$meta:meta])*
        pub fn $name:ident(&mut $this:ident $(, $arg:ident: $ty:ty)* $(,)?) -> $ret:ty $body:block
    )*) => {
        impl $crate::io::Io {
            $($(#[$meta])* pub fn $name(&mut self $(, $arg: $ty)*) -> $ret {
                let $this = self.engine();
                $body
            })*
        }
        impl $crate::io::Sender<'_> {
            $($(#[$meta])* pub fn $name(&mut self $(, $arg: $ty)*) -> $ret {
                let $this = self.engine();
                $body
            })*
        }
    };
}
pub(super) use both;
