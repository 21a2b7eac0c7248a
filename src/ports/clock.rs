//! Time and new ids. Behind ports, so that a run can be repeated.

use std::fmt::Debug;

use crate::domain::ids::CanonicalId;
use crate::domain::time::Timestamp;

/// Tells the time.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Now, in UTC.
    fn now(&self) -> Timestamp;
}

/// Makes new ids.
pub trait Ids: Debug + Send + Sync + 'static {
    /// A fresh canonical id; later ones sort later.
    fn canonical(&self, now: Timestamp) -> CanonicalId;
}
