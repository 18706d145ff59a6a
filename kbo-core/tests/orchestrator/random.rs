//! Clusters of any shape, found in any state, struck by any faults.

use kbo_core::inventory::Dataset;
use kbo_core::ports::node::{ContainerState, NodeErrorKind};
use kbo_core::report::Outcome;
use kbo_core::testing::{Effect, FakeCluster, Faults, Moment, Shape};
use proptest::prelude::*;

use crate::scene::{BACKUP, Job, RESTORE, Scene};

fn shape() -> impl Strategy<Value = Shape> {
    (0_usize..4, 0_usize..3, 0_usize..4, 1_usize..3)
        .prop_filter("a cluster", |(controllers, combined, brokers, _)| {
            controllers + combined > 0 && combined + brokers > 0
        })
        .prop_map(|(controllers, combined, brokers, data_dirs)| Shape {
            controllers,
            combined,
            brokers,
            data_dirs,
        })
}

fn job() -> impl Strategy<Value = Job> {
    prop_oneof![Just(BACKUP), Just(RESTORE), Just(Job::Restore { keep_previous: true })]
}

fn fault() -> impl Strategy<Value = (usize, Moment, Effect)> {
    let kinds = prop_oneof![
        Just(NodeErrorKind::Io),
        Just(NodeErrorKind::Unreachable),
        Just(NodeErrorKind::Engine)
    ];
    let effect = (kinds, 0_u8..4).prop_map(|(kind, what)| match what {
        0 => Effect::Die(kind),
        _ => Effect::Fail(kind),
    });
    let moment = prop_oneof![Just(Moment::Before), Just(Moment::During), Just(Moment::After)];
    (0_usize..350, moment, effect)
}

/// Stops nodes cleanly before kbo comes, by the bits of `down`.
fn stop_some(cluster: &FakeCluster, down: u16) {
    let mut bit = 0;
    cluster.with_all(|node| {
        bit += 1;
        if down >> bit & 1 == 1 {
            node.container = ContainerState::Stopped;
            node.live
                .get_mut(&Dataset::Data)
                .into_iter()
                .flatten()
                .flatten()
                .for_each(|image| image.clean = true);
        }
    });
}

fn block_on(work: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(work);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_faults_on_any_cluster_leave_it_as_found_or_say_so(
        shape in shape(),
        job in job(),
        down in prop_oneof![3 => Just(0_u16), 1 => any::<u16>()],
        faults in prop::collection::vec(fault(), 0..4),
        crash in prop::option::weighted(0.2, 0_usize..350),
        leases in any::<bool>(),
    ) {
        block_on(async {
            let scene = Scene::with(shape, job, |cluster| stop_some(cluster, down)).await;
            let mut planned = Faults::none(scene.cluster.clock());
            for (at, moment, effect) in &faults {
                planned = planned.and(*at, *moment, effect.clone());
            }
            if let Some(at) = crash {
                planned = planned.and(at, Moment::Before, Effect::Hang);
            }
            let label = format!("{shape:?} {job:?} down={down:b} {faults:?} crash={crash:?} leases={leases}");
            let orchestrator = scene.orchestrator(Some(&planned));
            let report = tokio::select! {
                report = scene.run(&orchestrator) => Some(report),
                () = planned.struck() => None,
            };
            planned.mend();
            match &report {
                Some(report) => {
                    scene.check(report, &label);
                    if faults.is_empty() {
                        assert!(matches!(report.outcome, Outcome::Done | Outcome::Refused), "{label}: {report:#?}");
                    }
                }
                None if leases => {
                    scene.cluster.crash_of_centre();
                    // The leases may have been given back by some nodes only.
                    scene.cluster.forgive();
                }
                None => {}
            }
            scene.check_recovery(&label).await;
        });
    }

    #[test]
    fn any_undisturbed_run_is_done_or_refused(shape in shape(), job in job(), down in any::<u16>()) {
        block_on(async {
            let scene = Scene::with(shape, job, |cluster| stop_some(cluster, down)).await;
            let report = scene.run(&scene.orchestrator(None)).await;
            assert!(matches!(report.outcome, Outcome::Done | Outcome::Refused), "{report:#?}");
            scene.check(&report, "undisturbed");
            scene.check_recovery("undisturbed").await;
        });
    }
}
