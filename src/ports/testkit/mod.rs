//! For whoever writes a backend.
