//! For whoever writes a backend: the reference store, and the suites every backend passes.
//!
//! A suite takes a kit, which makes empty backends and opens them again, and panics at the first promise that is not
//! kept; the name of the check stands in the output before it.

// These are tests, wherever they are called from.
#![allow(clippy::unwrap_used, clippy::missing_panics_doc)]

mod audit_suite;
mod broker_suite;
mod commit_suite;
mod forget_suite;
mod lists_suite;
mod memory;
mod memory_outbox;
mod outbox_suite;
mod random_suite;
pub mod sample;
mod settled_suite;
mod tasks_suite;
mod waiting_suite;

use std::sync::Arc;

use async_trait::async_trait;

use super::broker::{Broker, LocalQueues};
use super::store::Store;
pub use memory::MemoryStore;
pub use random_suite::agrees_with_reference;

/// Makes stores for the suite.
#[async_trait]
pub trait StoreKit: Send + Sync {
    /// A new, empty store.
    async fn fresh(&self) -> Arc<dyn Store>;

    /// The last store that was made, closed and opened again. One that lives in memory only gives back the same.
    async fn reopen(&self, store: Arc<dyn Store>) -> Arc<dyn Store>;

    /// Whether rows are forgotten to the microsecond. Where a commit that met others is tried again, its rows may be counted
    /// as a moment younger than they are.
    fn forgets_exactly(&self) -> bool {
        true
    }

    /// A second one beside it on the same data; `None` where only one process may have it.
    async fn second(&self) -> Option<Arc<dyn Store>> {
        None
    }
}

/// Makes queues for the suites.
#[async_trait]
pub trait QueueKit: Send + Sync {
    /// New, empty queues that take 10 inbound messages.
    async fn fresh(&self) -> Arc<dyn LocalQueues>;

    /// The last queues that were made, closed and opened again.
    async fn reopen(&self, queues: Arc<dyn LocalQueues>) -> Arc<dyn LocalQueues>;
}

/// Makes a broker for the suite.
#[async_trait]
pub trait BrokerKit: Send + Sync {
    /// A new broker with empty queues.
    async fn fresh(&self) -> Arc<dyn Broker>;

    /// The last broker that was made, closed and opened again.
    async fn reopen(&self, broker: Arc<dyn Broker>) -> Arc<dyn Broker>;

    /// Sends an inbound message, as an adapter would.
    async fn send(&self, body: &[u8]);

    /// Takes the outbound messages a system was sent, as an adapter would: so many, or more if there are.
    async fn take(&self, system: &str, count: usize) -> Vec<Vec<u8>>;
}

macro_rules! run {
    ($kit:expr, $suite:ident: $($check:ident),* $(,)?) => {
        $(
            eprintln!("{}: {}", stringify!($suite), stringify!($check).replace('_', " "));
            $suite::$check($kit).await;
        )*
    };
}

/// Every promise of [`Store`].
pub async fn store_conformance(kit: &dyn StoreKit) {
    run!(kit, commit_suite:
        a_record_comes_back_as_it_was,
        nothing_is_known_of_what_was_never_written,
        revisions_grow_and_are_checked,
        a_new_record_must_not_exist,
        a_batch_is_written_whole_or_not_at_all,
        every_plan_in_the_way_is_named,
        an_update_is_decided_once,
        a_link_has_one_owner,
        a_claim_has_one_owner,
        claims_are_scoped_by_type_and_key,
        releases_count_before_additions,
        only_the_owner_can_release,
        a_final_row_never_changes,
        a_waiting_row_is_replaced,
        a_dead_letter_leaves_a_marker,
        a_waiting_update_can_become_a_dead_letter,
        a_dead_letter_replaces_the_one_with_its_id,
        records_a_plan_relied_on_are_checked,
        facts_add_up,
        counters_count,
        the_epoch_only_grows,
        what_was_committed_survives_a_restart,
        two_stores_see_each_other,
    );
    run!(kit, settled_suite:
        a_dead_letter_is_found_by_its_id,
        a_large_dead_letter_is_kept_whole,
        a_requeued_letter_gives_way_to_its_decision,
        a_requeued_letter_can_die_again,
        a_requeued_letter_never_undoes_a_row,
        a_discarded_letter_leaves_a_marker,
        a_discarded_letter_leaves_a_row_alone,
        a_letter_is_settled_once_and_as_it_was_read,
        what_was_settled_survives_a_restart,
    );
    run!(kit, forget_suite:
        old_rows_go_and_their_markers_stay,
        each_kind_has_its_own_time,
        what_says_why_something_was_not_applied_is_kept_as_what_decided_something,
        what_waits_is_never_forgotten,
        markers_go_after_their_rows,
        rows_may_not_be_kept_at_all,
        an_old_dead_letter_never_frees_a_forgotten_update,
        a_row_is_written_again_in_its_place,
    );
    run!(kit, tasks_suite:
        children_are_found_by_their_parent,
        children_come_in_pages,
        a_child_follows_its_reference,
        a_task_is_kept_until_it_is_done,
        a_task_begins_with_its_batch_or_not_at_all,
        deleted_records_are_found_by_their_age,
        a_deleted_record_goes_with_all_that_led_to_it,
    );
    run!(kit, audit_suite:
        what_was_done_is_listed_newest_first,
        an_entry_is_kept_once_and_never_changed,
        a_cursor_of_another_list_is_refused,
    );
    waiting_and_lists(kit).await;
    for seed in 0..4 {
        eprintln!("agrees with the reference, seed {seed}");
        agrees_with_reference(kit, seed, 60).await;
    }
}

async fn waiting_and_lists(kit: &dyn StoreKit) {
    run!(kit, waiting_suite:
        look_ups_find_waiting_updates_in_arrival_order,
        a_waiting_update_is_replaced_and_taken_away,
        an_update_is_due_when_its_time_comes,
        an_update_is_due_when_nothing_is_missing,
        an_update_queues_behind_another,
        an_update_is_due_when_somebody_makes_way,
        waiting_updates_are_listed_by_arrival,
    );
    run!(kit, outbox_suite:
        what_is_due_is_owed_in_order,
        a_newer_rev_takes_the_place_of_an_older,
        a_published_message_awaits_its_receipt,
        a_confirmation_may_come_with_a_record,
        what_is_due_afresh_was_not_delivered,
        without_receipts_a_published_row_goes,
        an_applied_rev_settles_what_was_sent,
        a_failed_message_is_sent_again,
        a_rejected_message_is_not,
        a_receipt_may_be_faster_than_the_confirmation,
        any_answer_may_be_faster_than_the_confirmation,
        where_nothing_was_said_nothing_is_on_its_way,
        positions_only_grow,
        a_scan_misses_no_row_when_others_go,
    );
    run!(kit, lists_suite:
        decisions_come_newest_first,
        rows_of_a_batch_are_listed_as_they_were_decided,
        decisions_are_filtered,
        a_search_finds_what_is_far_back,
        the_history_of_a_record_is_whole,
        cursors_are_stable_under_inserts,
        a_foreign_cursor_is_refused,
        records_are_listed_by_id,
        dead_letters_come_oldest_first,
        a_page_of_large_dead_letters_ends_early,
    );
}

/// Every promise of [`Broker`].
pub async fn broker_conformance(kit: &dyn BrokerKit) {
    run!(kit, broker_suite:
        messages_come_in_order_and_once,
        what_is_not_settled_comes_again_after_a_restart,
        all_that_is_not_settled_is_given_again,
        receiving_waits_for_a_message,
        published_messages_reach_their_system,
    );
}

/// Every promise of [`LocalQueues`].
pub async fn local_queues_conformance(kit: &dyn QueueKit) {
    run!(kit, broker_suite:
        the_inbound_queue_is_bounded,
        a_crash_counts_as_a_delivery,
        only_the_newest_message_of_a_record_is_given,
        a_record_has_one_message_out,
        an_expired_lease_is_given_again,
        released_messages_are_gone,
        oldest_messages_come_first,
        outbound_messages_survive_a_restart,
        an_older_rev_never_replaces_a_newer,
        depths_are_counted,
    );
}
