//! `{{ name }}` in a value: other variables put in their place, as far as that needs no Ansible.

/// The text with its variables put in; none where only Ansible could.
pub(super) fn resolve(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    put_in(text, variable, 8)
}

fn put_in(text: &str, variable: &dyn Fn(&str) -> Option<String>, depth: usize) -> Option<String> {
    if text.contains("{%") || text.contains("{#") {
        return None;
    }
    let mut whole = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("{{") {
        let (expression, after) = behind.split_once("}}")?;
        let value = variable(name(expression.trim())?)?;
        whole.push_str(before);
        // A variable may be made of others; one that is made of itself ends here.
        whole.push_str(&put_in(&value, variable, depth.checked_sub(1)?)?);
        rest = after;
    }
    whole.push_str(rest);
    (whole.len() < 64 * 1024).then_some(whole)
}

/// The variable that an expression is: `name`, or `hostvars[inventory_hostname]['name']`.
fn name(expression: &str) -> Option<&str> {
    let inner = expression
        .strip_prefix("hostvars[inventory_hostname]")
        .or_else(|| expression.strip_prefix("hostvars[item]"));
    let name = match inner {
        Some(key) => key
            .strip_prefix('.')
            .or_else(|| key.strip_prefix("['")?.strip_suffix("']"))
            .or_else(|| key.strip_prefix("[\"")?.strip_suffix("\"]"))?,
        None => expression,
    };
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(name: &str) -> Option<String> {
        match name {
            "base" => Some("/data".to_owned()),
            "config" => Some("{{ base }}/config".to_owned()),
            "loop" => Some("{{ loop }}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_put_in_and_what_needs_ansible_is_none() {
        let resolve = |text: &str| resolve(text, &variable);
        assert_eq!(resolve("plain").as_deref(), Some("plain"));
        assert_eq!(resolve("{{config}}/x").as_deref(), Some("/data/config/x"));
        assert_eq!(
            resolve("{{ hostvars[inventory_hostname]['base'] }}").as_deref(),
            Some("/data")
        );
        for text in [
            "{{ loop }}",
            "{{ nobody }}",
            "{{ base | upper }}",
            "{% if x %}",
            "{{ open",
        ] {
            assert_eq!(resolve(text), None, "{text}");
        }
    }
}
