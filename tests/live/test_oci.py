"""Tests of hooks with the OCI runtimes runc and crun. The config.json of a bundle runs templater."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from templater.hooks import install
from templater.hooks.runtimes import oci
from tests.user_namespaces import user_namespace

from .harness import (
    CG2,
    INSTANCE,
    born,
    log_of,
    make_image,
    make_rootfs,
    need,
    run,
    shift,
    show_words,
    shown,
    state_of,
)

pytestmark = pytest.mark.live

BASE = 1000000
RUNTIMES = {"runc": (), "crun": CG2}


class Bundle:
    """An OCI bundle for runc or crun."""

    def __init__(self, runtime: str, path: Path) -> None:
        self.runtime = runtime
        self.path = path / "bundle"
        self.root = path / "run"
        make_rootfs(self.path / "rootfs")
        self.path.chmod(0o755)
        self.tool("spec", "--bundle", str(self.path))
        self.edit(terminal=False, args=show_words())

    def tool(self, *words: str, code: int | None = 0):
        return run(*RUNTIMES[self.runtime], self.runtime, "--root", str(self.root), *words, code=code)

    def config(self) -> dict:
        return json.loads((self.path / "config.json").read_text())

    def edit(
        self,
        *,
        annotations: dict | None = None,
        linux: dict | None = None,
        root: dict | None = None,
        **process,
    ):
        config = self.config()
        config["process"].update(process)
        config.setdefault("annotations", {}).update(annotations or {})
        config["root"]["readonly"] = False
        config["root"].update(root or {})
        config["linux"].update(linux or {})
        (self.path / "config.json").write_text(json.dumps(config))

    def install(self, *options: str, stage: str = "createRuntime") -> None:
        install.write(oci.snippet(str(self.path), [*options, "--stage", stage], ""))

    def start(self, code: int | None = 0):
        return self.tool("run", "--bundle", str(self.path), f"live-{self.runtime}", code=code)

    def seen(self) -> dict:
        return shown(self.start().stdout)


@pytest.fixture(params=sorted(RUNTIMES))
def bundle(request: pytest.FixtureRequest, folder: Path) -> Iterator[Bundle]:
    need(request.param)
    yield Bundle(request.param, folder)


def test_a_hook_renders_a_bundle_with_an_image(bundle: Bundle):
    make_image(bundle.path, instance=INSTANCE)
    bundle.install()
    assert bundle.seen() == born("c1")
    assert state_of(bundle.path) == {"name": "c1"}


def test_annotations_can_set_the_image_and_the_configuration_keys(bundle: Bundle, folder: Path):
    make_image(folder / "image")
    bundle.install("--allow", str(folder))
    bundle.edit(
        annotations={
            "org.templater.source": str(folder / "image"),
            "org.templater.name": "c1",
            "org.templater.config.user.foo": "bar",
        }
    )
    assert bundle.seen() == born("c1")


def test_a_trigger_annotation_replaces_the_default_triggers(bundle: Bundle):
    make_image(bundle.path, instance=INSTANCE)
    bundle.install()
    bundle.edit(annotations={"org.templater.trigger": "rename"})
    seen = bundle.seen()
    assert seen["/etc/templated"] == ("0:0 644", "c1 rename bar\n")
    assert seen["/etc/existing"] == ("33:34 604", "old content\n")


def test_an_annotation_cannot_select_an_image_without_permission(bundle: Bundle, folder: Path):
    make_image(folder / "image")
    bundle.install()
    bundle.edit(annotations={"org.templater.source": str(folder / "image")})
    assert bundle.start(code=None).returncode != 0
    assert not (bundle.path / "rootfs/etc/templated").exists()


def test_a_second_container_start_runs_only_the_start_trigger(bundle: Bundle):
    make_image(bundle.path, instance=INSTANCE)
    bundle.install()
    bundle.start()
    (bundle.path / "rootfs/etc/birth").write_text("mine now\n")
    assert bundle.seen()["/etc/birth"] == ("0:0 644", "mine now\n")


def test_files_in_a_user_namespace_have_mapped_owners(bundle: Bundle):
    make_image(bundle.path, instance=INSTANCE)
    shift(bundle.path / "rootfs", BASE)
    config = bundle.config()
    mapping = [{"containerID": 0, "hostID": BASE, "size": 65536}]
    bundle.edit(
        linux={
            "namespaces": [*config["linux"]["namespaces"], {"type": "user"}],
            "uidMappings": mapping,
            "gidMappings": mapping,
        }
    )
    bundle.install()
    assert bundle.seen() == born("c1")
    assert (bundle.path / "rootfs/srv/new/deep/file").stat().st_uid == BASE + 33


@pytest.fixture
def namespace() -> Iterator[str]:
    """Yield the path of a user namespace.

    User id 0 in the namespace is BASE on the host. A process keeps the namespace alive.
    """
    with user_namespace(BASE) as pid:
        yield f"/proc/{pid}/ns/user"


def test_files_in_a_joined_user_namespace_have_mapped_owners(bundle: Bundle, namespace: str):
    make_image(bundle.path, instance=INSTANCE)
    shift(bundle.path / "rootfs", BASE)
    namespaces = [each for each in bundle.config()["linux"]["namespaces"] if each["type"] != "cgroup"]
    bundle.edit(linux={"namespaces": [*namespaces, {"type": "user", "path": namespace}]})
    bundle.install()
    assert bundle.seen() == born("c1")
    assert (bundle.path / "rootfs/srv/new/deep/file").stat().st_uid == BASE + 33
    os.chown(bundle.path / "rootfs", BASE + 1000, BASE + 1000)
    assert bundle.start(code=None).returncode != 0


def test_a_hook_renders_a_container_with_a_read_only_root(bundle: Bundle):
    make_image(bundle.path, instance=INSTANCE)
    bundle.install()
    bundle.edit(root={"readonly": True})
    assert bundle.seen() == born("c1")


def test_a_hook_in_the_create_container_stage_writes_files(bundle: Bundle):
    make_image(bundle.path, instance=INSTANCE)
    bundle.install("--in-place", stage="createContainer")
    assert bundle.seen() == born("c1")


def test_attack_104_a_hook_does_not_change_files_below_a_mount(bundle: Bundle, folder: Path):
    """The hook replaced the file below the operator's mount. The kernel then removed this mount."""
    make_image(bundle.path, instance=INSTANCE)
    (folder / "own").write_text("of the operator\n")
    config = bundle.config()
    config["mounts"].append(
        {"destination": "/etc/existing", "type": "bind", "source": f"{folder}/own", "options": ["bind", "ro"]}
    )
    (bundle.path / "config.json").write_text(json.dumps(config))
    bundle.install()
    seen = bundle.seen()
    assert seen["/etc/existing"][1] == "of the operator\n"
    assert seen["/etc/birth"] == born("c1")["/etc/birth"]
    assert "leave /etc/existing alone: the runtime mounts a file over it" in log_of(bundle.path)
    assert (bundle.path / "rootfs/etc/existing").read_text() == "old content\n"


def test_a_failing_template_stops_the_start_and_reports_the_reason(bundle: Bundle):
    make_image(bundle.path, templates={"templated.tpl": "a\n{{ x|nosuch }}\n"}, instance=INSTANCE)
    bundle.install()
    answer = bundle.start(code=None)
    assert answer.returncode != 0
    assert "templates/templated.tpl:2:6: " in log_of(bundle.path)
    if bundle.runtime == "runc":  # crun discards the output of a hook
        assert "templates/templated.tpl:2:6: " in answer.stderr + answer.stdout
    assert not (bundle.path / "rootfs/etc/birth").exists()


def test_environment_variables_do_not_change_the_result_of_a_hook(bundle: Bundle):
    make_image(bundle.path, instance=INSTANCE)
    bundle.install()
    config = bundle.config()
    hook = config["hooks"]["createRuntime"][0]
    hook["env"] = ["LC_ALL=tr_TR.UTF-8", "TZ=Asia/Tokyo", "PYTHONPATH=/nonsense", "PYTHONHASHSEED=7"]
    (bundle.path / "config.json").write_text(json.dumps(config))
    assert bundle.seen() == born("c1")
