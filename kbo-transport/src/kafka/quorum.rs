//! Where a controller is found by those who vote with it.

use super::config::NodeKafkaConfig;
use super::shown;

impl NodeKafkaConfig {
    /// `host:port` of the controller listener as others reach it: as advertised (from Kafka 3.9 on), else as it listens, else by the
    /// first of `hosts`. None for a node that is no controller.
    pub fn controller_address(&self, hosts: &[String]) -> Option<String> {
        let name = self.controller_listener_names.first().filter(|_| self.is_controller)?;
        let of =
            |endpoints: &[super::config::Endpoint]| endpoints.iter().find(|endpoint| endpoint.name == *name).cloned();
        let listener = of(&self.listeners)?;
        let told = of(&self.advertised).unwrap_or(listener);
        let anywhere = ["", "0.0.0.0", "::"].contains(&told.host.as_str());
        let host = if anywhere { hosts.first()? } else { &told.host };
        Some(shown(host, told.port))
    }
}

#[cfg(test)]
mod tests {
    use super::super::properties::parse;
    use super::*;

    fn address(text: &str) -> Option<String> {
        let config = NodeKafkaConfig::from_properties(&parse(text), None).unwrap();
        config.controller_address(&["10.0.0.9".to_owned()])
    }

    #[test]
    fn a_controller_is_reached_as_it_says_itself_and_otherwise_where_the_operator_reaches_it() {
        let base = "process.roles=controller\nnode.id=1\ncontroller.listener.names=CONTROLLER\n";
        assert_eq!(
            address(&format!("{base}listeners=CONTROLLER://c1:9093")).unwrap(),
            "c1:9093"
        );
        assert_eq!(
            address(&format!("{base}listeners=CONTROLLER://:9093")).unwrap(),
            "10.0.0.9:9093"
        );
        let advertised =
            format!("{base}listeners=CONTROLLER://0.0.0.0:9093\nadvertised.listeners=CONTROLLER://c1.example:19093");
        assert_eq!(address(&advertised).unwrap(), "c1.example:19093");
        assert_eq!(
            address(
                "process.roles=broker\nnode.id=4\nlisteners=PLAINTEXT://:9092\ncontroller.listener.names=CONTROLLER"
            ),
            None
        );
    }
}
