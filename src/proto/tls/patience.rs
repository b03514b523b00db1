//! [`Patience`]: how much a peer may send that is no data.
//!
//! Empty records and key updates cost the sender a few bytes and the receiver a run of the
//! cipher, or a new key. A peer who means well sends few of them, and data in between.

use super::failure::{Alert, Fault};
use super::limits::Limits;

/// Counters that data resets.
#[derive(Default)]
pub(crate) struct Patience {
    empty_in_a_row: u32,
    control: u32,
    data_records: u32,
}

impl Patience {
    /// A record with data came.
    pub(crate) const fn data(&mut self, limits: &Limits) {
        self.empty_in_a_row = 0;
        self.data_records += 1;
        if self.data_records >= limits.control_refill_records {
            self.data_records = 0;
            self.control = 0;
        }
    }

    /// A record of application data with nothing in it came.
    pub(crate) fn empty(&mut self, limits: &Limits) -> Result<(), Fault> {
        self.empty_in_a_row += 1;
        match self.empty_in_a_row > limits.empty_records_max {
            true => Err(Fault::Refused(Alert::UNEXPECTED_MESSAGE, "too many empty records")),
            false => Ok(()),
        }
    }

    /// A key update, a ticket or a warning came.
    pub(crate) fn control(&mut self, limits: &Limits) -> Result<(), Fault> {
        self.control += 1;
        match self.control > limits.control_max {
            true => Err(Fault::Refused(
                Alert::UNEXPECTED_MESSAGE,
                "too many key updates, tickets or warnings between data",
            )),
            false => Ok(()),
        }
    }
}
