"""docs/hosts.md describes the known hosts."""

from pathlib import Path

import pytest

from templater.model.hosts import FILE_TAGS, HOSTS, Host
from templater.pongo2.dialect import DIALECTS

PAGE = Path(__file__).parents[3] / "docs/hosts.md"
LINKS = {"create": "refuses links at create", "start": "refuses links at start", "": "follows links"}


def row(host: Host) -> str:
    cells = (
        f"`{host.name}`", host.title, f"pongo2 {DIALECTS[host.dialect].version}", f"yaml.{host.yaml}",
        f"bans {'all four tags' if host.banned == FILE_TAGS else 'no tag'}", LINKS[host.links_refused_at],
        f"{'uses' if host.permissions else 'ignores'} ids and mode",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("name", [name for name in HOSTS if name != "none"])
def test_the_page_about_hosts_gives_the_facts_of_each_host(name: str) -> None:
    assert row(HOSTS[name]) in PAGE.read_text().splitlines()


def test_the_title_of_incus_6_0_omits_different_releases() -> None:
    """Incus 6.23 bans tags and 7.0.0 reads yaml v4; tests/hosts has the recordings of the releases."""
    assert "7.0.0" not in HOSTS["incus-6.0"].title and "6.23" not in HOSTS["incus-6.0"].title
