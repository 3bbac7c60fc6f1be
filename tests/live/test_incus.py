"""Tests that compare the files that Incus and templater write in the same start of an instance.

The images and steps come from ``tests/incus_cases`` and ``sample-images``. Before each start, a test copies
the instance's root filesystem. Incus then writes to the original. A hook in ``raw.lxc`` runs templater, which
writes to the copy. The files in both must have equal contents, owners and modes, unless a named deviation
explains the difference.

If Incus refuses a start, LXC runs no hook. Then the test itself runs the hook line, with the variables of an
LXC hook.
"""

import base64
import json
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from templater.image.open_image import open_image
from templater.model.hosts import INCUS_DEBIAN
from templater.model.instance import Instance
from templater.model.pending_trigger import passes
from templater.model.source import Source
from templater.parsing.instance_description import read_instance
from templater.planning.plan_image import plan
from templater.rootfs.directory_rootfs import DirectoryRootfs
from tests.replay import explanations

from .harness import hook_argv, make_image, make_rootfs, need, new_folder, run
from .incus import Incus, an_incus

pytestmark = pytest.mark.live

ROOT = Path(__file__).parent.parent.parent
CASES = Path(os.environ.get("TEMPLATER_INCUS_CASES") or ROOT / "tests/incus_cases")
SAMPLES = ROOT / "sample-images"

BUSY = ("dev", "proc", "sys", "run")


def cases() -> Iterator[Any]:
    for path in sorted(CASES.glob("*.json")):
        case = json.loads(path.read_text())
        starts = "observed" in case and any(o["step"][0] in ("start", "restart") for o in case["observed"])
        if not starts or case["import"]["rc"] or case["id"].startswith("shifted_"):
            continue  # cases without a start, or daemons without idmapped mounts
        if any(o["rc"] == "timeout" or o["step"][1:2] == ["export"] for o in case["observed"]):
            continue  # a start that hangs, or a backup in a folder of the recorder
        if any("--empty" in o["step"] for o in case["observed"]):
            continue  # an instance without an image: neither LXC's hooks nor templater's run in it
        if any(
            not {"content", "b64", "type"} & set(t)
            for t in case["image"]["templates"].values()
            if type(t) is dict
        ):
            continue  # a template too large to have been recorded
        yield pytest.param(case, id=case["id"])


@pytest.fixture(scope="module")
def incus() -> Iterator[Incus]:
    yield from an_incus()


@pytest.fixture(scope="module")
def work() -> Iterator[Path]:
    for folder in new_folder():
        make_rootfs(folder / "base")
        for name in ("copies", "before", "state"):
            (folder / name).mkdir()
        yield folder


class Side:
    """The instances of one image, with a copy of each instance's root filesystem for templater."""

    def __init__(self, incus: Incus, work: Path) -> None:
        self.incus = incus
        self.work = work
        self.compared = 0
        self.deviations: set[str] = set()
        words = [
            *hook_argv("incus", "--dialect", "v4", "--on-error", "keep-going"),
            "--rootfs", f"{work}/copies/$LXC_NAME", "--state", f"{work}/state/$LXC_NAME",
        ]  # fmt: skip
        code = words.index("-c") + 1
        words[code] = f"'{words[code]}'"
        self.raw = f"raw.lxc=lxc.hook.pre-start = {' '.join(words)}"

    def folder(self, name: str) -> Path:
        return self.incus.rootfs(name).parent

    # before and after a start

    def prepare(self, name: str) -> None:
        for where in ("copies", "before"):
            remove(self.work / where / name)
            run("cp", "-a", str(self.incus.rootfs(name)), str(self.work / where / name))
        remove(self.work / "state" / name)
        (self.work / "state" / name).mkdir()

    def compare(self, name: str, started: bool) -> None:
        if not started:
            self.by_hand(name)
        theirs, ours = tree(self.incus.rootfs(name)), tree(self.work / "copies" / name)
        different = sorted(path for path in {*theirs, *ours} if theirs.get(path) != ours.get(path))
        log = self.work / "state" / name / ".templater/log"
        nothing = not (
            self.folder(name) / "metadata.yaml"
        ).exists()  # then neither Incus nor templater renders
        failed = not nothing and (not log.exists() or "failed: " in log.read_text())
        self.compared += 1
        if failed != (not started) or different:
            self.explain(name, different, (theirs, ours), log.read_text() if log.exists() else "no log")

    def by_hand(self, name: str) -> None:
        """Run the hook line as LXC runs it, for a start that Incus has refused."""
        words = hook_argv("incus", "--dialect", "v4", "--rootfs", str(self.work / "copies" / name))
        environ = {"LXC_NAME": name, "LXC_ROOTFS_PATH": str(self.incus.rootfs(name))}
        state = ("--state", str(self.work / "state" / name))
        subprocess.run([*words, *state], env=environ, capture_output=True, check=False, timeout=60)

    def explain(self, name: str, different: list[str], trees: tuple[dict, dict], log: str) -> None:
        shown = {path: [side.get(path) for side in trees] for path in different}
        source = Source("backup.yaml", (self.folder(name) / "backup.yaml").read_bytes())
        instance = read_instance(source, name=name)
        triggers = passes(instance.expanded_config().get("volatile.apply_template", ""))
        with DirectoryRootfs(str(self.work / "before" / name)) as rootfs:
            image = open_image(str(self.folder(name)))
            made = plan(image, instance, triggers=triggers, rootfs=rootfs, host=INCUS_DEBIAN, dialect="v4")
            found = explanations(made)
        assert found, f"{name}: no named deviation explains {shown}\n{log}\n{self.incus.reason()}"
        places = {
            place for changes in found.values() for change in changes for place in (change.path, change.real)
        }
        fails = {change for change in made.host_fails if made.prediction.outcomes[change].result == "fails"}
        whole = any(change.action == "failed" or change in fails
                    for changes in found.values() for change in changes)  # fmt: skip
        places |= self.other_names(name, places)
        strange = [path for path in different if not any(near(path, place) for place in places)]
        assert whole or not strange, f"{name}: nothing explains {strange}: {shown}\n{log}"
        self.deviations |= found.keys()

    def other_names(self, name: str, places: set[str]) -> set[str]:
        """Return the paths of all hard links of the files ``places``.

        A write to one hard link changes the content at all hard links of the file.
        """
        root = self.work / "before" / name
        inodes = {(root / place[1:]).stat().st_ino for place in places if (root / place[1:]).is_file()}
        files = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
        return {f"/{path.relative_to(root)}" for path in files if path.stat().st_ino in inodes}

    # steps

    def step(self, step: list[Any], code: int) -> None:
        verb, *rest = step
        words = [str(word) for word in rest]
        if verb in ("start", "restart"):
            name = words[0]
            if verb == "restart":
                self.incus("stop", "-f", name, code=None)
            self.prepare(name)
            answer = run("incus", "start", name, code=None, env=self.incus.environment, timeout=60)
            self.compare(name, answer.returncode == 0)
        elif verb == "create":
            made = 0 if code == 0 else None
            self.incus("create", words[0], words[1], "-c", self.raw, *words[2:], code=made)
        elif verb == "stop":
            self.incus("stop", "-f", words[0], code=None)
        elif verb == "set":
            self.incus("config", "set", words[0], f"{words[1]}={words[2]}", code=None)
        elif verb in ("copy", "rename"):
            self.incus(verb, *words, code=None)
        elif verb == "incus":
            self.incus(*words, code=None)
        elif verb == "sh":
            containers = str(self.folder("x").parent)
            run("bash", "-c", words[0].replace("{CT}", containers), code=None)
        elif verb == "set_stdin":
            self.feed(["config", "set", words[0], words[1], "-"], words[2])
        elif verb in ("tpl_create", "tpl_delete"):
            self.incus("config", "template", verb.removeprefix("tpl_"), *words[:2], code=None)
        elif verb == "tpl_edit":
            self.feed(["config", "template", "edit", *words[:2]], words[2])
        elif verb == "meta_edit":
            self.feed(["config", "metadata", "edit", words[0]], words[1])
        elif verb == "exec":
            self.incus("exec", words[0], "--", *words[1:], code=None)
        elif verb not in ("sleep", "tpl_list", "tpl_show", "meta_show", "unset"):
            raise AssertionError(f"what is {verb}?")

    def feed(self, words: list[str], text: str) -> None:
        subprocess.run(["incus", *words], input=text, text=True, env=self.incus.environment, check=False,
                       capture_output=True, timeout=60)  # fmt: skip

    def close(self) -> None:
        self.incus.must_live()
        for _ in range(20):  # a failed start may still be shutting down
            names = [each["name"] for each in self.incus.json("list", "-f", "json")]
            if not names:
                break
            for name in names:
                self.incus("delete", "-f", name, code=None)
            time.sleep(0.2 if self.incus.json("list", "-f", "json") else 0)
        for each in self.incus.json("image", "list", "-f", "json"):
            self.incus("image", "delete", each["fingerprint"], code=None)
        for each in self.incus.json("profile", "list", "-f", "json"):
            if each["name"] != "default":
                self.incus("profile", "delete", each["name"], code=None)
        for where in ("copies", "before", "state"):
            for path in (self.work / where).iterdir():
                remove(path)
        for half_made in self.folder("x").parent.iterdir():  # its image was refused at creation
            remove(half_made)
            (self.incus.folder / "containers" / half_made.name).unlink(missing_ok=True)


@pytest.fixture
def side(incus: Incus, work: Path) -> Iterator[Side]:
    side = Side(incus, work)
    try:
        yield side
    finally:
        side.close()


def near(path: str, place: str) -> bool:
    return path == place or place.startswith(path + "/") or path.startswith(place + "/")


def remove(path: Path) -> None:
    if path.exists():
        run("chattr", "-R", "-f", "-i", str(path), code=None)
        shutil.rmtree(path)


def tree(root: Path) -> dict[str, Any]:
    """Return mode, owner and content of every entry below ``root``.

    The content of a symlink is its target.
    """
    found: dict[str, Any] = {}
    for folder, folders, files in os.walk(root):
        if folder == str(root):
            folders[:] = [name for name in folders if name not in BUSY]
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            status = os.lstat(path)
            content: Any = None
            if stat.S_ISREG(status.st_mode):
                content = Path(path).read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            shown = "/" + os.path.relpath(path, root)
            found[shown] = (oct(status.st_mode), status.st_uid, status.st_gid, content)
    return found


# --- images ------------------------------------------------------------------------------------


def build_case(case: dict[str, Any], base: Path, folder: Path) -> Path:
    """Build the image of a recorded case. Its root filesystem is a copy of ``base`` with additional files."""
    image = case["image"]
    shutil.copytree(base, folder / "rootfs", symlinks=True)
    os.chown(folder / "rootfs/etc/existing", 33, 34)
    (folder / "metadata.yaml").write_text(image["metadata_yaml"])
    where = image.get("templates_dir", "dir")
    if where == "dir":
        (folder / "templates").mkdir()
        for name, template in image["templates"].items():
            put(
                folder / "templates" / name,
                {"content": template} if isinstance(template, str) else template,
                folder,
            )
    elif where != "absent":
        (folder / "templates").symlink_to(where)
    for extra in image.get("rootfs_extra", []):
        put(folder / "rootfs" / extra["path"].lstrip("/"), extra, folder)
    return pack(folder)


def put(path: Path, entry: dict[str, Any], top: Path | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = entry.get("type", "file")
    if kind != "dir" and (path.exists() or path.is_symlink()):
        path.unlink()
    if kind == "dir":
        path.mkdir(exist_ok=True)
    elif kind == "symlink":
        path.symlink_to(entry["target"])
        return
    elif kind == "hardlink":
        assert top is not None
        there = top / entry["target"].lstrip("/")
        os.link(there if there.exists() else top / "rootfs" / entry["target"].lstrip("/"), path)
        return
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "char":
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    else:
        path.write_bytes(base64.b64decode(entry["b64"]) if "b64" in entry else entry["content"].encode())
    os.chown(path, entry.get("uid", 0), entry.get("gid", 0))
    path.chmod(int(entry.get("mode", "0755" if kind == "dir" else "0644"), 8))


def pack(folder: Path) -> Path:
    tar = folder.with_suffix(".tar")
    names = [name for name in ("metadata.yaml", "templates", "rootfs") if os.path.lexists(folder / name)]
    run("tar", "-C", str(folder), "-cf", str(tar), *names)
    return tar


@pytest.mark.parametrize("case", list(cases()))
def test_templater_writes_the_same_files_as_incus_for_a_recorded_case(
    case: dict[str, Any], side: Side, tmp_path: Path
):
    tar = build_case(case, side.work / "base", tmp_path / "image")
    side.incus("image", "import", str(tar), "--alias", "img")
    for observed in case["observed"]:
        side.step(observed["step"], observed["rc"])
    assert side.compared, "nothing was started"
    print(f"{side.compared} starts compared; deviations: {sorted(side.deviations) or 'none'}")


#: pongo2 follows endless macros until Go ends the whole daemon. Incus applies rules in random order and stops
#: at the first failure, so it only sometimes reaches this rule.
ENDLESS = "  /etc/endless:\n    when: [create]\n    template: endless.tpl\n"


def samples() -> list[str]:
    return sorted(
        path.parent.name for path in SAMPLES.glob("*/metadata.yaml") if path.parent.name != "rocky-vm"
    )


@pytest.mark.parametrize("name", samples())
def test_templater_writes_the_same_files_as_incus_for_a_sample_image(name: str, side: Side, tmp_path: Path):
    folder = tmp_path / "image"
    shutil.copytree(side.work / "base", folder / "rootfs", symlinks=True)
    sample = SAMPLES / name
    metadata = (sample / "metadata.yaml").read_text()
    metadata = metadata.replace("architecture: aarch64", "architecture: x86_64").replace(ENDLESS, "")
    (folder / "metadata.yaml").write_text(metadata)
    shutil.copytree(sample / "templates", folder / "templates", symlinks=True)
    if (sample / "rootfs").exists():
        for link in (path for path in (sample / "rootfs").rglob("*") if path.is_symlink()):
            shutil.rmtree(folder / "rootfs" / link.relative_to(sample / "rootfs"), ignore_errors=True)
        run("cp", "-a", f"{sample}/rootfs/.", str(folder / "rootfs"))
        run("chown", "-R", "0:0", str(folder / "rootfs"))
    side.incus("image", "import", str(pack(folder)), "--alias", "img")
    config: list[str] = []
    for description in sorted((sample / "instances").glob("*.yaml"))[:1]:
        instance = read_instance(Source(description.name, description.read_bytes()), name="c1")
        for key, value in instance.expanded_config().items():
            if key.startswith(("user.", "cloud-init.")):
                config += ["-c", f"{key}={value}"]
    side.step(["create", "img", "c1", *config], 0)
    for step in (
        ["start", "c1"],
        ["stop", "c1"],
        ["start", "c1"],
        ["stop", "c1"],
        ["copy", "c1", "c2"],
        ["start", "c2"],
    ):
        side.step(step, 0)
    assert side.compared == 3


def test_the_hook_log_has_the_number_of_matching_files(side: Side, tmp_path: Path):
    image = {
        "metadata_yaml": "architecture: x86_64\ncreation_date: 1700000000\ntemplates:\n"
        "  /etc/a:\n    when: [start]\n    template: a.tpl\n",
        "templates": {"a.tpl": "{{ container.name }}\n"},
    }
    tar = build_case({"image": image}, side.work / "base", tmp_path / "image")
    side.incus("image", "import", str(tar), "--alias", "img")
    words = hook_argv("incus", "--dialect", "v4", "--state", str(side.work / "state/c1"))
    words[words.index("-c") + 1] = f"'{words[words.index('-c') + 1]}'"
    (side.work / "state/c1").mkdir()
    side.incus("create", "img", "c1", "-c", f"raw.lxc=lxc.hook.pre-start = {' '.join(words)}")
    side.incus("start", "c1")
    log = side.work / "state/c1/.templater/log"
    assert "start: 1 files match templater's result" in log.read_text()


def test_an_endless_macro_crashes_incus_but_not_templater(tmp_path: Path):
    need("incus", "unshare")
    metadata = f"architecture: x86_64\ncreation_date: 1700000000\ntemplates:\n{ENDLESS}"
    template = (SAMPLES / "broken/templates/endless.tpl").read_text()
    folder = make_image(tmp_path / "image", metadata, {"endless.tpl": template})
    make_rootfs(folder / "rootfs")
    (rule,) = plan(open_image(str(folder)), Instance("c1"), triggers=("create",)).changes
    assert rule.action == "failed" and "macro calls and includes are nested" in str(rule.error)
    for where in new_folder():
        incus = Incus(where)
        try:
            incus.set_up()
            incus("image", "import", str(pack(folder)), "--alias", "img")
            incus("create", "img", "c1")
            incus.fails("start", "c1")
            assert "goroutine stack exceeds" in incus.death(within=60)
        finally:
            incus.stop()
