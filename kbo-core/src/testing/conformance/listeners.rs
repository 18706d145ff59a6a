//! Listeners and what they show.

use super::Harness;
use super::fixtures::*;
use crate::inventory::Dataset;
use crate::ports::node::*;

pub(super) async fn listeners_are_told_whether_or_not_they_answer(harness: &dyn Harness) {
    let node = fresh(harness).await;
    let text = b"process.roles=broker\nnode.id=1\nlisteners=PLAINTEXT://:9092,SSL://127.0.0.1:1\n\
        security.inter.broker.protocol=SSL\nssl.client.auth=required\n";
    harness
        .put(Dataset::Config, &files(&[("server.properties", text)]))
        .await;

    let listeners = node.listeners(false).await.expect("listeners");
    let told: Vec<_> = listeners
        .iter()
        .map(|l| (l.name.as_str(), l.protocol.as_str(), l.host.as_deref(), l.port))
        .collect();
    assert_eq!(
        told,
        [
            ("PLAINTEXT", "PLAINTEXT", None, 9092),
            ("SSL", "SSL", Some("127.0.0.1"), 1)
        ]
    );
    assert!(listeners.iter().all(|l| l.shown.is_none() && !l.controller));
    assert!(listeners.iter().all(|l| l.mutual_tls == (l.name == "SSL")));

    let shown = |listeners: Vec<ListenerFacts>| match listeners.into_iter().map(|l| l.shown).collect::<Vec<_>>() {
        mut shown if shown.len() == 2 && shown[0].is_none() => match shown.remove(1) {
            Some(Shown::Nothing(why)) => why,
            other => panic!("the listener that nobody serves shows {other:?}"),
        },
        other => panic!("{other:?} is shown"),
    };
    let why = shown(node.listeners(true).await.expect("listeners"));
    assert!(!why.is_empty() && !why.starts_with("not running"), "{why}");

    stop(&*node, &run(21)).await;
    let why = shown(node.listeners(true).await.expect("listeners of a stopped node"));
    assert!(why.starts_with("not running"), "{why}");
    node.start().await.expect("a start");
    node.release().await.expect("a release");
    is_clean(harness, "a look at listeners").await;
}
