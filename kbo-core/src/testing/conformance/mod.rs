//! The suite that every transport, fake and decorator must pass: the contract of [`crate::ports::node`], tried out.

mod archiving;
mod certs;
mod fixtures;
mod listeners;
mod node;
mod owning;
mod staging;
mod swapping;

use std::sync::Arc;

use async_trait::async_trait;

use super::state::Files;
use crate::inventory::Dataset;
use crate::ports::node::{ContainerState, NodeTransport};

/// What a transport's test brings along. The node has one directory per dataset, and its container runs Kafka or what
/// passes for it.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A transport to a node whose container runs and on which nothing of kbo lies; what an earlier case left is gone.
    async fn node(&self) -> Arc<dyn NodeTransport>;

    /// Makes `files` the whole content of a dataset's live directory.
    async fn put(&self, dataset: Dataset, files: &Files);

    /// The whole content of a dataset's live directory.
    async fn live(&self, dataset: Dataset) -> Files;

    /// The container's state, as somebody other than the transport sees it.
    async fn container(&self) -> ContainerState;

    /// A directory of small files, as the node is asked for it, which does not exist on a fresh node.
    fn certs(&self) -> String;

    /// The whole content of that directory, but for what is kbo's.
    async fn placed(&self) -> Files;

    /// Everything of kbo's that lies on the node, but for what that directory holds.
    async fn leftovers(&self) -> Vec<String>;
}

/// Runs every case.
///
/// # Panics
/// The transport breaks the contract; the message says where.
pub async fn conformance(harness: &dyn Harness) {
    node::stop_and_start_say_what_they_found(harness).await;
    node::facts_tell_what_stands_there(harness).await;
    swapping::a_round_trip_returns_the_files_exactly(harness).await;
    archiving::configuration_is_read_while_the_container_runs(harness).await;
    swapping::data_at_work_are_not_touched(harness).await;
    swapping::a_swap_is_undone(harness).await;
    swapping::replaced_data_are_kept_on_request(harness).await;
    swapping::what_is_kept_is_told_swapped_in_again_and_removed(harness).await;
    owning::what_is_swapped_for_a_run_is_confirmed_agreed_to_and_forgotten(harness).await;
    node::cleaning_what_is_not_there_is_done(harness).await;
    staging::nothing_staged_cannot_be_swapped(harness).await;
    staging::a_damaged_archive_is_not_staged(harness).await;
    staging::an_archive_of_another_hash_is_not_staged(harness).await;
    staging::an_archive_without_a_file_of_the_manifest_is_not_staged(harness).await;
    staging::an_archive_with_a_file_too_many_is_not_staged(harness).await;
    staging::a_source_that_breaks_stages_nothing(harness).await;
    staging::staging_again_after_damage_works(harness).await;
    archiving::a_sink_that_fails_ends_the_archive_and_not_the_transport(harness).await;
    archiving::free_space_is_told_while_an_archive_is_on_its_way(harness).await;
    archiving::archiving_without_a_snapshot_fails(harness).await;
    node::work_folders_of_dead_runs_are_told_and_swept(harness).await;
    certs::files_change_at_the_commit_and_not_before(harness).await;
    certs::an_undo_of_files_is_as_if_nothing_had_been(harness).await;
    certs::a_rollback_exchanges_files_and_exchanges_them_again(harness).await;
    certs::dropped_files_cannot_be_put_in_place(harness).await;
    certs::files_stay_in_their_directory(harness).await;
    listeners::listeners_are_told_whether_or_not_they_answer(harness).await;
    node::a_node_works_on_after_giving_its_lease_back(harness).await;
}
