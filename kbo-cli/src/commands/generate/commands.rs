//! docs/reference/commands.md: every command with its arguments.

use clap::{Arg, Command};

use super::man::visible;
use super::{HEADER, cell};

pub(super) fn document(tree: &Command) -> String {
    let mut text = format!(
        "{HEADER}\n# Commands\n\nEvery command and every argument, as `kbo --help` and `kbo COMMAND --help` show them.\n\n\
         ## Options of every command\n\n"
    );
    text.push_str(&table(tree.get_arguments().filter(|argument| is_ours(argument))));
    for command in visible(tree) {
        section(command, "kbo", tree, &mut text);
    }
    text.push_str(&exit_codes(tree));
    text
}

fn section(command: &Command, above: &str, tree: &Command, text: &mut String) {
    let name = format!("{above} {}", command.get_name());
    let about = command.get_long_about().or(command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    text.push_str(&format!("\n## `{name}`\n\n{about}.\n\n"));
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    text.push_str(&format!("```text\n{usage}\n```\n"));
    let global = |argument: &Arg| tree.get_arguments().any(|other| other.get_id() == argument.get_id());
    let own: Vec<&Arg> = command
        .get_arguments()
        .filter(|argument| is_ours(argument) && !global(argument))
        .collect();
    if !own.is_empty() {
        text.push('\n');
        text.push_str(&table(own.into_iter()));
    }
    if let Some(after) = command.get_after_help() {
        text.push_str(&format!("\n```text\n{after}\n```\n"));
    }
    for inner in visible(command) {
        section(inner, &name, tree, text);
    }
}

/// Everything but the help that clap adds, and what is hidden.
fn is_ours(argument: &Arg) -> bool {
    !argument.is_hide_set() && !matches!(argument.get_id().as_str(), "help" | "version")
}

fn table<'a>(arguments: impl Iterator<Item = &'a Arg>) -> String {
    let mut text = "| argument | default | |\n|---|---|---|\n".to_owned();
    for argument in arguments {
        let help = argument.get_long_help().or(argument.get_help());
        let help = help.map(ToString::to_string).unwrap_or_default();
        let (help, default) = default_of(argument, &help);
        text.push_str(&format!(
            "| `{}` | {} | {} |\n",
            cell(&shape(argument)),
            cell(&default),
            cell(&(help + &values(argument) + &environment(argument)))
        ));
    }
    text
}

/// The argument as it is typed.
fn shape(argument: &Arg) -> String {
    let value = argument
        .get_value_names()
        .filter(|_| argument.get_action().takes_values())
        .map(|names| names.join(" "));
    let value = match argument.get_num_args() {
        Some(range) if range.min_values() == 0 && !argument.is_positional() => value.map(|value| format!("[{value}]")),
        _ => value,
    };
    if argument.is_positional() {
        let value = value.unwrap_or_else(|| argument.get_id().as_str().to_uppercase());
        let many = argument.get_num_args().is_some_and(|range| range.max_values() > 1);
        let value = if many { format!("{value}...") } else { value };
        return if argument.is_required_set() {
            value
        } else {
            format!("[{value}]")
        };
    }
    let short = argument.get_short().map(|short| format!("-{short}"));
    let long = argument.get_long().map(|long| format!("--{long}"));
    let names = short.into_iter().chain(long).collect::<Vec<_>>().join(", ");
    value.map_or(names.clone(), |value| format!("{names} {value}"))
}

/// A default is clap's own, or said at the end of the help as `[default: ...]`.
fn default_of(argument: &Arg, help: &str) -> (String, String) {
    let given: Vec<String> = argument
        .get_default_values()
        .iter()
        .map(|value| format!("`{}`", value.to_string_lossy()))
        .collect();
    match help.split_once(" [default: ") {
        Some((help, default)) => (help.to_owned(), default.trim_end_matches(']').to_owned()),
        None if !argument.get_action().takes_values() => (help.to_owned(), String::new()),
        None => (help.to_owned(), given.join(", ")),
    }
}

fn values(argument: &Arg) -> String {
    let values = argument.get_possible_values();
    if values.is_empty() || !argument.get_action().takes_values() {
        return String::new();
    }
    let names: Vec<String> = values.iter().map(|value| format!("`{}`", value.get_name())).collect();
    format!(": {}", names.join(", "))
}

fn environment(argument: &Arg) -> String {
    let name = argument.get_env().map(|name| name.to_string_lossy().into_owned());
    name.map(|name| format!(" (environment: `{name}`)")).unwrap_or_default()
}

/// They are said once, at the end of `kbo --help`.
fn exit_codes(tree: &Command) -> String {
    let said = tree.get_after_help().map(ToString::to_string).unwrap_or_default();
    let said = said.trim_start_matches("Exit codes: ").trim_end_matches('.');
    let rows = said.split("; ").filter_map(|row| row.split_once(' '));
    let mut text = "\n## Exit codes\n\n| code | |\n|---|---|\n".to_owned();
    for (code, meaning) in rows {
        text.push_str(&format!("| {code} | {} |\n", cell(meaning)));
    }
    text.push_str("\nWhat each says of the cluster: [exit-codes.md](../exit-codes.md).\n");
    text
}

#[cfg(test)]
mod tests {
    use super::super::tree;
    use super::*;

    #[test]
    fn a_command_is_shown_with_usage_arguments_defaults_and_values() {
        let text = document(&tree());
        assert!(text.contains("\n## `kbo restore`\n"), "{text}");
        assert!(
            text.contains("| `--only ONLY` |  | Only this dataset: `config`, `data` |"),
            "{text}"
        );
        assert!(
            text.contains("| `[BACKUP]` | `latest` | latest, latest~N, an id or its beginning |"),
            "{text}"
        );
        assert!(
            text.contains("(environment: `KBO_CONFIG`)") && text.contains("| 130 | interrupted"),
            "{text}"
        );
        assert!(!text.contains("kbo agent") && !text.contains("kbo generate"), "{text}");
    }

    #[test]
    fn every_argument_has_its_help() {
        fn look(command: &Command) {
            for argument in command.get_arguments().filter(|argument| is_ours(argument)) {
                assert!(
                    argument.get_help().is_some(),
                    "{} {}",
                    command.get_name(),
                    argument.get_id()
                );
            }
            visible(command).for_each(look);
        }
        look(&tree());
    }
}
