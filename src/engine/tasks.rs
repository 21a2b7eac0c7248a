//! Work that commits have left behind, a page at a time. It is kept in the store until it is done, so a crash in between
//! costs nothing: the next start begins it anew, and finds nothing to do where it was done already.

use std::collections::{BTreeSet, HashMap};

use super::input::{InputKind, Step};
use crate::domain::ids::CanonicalId;
use crate::ports::error::PortError;
use crate::ports::store::Store;
use crate::ports::task::Task;

/// Records of one page: they share a transaction.
const PAGE: usize = 200;

/// Goes through what is left to be done, one task after the other.
#[derive(Debug, Default)]
pub struct Tasks {
    /// The last record of each task's last page.
    after: HashMap<Task, CanonicalId>,
}

impl Tasks {
    /// The next page; empty if nothing is left. What it gave out the last time must be committed.
    pub async fn next(&mut self, store: &dyn Store) -> Result<Vec<InputKind>, PortError> {
        let Some(task) = store.tasks(1).await?.into_iter().next() else { return Ok(Vec::new()) };
        let steps = match &task {
            Task::Orphans { parent, children, .. } => {
                let known = store.records(&[*parent]).await?;
                let parents: BTreeSet<CanonicalId> =
                    known.iter().flat_map(|known| known.record.absorbed.iter().copied()).chain([*parent]).collect();
                let parents: Vec<CanonicalId> = parents.into_iter().collect();
                store.children(&parents, children, self.after.get(&task).copied(), PAGE).await?
            }
        };
        let Some(last) = steps.last() else {
            self.after.remove(&task);
            return Ok(vec![InputKind::Step(Step::Done(task))]);
        };
        let Task::Orphans { parent, .. } = task;
        self.after.insert(task, *last);
        Ok(steps.into_iter().map(|child| InputKind::Step(Step::Orphan { child, parent })).collect())
    }
}
