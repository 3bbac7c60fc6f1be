"""Names that look like other names."""

import pytest

from tests.checks.builders import an_image, observed, rules

CHECK = "lookalike-name"


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("h\u043ests.tpl", "CYRILLIC SMALL LETTER O"),
        ("hosts\u200b.tpl", "ZERO WIDTH SPACE"),
        ("\uff48osts.tpl", "FULLWIDTH LATIN SMALL LETTER H"),
        ("ho\u0301sts.tpl", "COMBINING ACUTE ACCENT"),
        ("Hosts.tpl", "another spelling"),
        ("hosts.tpl ", "another spelling"),
    ],
)
def test_a_lookalike_of_another_template_name_is_reported(name, spelled):
    ((severity, _, message),) = observed(CHECK, an_image(templates={"hosts.tpl": "", name: ""}))
    assert severity == "medium"
    assert "looks like 'hosts.tpl'" in message
    assert spelled in message


def test_a_rule_with_a_lookalike_template_name_is_reported():
    metadata = rules('/etc/a: {when: [create], template: "h\u043ests.tpl"}')
    assert len(observed(CHECK, an_image(metadata, {"hosts.tpl": ""}))) == 1


def test_a_lookalike_of_metadata_yaml_is_reported():
    ((_, _, message),) = observed(CHECK, an_image(names=["metadata.yaml", "met\u0430data.yaml"]))
    assert "looks like 'metadata.yaml'" in message


def test_different_names_in_any_alphabet_have_no_finding():
    templates = {"hosts.tpl": "", "host.tpl": "", "h\u00f6st.cfg": "", "\u0445\u043e\u0441\u0442.tpl": ""}
    assert not observed(CHECK, an_image(templates=templates, names=["metadata.yaml", "rootfs", "templates"]))
