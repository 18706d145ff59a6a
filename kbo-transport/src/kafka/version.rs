//! The version of a running Kafka.

/// The version in the class path of Kafka's command line, for `bin/kafka-run-class.sh` names every jar there.
///
/// The protocol has no question for it. `kafka-clients` is the jar whose name carries nothing but the version, in Apache's and in
/// Confluent's distribution (`kafka-clients-4.1.1.jar`, `kafka-clients-7.9.0-ccs.jar`).
pub(crate) fn version_in(command_line: &str) -> Option<String> {
    const JAR: &str = "/kafka-clients-";
    command_line.match_indices(JAR).find_map(|(at, _)| {
        let name = command_line[at + JAR.len()..].split([':', ' ', '/']).next()?;
        let version = name.strip_suffix(".jar")?;
        version
            .starts_with(|c: char| c.is_ascii_digit())
            .then(|| version.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_off_the_class_path_of_either_distribution() {
        let apache = "java -Xmx1G -cp /opt/kafka/bin/../libs/kafka-clients-4.1.1.jar:/opt/kafka/bin/../libs/x.jar kafka.Kafka /a";
        assert_eq!(version_in(apache), Some("4.1.1".to_owned()));
        let confluent = "java -cp /usr/bin/../share/java/kafka/x-1.jar:/usr/bin/../share/java/kafka/kafka-clients-7.9.0-ccs.jar kafka.Kafka";
        assert_eq!(version_in(confluent), Some("7.9.0-ccs".to_owned()));
    }

    #[test]
    fn other_jars_and_command_lines_without_one_tell_nothing() {
        for line in [
            "",
            "sleep 9",
            "java -cp /x/kafka-clients-test.jar kafka.Kafka",
            "java -cp /x/my-kafka-clients-3.0.jar",
            "java -cp /opt/kafka/libs/* kafka.Kafka",
            "/kafka-clients-4.1",
        ] {
            assert_eq!(version_in(line), None, "{line}");
        }
    }
}
