//! Work that commits have left behind, a page at a time. It is kept in the store until it is done, so a crash in between
//! costs nothing: the next start begins it anew, and finds nothing to do where it was done already.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::erasing::Erasing;
use super::input::{InputKind, Step};
use crate::domain::ids::{CanonicalId, EntityType};
use crate::domain::rules::Rules;
use crate::ports::error::PortError;
use crate::ports::store::Store;
use crate::ports::task::Task;

/// Records of one page: they share a transaction.
const PAGE: usize = 200;

/// A page of what is left to be done.
#[derive(Debug, Default)]
pub struct TaskPage {
    /// What is to be decided. To be committed before the next page is asked for.
    pub steps: Vec<InputKind>,
    /// Whether anything was left: then there may be more.
    pub more: bool,
}

/// Goes through what is left to be done, one task after the other.
#[derive(Debug)]
pub struct Tasks {
    rules: Arc<Rules>,
    /// The last record of each task's last page.
    after: HashMap<Task, CanonicalId>,
    erasing: HashMap<Task, Erasing>,
}

impl Tasks {
    /// Nothing was looked at yet.
    #[must_use]
    pub fn new(rules: Arc<Rules>) -> Self {
        Self { rules, after: HashMap::new(), erasing: HashMap::new() }
    }

    /// The next page.
    pub async fn next(&mut self, store: &dyn Store) -> Result<TaskPage, PortError> {
        let Some(task) = store.tasks(1).await?.into_iter().next() else { return Ok(TaskPage::default()) };
        // Another process may have ended the one it was at.
        self.after.retain(|known, _| *known == task);
        let steps = match &task {
            Task::Orphans { parent, children, .. } => {
                let step = |child| Step::Orphan { child, parent: *parent };
                self.children(store, &task, *parent, children, step).await?
            }
            Task::Reunited { parent, children, system, .. } => {
                let step = |child| Step::Reunite { child, parent: *parent, system: system.clone() };
                self.children(store, &task, *parent, children, step).await?
            }
            Task::Rekeyed { parent, children, system, .. } => {
                let step = |child| Step::Rename { child, parent: *parent, system: system.clone() };
                self.children(store, &task, *parent, children, step).await?
            }
            Task::Erase { record, .. } => {
                let erasing = self.erasing.entry(task.clone()).or_default();
                erasing.next(store, &self.rules, *record).await?
            }
        };
        let steps = steps.unwrap_or_else(|| {
            self.after.remove(&task);
            self.erasing.remove(&task);
            vec![InputKind::Step(Step::Done(task))]
        });
        Ok(TaskPage { steps, more: true })
    }

    async fn children(
        &mut self,
        store: &dyn Store,
        task: &Task,
        parent: CanonicalId,
        children: &EntityType,
        step: impl Fn(CanonicalId) -> Step,
    ) -> Result<Option<Vec<InputKind>>, PortError> {
        let known = store.records(&[parent]).await?;
        let parents: BTreeSet<CanonicalId> = known.iter().flat_map(|known| known.record.absorbed.iter().copied()).chain([parent]).collect();
        let parents: Vec<CanonicalId> = parents.into_iter().collect();
        let children = store.children(&parents, children, self.after.get(task).copied(), PAGE).await?;
        let Some(last) = children.last() else { return Ok(None) };
        self.after.insert(task.clone(), *last);
        Ok(Some(children.into_iter().map(|child| InputKind::Step(step(child))).collect()))
    }
}
