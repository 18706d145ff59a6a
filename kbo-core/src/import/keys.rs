//! What names tell: of a group, of a host, of a variable.

use crate::config::draft::Said;
use crate::inventory::Role;

/// The role that a name speaks of.
pub(super) fn role_of(name: &str) -> Option<Role> {
    let name = name.to_ascii_lowercase();
    let both = name.contains("combined") || name.contains("kraft");
    match (
        name.contains("controller") || name.contains("quorum"),
        name.contains("broker"),
    ) {
        _ if both => Some(Role::Combined),
        (true, true) => Some(Role::Combined),
        (true, false) => Some(Role::Controller),
        (false, true) => Some(Role::Broker),
        (false, false) => None,
    }
}

/// The role that a value of `process.roles` or of a variable says.
pub(super) fn role_said(text: &str) -> Option<Role> {
    let words: Vec<String> = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| word.trim_end_matches('s').to_ascii_lowercase())
        .collect();
    let has = |word: &str| words.iter().any(|known| known == word);
    match (has("controller"), has("broker")) {
        (true, true) => Some(Role::Combined),
        _ if has("combined") => Some(Role::Combined),
        (true, false) => Some(Role::Controller),
        (false, true) => Some(Role::Broker),
        (false, false) => None,
    }
}

/// Whether a group's name speaks of something that is not Kafka itself.
pub(super) fn is_beside_kafka(name: &str) -> bool {
    const BESIDE: [&str; 20] = [
        "central",
        "connect",
        "schema",
        "registry",
        "ksql",
        "zookeeper",
        "gui",
        "kpow",
        "kafbat",
        "balancer",
        "monitor",
        "prometheus",
        "grafana",
        "client",
        "backup",
        "bastion",
        "proxy",
        "exporter",
        "akhq",
        "cruise",
    ];
    let name = name.to_ascii_lowercase();
    role_of(&name).is_none() && BESIDE.iter().any(|word| name.contains(word))
}

/// Roles by the names of nodes, each said to be guessed. Where some names say nothing, the others tell what is missing.
pub(super) fn guess(names: &[&str]) -> Vec<Result<Said<Role>, String>> {
    let roles: Vec<Option<Role>> = names.iter().map(|name| role_of(name)).collect();
    let has_controller = roles.iter().flatten().any(|role| role.is_controller());
    let has_broker = roles.iter().flatten().any(|role| role.is_broker());
    let guess = |name: &&str, role: Option<Role>| match role {
        Some(role) => Ok(Said::with(role, "guessed from the name")),
        None => match (has_controller, has_broker) {
            (false, false) => Ok(Said::with(Role::Combined, "guessed: no name says controller or broker")),
            (true, false) => Ok(Said::with(Role::Broker, "guessed: the controllers are named so")),
            (false, true) => Ok(Said::with(Role::Controller, "guessed: the brokers are named so")),
            (true, true) => Err(format!("{name} may be a controller or a broker: its name does not say")),
        },
    };
    names.iter().zip(roles).map(|(name, role)| guess(name, role)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_roles_and_what_is_beside_kafka() {
        assert_eq!(role_of("kafka-controller-1"), Some(Role::Controller));
        assert_eq!(role_of("BROKERS"), Some(Role::Broker));
        assert_eq!(role_of("combined"), Some(Role::Combined));
        assert_eq!(role_of("node-1"), None);
        assert_eq!(role_said("broker,controller"), Some(Role::Combined));
        assert_eq!(role_said("controllers"), Some(Role::Controller));
        assert!(is_beside_kafka("schema_registry") && is_beside_kafka("central"));
        assert!(!is_beside_kafka("kafka") && !is_beside_kafka("connect_brokers"));
    }

    #[test]
    fn silent_names_are_what_the_others_lack() {
        let roles = |names: &[&str]| -> Vec<Option<Role>> {
            guess(names)
                .into_iter()
                .map(|role| role.ok().map(|said| said.value))
                .collect()
        };
        assert_eq!(roles(&["a", "b"]), [Some(Role::Combined), Some(Role::Combined)]);
        assert_eq!(
            roles(&["controller-1", "b"]),
            [Some(Role::Controller), Some(Role::Broker)]
        );
        assert_eq!(roles(&["controller-1", "broker-1", "x"])[2], None);
    }
}
