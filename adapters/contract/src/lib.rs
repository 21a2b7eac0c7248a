//! The wire contract of Syncline.
