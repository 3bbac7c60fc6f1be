"""docs/metadata.md names every field, and its example has no findings."""

import re
from pathlib import Path

from templater.model.metadata import TRIGGERS, Rule
from templater.model.source import Source
from templater.parsing.metadata_yaml import read_metadata

PAGE = (Path(__file__).parents[3] / "docs/metadata.md").read_text()


def test_the_example_on_the_metadata_page_has_no_findings():
    (example,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    metadata = read_metadata(Source("metadata.yaml", example))
    assert not metadata.findings
    assert [rule.path for rule in metadata.rules] == ["/etc/hostname", "/etc/motd"]
    assert metadata.properties == {"os": "Debian", "release": "trixie"}


def test_the_metadata_page_describes_every_rule_field_and_trigger():
    table = PAGE.partition("## The fields of a rule")[2].partition("\n## ")[0]
    fields = {name for name in Rule.__slots__ if name not in ("path", "spans", "null")}
    assert fields <= set(re.findall(r"`(\w+)`", table))
    for trigger in TRIGGERS:
        assert f"`{trigger}`" in PAGE
