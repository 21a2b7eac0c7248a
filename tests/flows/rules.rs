//! Scenes to come.
