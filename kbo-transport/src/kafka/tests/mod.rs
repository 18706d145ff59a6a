//! The prober against servers that speak Kafka's bytes, well or badly.

mod borrowed;
mod certs;
mod credentials;
mod fake;
mod look;
mod questions;
mod sasl;
mod tls;
mod troubles;

use super::{Addresses, KafkaAccess, NodeKafkaConfig, Prober, Timeouts, parse_properties};
use std::time::Duration;

/// Long enough for a loaded machine, short enough for a test.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(2),
    total: Duration::from_secs(4),
};

fn prober(properties: &str, access: KafkaAccess) -> Prober {
    let config = NodeKafkaConfig::from_properties(&parse_properties(properties), None).unwrap();
    Prober::new(config, Addresses::default(), access, TIMEOUTS)
}

/// Node 4, a broker with one PLAINTEXT listener.
fn broker(port: u16) -> Prober {
    prober(
        &format!("process.roles=broker\nnode.id=4\nlisteners=PLAINTEXT://127.0.0.1:{port}"),
        KafkaAccess::default(),
    )
}

/// Node 1, a controller with a PLAINTEXT listener.
fn controller(port: u16) -> Prober {
    let text =
        format!("process.roles=controller\nnode.id=1\nlisteners=CTL://127.0.0.1:{port}\ncontroller.listener.names=CTL");
    prober(&text, KafkaAccess::default())
}
