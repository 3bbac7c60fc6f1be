"""How values of the model show themselves to a programmer."""

import pytest

from templater.definitions.choice import Choice
from templater.definitions.predicted_image import build
from templater.instances.state_directory import State
from templater.model.default_triggers import Triggers
from templater.model.entry import DIRECTORY, Entry
from templater.model.hosts import INCUS
from templater.model.instance import Instance
from templater.model.metadata import Finding, Metadata, Rule
from templater.model.plan import CREATE, Change, Outcome, Plan
from templater.model.source import Source
from templater.pongo2.dialect import V4
from templater.rootfs.directory_rootfs import DirectoryRootfs
from templater.rootfs.id_map import IdMap
from templater.rootfs.memory_rootfs import MemoryRootfs
from templater.simulation.simulated_instance import Life

RULE = Rule("/etc/a", "a.tpl", ("create",))
SPAN = Source("metadata.yaml", "a: b").span(3, 4)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Entry(DIRECTORY, 0o755, 1, 2), "Entry('directory', 0755, 1:2)"),
        (IdMap(((0, 9, 1),), ()), "IdMap(((0, 9, 1),), ())"),
        (MemoryRootfs({"/etc/a": "b"}), "MemoryRootfs(2 names)"),
        (V4, "Dialect('v4')"),
        (INCUS, "Host('incus')"),
        (Instance("c1"), "Instance('c1', 'container')"),
        (Life("create", True), "Life(pending='create', running=True)"),
        (RULE, "Rule('/etc/a', 'a.tpl', when=('create',))"),
        (Finding("unknown-key", "said", SPAN), "Finding('unknown-key', 'said')"),
        (Outcome("fails", "text", "error"), "Outcome('fails', 'text')"),
        (Outcome("fails", "", "error"), "Outcome('fails', 'error')"),
        (Change(RULE, "create", "/etc/a", CREATE), "Change(create '/etc/a' on create)"),
        (Plan(Metadata(), Instance("c1"), INCUS, ("create",), ()), "Plan('c1', ('create',), 0 changes)"),
        (SPAN, "Span(metadata.yaml:1:4)"),
        (Triggers(("create", "start"), "why"), "Triggers(create,start: why)"),
        (State("copy", "c2", "a.tar"), "State(pending='copy', name='c2', image='a.tar')"),
        (build(Source("d.yaml", "image: {distribution: a}"), Choice()), "DefinitionImage('d.yaml')"),
    ],
)
def test_the_repr_of_public_objects_contains_their_main_fields(value, text):
    assert repr(value) == text


def test_the_repr_of_an_open_directory_contains_its_path(tmp_path):
    (tmp_path / "etc").mkdir()
    with DirectoryRootfs(str(tmp_path)) as rootfs, rootfs.root.directory("/etc") as folder:
        assert repr(rootfs) == f"DirectoryRootfs('{tmp_path}')"
        assert repr(rootfs.root) == f"Root('{tmp_path}', mechanism='{rootfs.root.mechanism}')"
        assert repr(folder) == f"Directory({folder.path!r})"
