"""Notes on files that read whether a trigger is still pending in the second pass."""

import pytest

from templater.model.entry import FILE, Entry, TemplateFile
from templater.model.hosts import HOSTS
from templater.model.instance import VIRTUAL_MACHINE, Instance
from templater.model.metadata import Metadata, Rule
from templater.model.pending_trigger import PENDING_KEY
from templater.model.render_options import RenderOptions
from templater.planning.plan_image import pending_key_notes
from templater.rendering.render import render

BOTH = ("create", "start")
READS = f'{{{{ config_get("{PENDING_KEY}", "") }}}}'


def notes(text: str, host: str = "incus", *, kind: str = "container", triggers=BOTH, when=BOTH, pending=True):
    instance = Instance("c1", kind, config={PENDING_KEY: "create"} if pending else {})
    options = RenderOptions(HOSTS[host], clock=0.0, seed=0)
    templates = {"a.tpl": TemplateFile(Entry(FILE), text.encode()), "b.tpl": TemplateFile(Entry(FILE), b"b")}
    metadata = Metadata(
        rules=(Rule("/a", "a.tpl", when), Rule("/b", "b.tpl", BOTH), Rule("/c", "a.tpl", when))
    )
    renderings = list(render(metadata, templates, instance, triggers, options))
    return list(pending_key_notes(renderings, templates, instance, options, triggers))


@pytest.mark.parametrize(
    ("host", "kind", "kinds"),
    [
        ("incus", "container", "containers"),
        ("lxd", "container", "containers"),
        ("incus", VIRTUAL_MACHINE, "virtual machines"),
    ],
)
def test_a_note_lists_files_that_need_the_pending_trigger_key(host, kind, kinds):
    assert notes(READS, host, kind=kind) == [
        f"assuming that {PENDING_KEY} stays set in the start pass for {kinds} of {host},"
        " as recorded for incus-debian and lxd-debian; affected files: /a, /c"
    ]


def test_a_loop_over_the_configuration_reads_volatile_apply_template():
    assert len(notes("{% for key in config %}{{ key }} {% endfor %}")) == 1


def test_a_plan_without_an_assumption_has_no_note():
    assert notes("text") == notes(f'{{{{ config_get("{PENDING_KEY}", "create") }}}}') == []
    assert notes(READS, "incus-debian") == notes(READS, "lxd-debian") == notes(READS, "none") == []
    assert notes(READS, "incus-debian", kind=VIRTUAL_MACHINE) == []
    assert notes(READS, "lxd-debian", kind=VIRTUAL_MACHINE) == []
    assert notes(READS, when=("create",)) == notes(READS, triggers=("create",)) == []
    assert notes(READS, pending=False) == []
