"""What each generator of a definition does with the root filesystem."""

from types import SimpleNamespace

import pytest

from templater.definitions import build_rendering
from templater.definitions.generators import _RUN, DEFAULT_WHEN, Results
from templater.definitions.known_rootfs import KnownRootfs
from templater.model.errors import LimitError, TemplaterError
from templater.model.source import Source


def run(generator, data=None, **fields):
    rootfs = KnownRootfs(assume=False)
    rootfs.written["/old"] = "x"
    entry = SimpleNamespace(
        **{"path": "", "content": "", "mode": "", "source": "", "uid": "", "gid": "", **fields}
    )
    entry.definition = SimpleNamespace(family=fields.get("family"), data=data or {})
    entry.value = lambda name: ""
    entry.data = {}
    _RUN[generator](entry, None, rootfs)
    return {path: text for path, text in rootfs.written.items() if path != "/old"}, rootfs.modes


@pytest.mark.parametrize(
    ("family", "targets", "kind", "options"),
    [
        (None, {}, "ext4", "defaults"),
        ("incus", {"incus": {"vm": {"filesystem": "btrfs"}}}, "btrfs", "defaults,subvol=@"),
        (None, {"incus": {"vm": {"filesystem": "xfs"}}}, "xfs", "defaults"),
        ("lxd", {"incus": {"vm": {"filesystem": "btrfs"}}}, "ext4", "defaults"),
        ("lxd", {"lxd": {"vm": {"filesystem": "btrfs"}}}, "btrfs", "defaults,subvol=@"),
    ],
)
def test_the_fstab_generator_writes_the_file_systems_of_a_virtual_machine(family, targets, kind, options):
    text = f"LABEL=rootfs  /         {kind}  {options}  0 0\nLABEL=UEFI    /boot/efi vfat  defaults  0 0\n"
    assert run("fstab", {"targets": targets}, family=family) == ({"/etc/fstab": text}, {})


@pytest.mark.parametrize(
    ("path", "written"),
    [("/etc/a", "/etc/a"), ("/etc/", "/etc/b"), ("", "/x/b")],
)
def test_the_copy_generator_writes_a_file_with_unknown_content(path, written):
    assert run("copy", path=path, source="/x/b", mode="0640") == ({written: None}, {written: 0o640})


def test_the_dump_generator_ends_its_file_with_a_newline():
    assert run("dump", path="/a", content="b", mode="4755") == ({"/a": "b\n"}, {"/a": 0o755})


def test_removing_a_path_also_removes_the_files_below_it():
    rootfs = KnownRootfs()
    rootfs.write("/a/b", "x", "0600")
    rootfs.write("/ab", "y")
    assert rootfs.exists("/a") and not rootfs.assumed
    rootfs.remove("/a")
    assert (rootfs.written, rootfs.modes, rootfs.exists("/a/b"), rootfs.exists("/ab")) == (
        {"/ab": "y"},
        {},
        False,
        True,
    )
    assert rootfs.exists("/c") and rootfs.assumed == {"/c": None}
    assert not KnownRootfs(assume=False).exists("/c")


def test_all_templates_and_fields_of_a_build_share_one_size_limit():
    results = Results(10)
    entry = SimpleNamespace(path="/a", when=(), properties={"p": "1"}, span=lambda *_: None)
    results.count("ab", "c")
    results.add(entry, "a.tpl", (("def", None), ("ghij", None)))
    assert results.size == 10
    assert results.templates["a.tpl"][0] == "defghij"
    assert (results.rules["/a"].when, results.rules["/a"].properties) == (DEFAULT_WHEN, {"p": "1"})
    with pytest.raises(LimitError) as caught:
        results.add(entry, "b.tpl", (("k", None),))
    assert caught.value.message == "the entries of 'files' have more than 10 characters in total"
    assert len(results.made) == 1


def test_a_generator_can_override_the_triggers_of_an_entry():
    results = Results(10)
    entry = SimpleNamespace(path="/a", when=("start",), properties={"p": "1"}, span=lambda *_: None)
    results.add(entry, "a.tpl", ())
    results.add(entry, "b.tpl", (), {}, ("copy",))
    assert [(rule.when, rule.properties) for rule in results.made] == [
        (("start",), {"p": "1"}),
        (("copy",), {}),
    ]
    assert results.rules["/a"] is results.made[1]


@pytest.mark.parametrize(
    ("target", "family", "text"),
    [
        ({}, "incus", "0,"),
        ({}, "lxd", ","),
        ({"vm": {"size": 7, "filesystem": "btrfs"}}, "incus", "7,btrfs"),
        ({"vm": {"size": "7GiB", "filesystem": "xfs"}}, "lxd", "7GiB,xfs"),
    ],
)
def test_the_second_rendering_knows_only_the_build_target(target, family, text):
    source = Source(
        "d.yaml", f"{{{{ {family}.VM.Size }}}},{{{{ {family}.VM.Filesystem }}}}{{{{ image.name }}}}"
    )
    assert build_rendering.render_again(source.text, source, target, family, build_rendering.LIMITS) == text


@pytest.mark.parametrize("rounds", [build_rendering.MAX_ROUNDS - 1, build_rendering.MAX_ROUNDS])
def test_a_field_is_rendered_again_while_delimiters_remain(rounds):
    values = {f"x{number}": f"{{{{ x{number + 1} }}}}" for number in range(rounds)} | {f"x{rounds}": "end"}
    source = Source("d.yaml", "{{ x0 }}")
    if rounds < build_rendering.MAX_ROUNDS:
        assert build_rendering.render(source, build_rendering.Data(values), build_rendering.LIMITS) == "end"
        return
    with pytest.raises(TemplaterError) as caught:
        build_rendering.render(source, build_rendering.Data(values), build_rendering.LIMITS)
    message = (
        f"the text still contains '{{{{' or '{{%' after it was rendered {build_rendering.MAX_ROUNDS} times"
    )
    assert caught.value.message == message
    assert caught.value.span.place == "d.yaml:1:1"
    assert caught.value.hint.endswith("distrobuilder never finishes this build")
