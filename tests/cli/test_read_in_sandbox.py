"""If root runs `audit` or `image info`, a sandboxed child reads the image.

The child can only compute and send its answer.
"""

import ast
import gzip
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import templater
from templater.cli import read_in_sandbox
from templater.cli.read_in_sandbox import PACKAGES, read_image
from templater.cli.run_command_line import main
from templater.image import compress, sqfs2tar
from templater.limit_option import COMMAND, IMAGE, Given, parse
from templater.model.errors import LimitError, RefusedError
from templater.sandbox import child_json
from templater.sandbox.child import ChildFailure
from tests import test_architecture
from tests.image_archives import END, METADATA, directories, file, global_header, header, image, pax

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or os.geteuid() != 0, reason="only root reads images in a child"
)

RULE = METADATA + b"templates:\n  /etc/x: {when: [create], template: a.tpl}\n"
#: attempts of code that took over the child
ATTEMPTS = {
    "open the image's neighbour": lambda path: os.open(f"{path}.neighbour", os.O_RDONLY),
    "open the image again": lambda path: os.open(path, os.O_RDONLY),
    "open its descriptor again": lambda path: os.open(f"/proc/self/fd/{path.fd}", os.O_RDONLY),
    "write to the image": lambda path: os.write(path.fd, b"x"),
    "create a file": lambda path: os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT),
    "list a directory": lambda path: os.listdir("/"),
    "remove a file": lambda path: os.unlink(f"{path}.neighbour"),
    "open a socket": lambda path: socket.socket(),
    "connect to a daemon": lambda path: socket.socket(socket.AF_UNIX).connect("/run/dbus/system_bus_socket"),
    "start a program": lambda path: os.execv("/bin/true", ["true"]),
    "start a process": lambda path: os.fork(),
    "become root again": lambda path: os.setuid(0),
    "kill its parent": lambda path: os.kill(os.getppid(), signal.SIGKILL),
    "change the mode": lambda path: os.fchmod(path.fd, 0o777),
}
#: images of ``archives`` for which a reader imports modules late
NEED_MODULES = {"zstd", "lz4", "misspelt filter", "bad metadata", "merge keys", "squashed"}


@pytest.fixture
def path(tmp_path):
    (tmp_path / "image.neighbour").write_text("a password")
    return image(tmp_path / "image", file("templates/a.tpl", b"x"), metadata=RULE)


@pytest.mark.slow
@pytest.mark.parametrize("what", ATTEMPTS)
def test_the_sandboxed_child_cannot_perform_forbidden_operations(what, path, tmp_path):
    def work(opened):
        try:
            ATTEMPTS[what](opened)
        except OSError as error:
            return type(error).__name__
        return "done"

    before = {entry.name: entry.stat().st_mode for entry in tmp_path.iterdir()}
    assert read_image(work, (path,), Given()) in {"PermissionError", "OSError", "BlockingIOError"}
    assert {entry.name: entry.stat().st_mode for entry in tmp_path.iterdir()} == before


def archives(tmp_path):
    """Images with each compression, images that readers refuse, and images with findings."""
    plain = Path(image(tmp_path / "plain", file("templates/a.tpl", b"{{ config.x|upper }}"), metadata=RULE))
    data = plain.read_bytes()
    packed = sorted(set(compress.NAMES.values()))
    for kind in packed:
        with (tmp_path / kind).open("wb") as output, compress.compressing(kind, output.write) as packer:
            packer.write(data)
    (tmp_path / "truncated").write_bytes(gzip.compress(data)[:-20])
    (tmp_path / "text").write_text("not an image")
    (tmp_path / "empty").write_bytes(b"")
    images = {
        "syntax error": ([file("templates/a.tpl", b"{% if %}")], RULE, b""),
        "misspelt filter": ([file("templates/a.tpl", b"\xff{{ a|uper }}")], RULE, b""),
        "names": ([header("../x"), header("/y"), header("rootfs/a\x1b[31m\xc3")], RULE, b""),
        "a link as disk": ([header("rootfs.img", b"2", linkname="/dev/sda")], RULE, b""),
        "a second archive": ([], RULE, file("templates/b.tpl", b"evil") + END),
        "global headers": ([global_header({"path": b"rootfs/x"}), *directories(3)], RULE, b""),
        "attributes": ([pax({"SCHILY.xattr.security.capability": b"\1"}) + header("rootfs/a")], RULE, b""),
        "bad metadata": ([], METADATA + b"templates: [", b""),
        "merge keys": ([], METADATA + b"a: &a {b: c}\nproperties:\n  <<: *a\n", b""),
        "endless": ([file("templates/a.tpl", b"{% for a in 'x'|ljust:9999 %}{{ a|removetags:'b' }}{% endfor %}")], RULE, b""),
        "no metadata": ([], b"", b""),
    }  # fmt: skip
    for name, (members, metadata, behind) in images.items():
        image(tmp_path / name, *members, metadata=metadata, behind=behind)
    squashed = tmp_path / "squashed"
    (tmp_path / "tree/etc").mkdir(parents=True)
    (tmp_path / "tree/etc/passwd").write_text("root:x:0:0::/:\ntoor:x:0:0::/:\n")
    if subprocess.run(
        ["mksquashfs", tmp_path / "tree", squashed, "-quiet"], stdout=-3, check=False
    ).returncode:
        pytest.skip("needs mksquashfs")
    squashed.chmod(0o600)  # sqfs2tar runs as another user
    (tmp_path / "cut").write_bytes(squashed.read_bytes()[:300])
    alone = [(str(tmp_path / name),) for name in [*packed, "truncated", "text", "empty", *images]]
    seconds = [(str(plain), str(tmp_path / name)) for name in ("squashed", "cut", "gzip", "plain", "text")]
    return [(str(plain),), *alone, *seconds]


@pytest.mark.slow
def test_a_report_is_the_same_with_and_without_a_sandboxed_child(tmp_path, capfdbinary, monkeypatch):
    children = []
    real = read_in_sandbox.address_space
    monkeypatch.setattr(read_in_sandbox, "address_space", lambda: children.append(1) or real())

    def run(words):
        return main(words), capfdbinary.readouterr()

    groups = archives(tmp_path)
    for paths in groups:
        for words in (["audit", "--json", "--at-least", "info"], ["image", "info"]):
            inside = run([*words, *paths])
            with monkeypatch.context() as patched:
                patched.setattr(os, "geteuid", lambda: 1000)
                assert inside == run([*words, *paths]), (words, paths)
    assert len(children) == 2 * len(groups)


@pytest.mark.slow
def test_no_module_is_imported_after_the_sandbox_begins(tmp_path, capfd, monkeypatch):
    """The other tests run in one process, where some test has imported every module."""
    groups = [paths for paths in archives(tmp_path) if Path(paths[-1]).name in NEED_MODULES]
    assert len(groups) == len(NEED_MODULES)
    for paths in groups:
        words = ["audit", "--report", "sarif", "--at-least", "info", *paths]
        done = subprocess.run(
            [sys.executable, "-m", "templater", *words], stdout=subprocess.PIPE, check=False
        )
        with monkeypatch.context() as patched:
            patched.setattr(os, "geteuid", lambda: 1000)
            assert done.returncode == main(words) != 5, paths
        assert done.stdout.decode() == capfd.readouterr().out, paths


@pytest.mark.parametrize(
    ("limit", "work", "words"),
    [
        (
            "command-processor=1",
            lambda: [None for _ in iter(int, 1) if 0],
            "longer than 1 seconds of processor time",
        ),
        ("command-memory=64MiB", lambda: len(bytearray(256 << 20)), "more than 64 MiB of memory"),
    ],
)
@pytest.mark.slow
def test_a_limit_from_the_command_line_applies_to_the_sandboxed_child(limit, work, words, path):
    with pytest.raises(LimitError) as caught:
        read_image(lambda opened: work(), (path,), parse([limit], (COMMAND,)))
    assert words in str(caught.value)
    assert f"--limit {limit.partition('=')[0]}=" in caught.value.hint


def list_children() -> set[str]:
    """Return the ids of this process's children. Earlier tests in the process can have left children."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return set(file.read().split())


@pytest.mark.parametrize(
    ("head", "words", "reserved", "seconds"),
    [
        (b"x", "", 0, 9), (b"hsqs", "", 0, 3), (b"hsqs", "", 3, 3), (b"hsqs", "command-processor=20", 0, 14),
        (b"hsqs", "command-processor=2", 0, 2),
    ],
)  # fmt: skip
def test_the_child_leaves_processor_time_for_sqfs2tar(tmp_path, monkeypatch, head, words, reserved, seconds):
    """An audit of a squashfs file of 840 kB used 11 seconds, and a check 16 seconds."""
    (tmp_path / "i").write_bytes(head)
    monkeypatch.setattr(read_in_sandbox, "needs_sandbox", lambda paths: True)
    monkeypatch.setattr(read_in_sandbox, "input_size", lambda: 0)  # whatever other tests have opened
    monkeypatch.setattr(child_json, "run", lambda prepare, work, bounds, progress: bounds.cpu)
    limits = parse([words], (COMMAND,)) if words else Given()
    assert read_image(len, [str(tmp_path / "i")], limits, reserved=reserved) == seconds


def test_image_limits_from_the_command_line_apply_to_sqfs2tar(tmp_path, monkeypatch):
    started = []

    def start(file, limits):
        started.append(limits.members)
        return SimpleNamespace(descriptors=())

    (tmp_path / "i").write_bytes(b"hsqs")
    monkeypatch.setattr(sqfs2tar, "start_sqfs2tar", start)
    monkeypatch.setattr(child_json, "run", lambda prepare, work, bounds, progress: prepare())
    read_image(len, [str(tmp_path / "i")], parse(["members=7"], (IMAGE,)), packages=())
    assert started == [7]


@pytest.mark.slow
def test_the_time_limit_of_the_command_ends_the_child(path, monkeypatch, capfd):
    from templater.checks import audit_report

    before = list_children()
    monkeypatch.setattr(audit_report, "scan_image", lambda *given, **named: [None for _ in iter(int, 1) if 0])
    assert main(["audit", path, "--limit", "command-time=1"]) == 4
    assert "longer than 1 seconds" in capfd.readouterr().err
    assert not list_children() - before


def test_an_error_from_the_child_keeps_class_and_hint(path):
    def work(opened):
        raise RefusedError("no", None, "a hint", ("a note",))

    with pytest.raises(RefusedError) as caught:
        read_image(work, (path,), Given())
    assert caught.value.explain() == "no\na note\nhint: a hint"


def test_an_answer_of_the_child_without_valid_json_is_an_error(path):
    with pytest.raises(ChildFailure):
        read_image(lambda opened: object(), (path,), Given())


def late_imports(package):
    """Yield the modules that functions of a module or package import, by absolute name."""
    top = Path(templater.__file__).parent
    place = top / package.replace(".", "/")
    for source in [place.with_suffix(".py")] if not place.is_dir() else place.rglob("*.py"):
        parts = ["templater", *source.relative_to(top).with_suffix("").parts]
        for function in ast.walk(ast.parse(source.read_bytes())):
            if not isinstance(function, ast.FunctionDef):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Import):
                    yield from (alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom):
                    above = parts[: len(parts) - node.level] if node.level else []
                    yield ".".join([*above, *([node.module] if node.module else [])])


def prepared(packages, *, first="", names="sys.modules"):
    """Return the names of the modules in a new process that has prepared for the sandbox."""
    script = (
        f"import sys; {first}\n"
        "from templater.cli.read_in_sandbox import PACKAGES, SARIF_AUDIT, _prepare\n"
        "from templater.image.limits import DEFAULT\n"
        f"list(_prepare([], {packages}, DEFAULT)); print(*({names}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.slow
def test_late_imports_of_image_readers_happen_before_the_sandbox_starts():
    wanted = {name for package in PACKAGES for name in late_imports(package)}
    wanted.remove("jsonschema.validators")  # only the helper of validators imports it, outside of the sandbox
    assert len(wanted) > 10
    assert wanted - prepared("PACKAGES") == set()


def all_imports_from(*modules):
    """Return every module that these modules import, directly or indirectly, even inside functions."""
    seen, waiting = set(), list(modules)
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            found = (each for each in test_architecture.imports(module) if each.kind != "types")
            waiting += [
                target for each in found if (target := test_architecture.own(each.target)) is not None
            ]
    return seen


@pytest.mark.slow
def test_all_possible_imports_of_an_audit_happen_before_the_sandbox_starts():
    checks = [name for name in test_architecture.MODULES if name.startswith("checks.security")]
    wanted = {f"templater.{name}" for name in all_imports_from("checks.audit_report", *checks) if name}
    assert {
        "templater.checks.sarif",
        "templater.pongo2.error_positions",
        "templater.image.tar_reader",
    } <= wanted
    for_squashfs = {"squashfs_directories", "squashfs_tables", "squashfs_compression", "lzo"}
    assert wanted - prepared("SARIF_AUDIT") == {f"templater.image.{name}" for name in for_squashfs}


@pytest.mark.slow
def test_every_lazily_imported_module_is_loaded_before_the_sandbox_starts():
    install = "from templater.startup import lazy_imports; lazy_imports.install()"
    postponed = "name for name, each in sys.modules.items() if type(each) is lazy_imports.Postponed"
    found = prepared("PACKAGES", first=install, names=postponed)
    assert found == {"jinja2"}  # templater uses only its submodules


@pytest.mark.slow
def test_rendered_files_of_every_checked_type_are_checked_in_the_sandbox(tmp_path):
    names = (
        "hosts", "hostname", "fstab", "resolv.conf", "sudoers", "sudoers.d/a", "network/interfaces", "a.json",
        "a.toml", "a.yaml", "netplan/a.yaml", "systemd/system/a.service", "profile.d/a.sh", "cloud/cloud.cfg",
        "cloud/seed/nocloud-net/user-data", "cloud/seed/nocloud-net/network-config",
    )  # fmt: skip
    rules = "".join(f"  /etc/{name}: {{when: [create], template: a.tpl}}\n" for name in names)
    rules = rules.replace("/etc/cloud/seed", "/var/lib/cloud/seed")
    path = image(
        tmp_path / "image",
        file("templates/a.tpl", b"{{ config_get('user.a', '') }}: [\n1.2.3.4 {{ 1|yesno }}\n"),
        metadata=METADATA + b"templates:\n" + rules.encode(),
    )
    words = ["check", path, "--as", "incus,lxd", "--report", "sarif", "--no-run-validators"]
    done = subprocess.run(
        [sys.executable, "-m", "templater", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert '"yaml"' in done.stdout


@pytest.mark.slow
def test_an_audit_reads_yaml_without_libyaml_in_the_sandbox():
    """The child loads the code of PyYAML's own parser, but uses the parser only if libyaml can't."""
    script = (
        "from templater.startup import lazy_imports; lazy_imports.install()\n"
        "import sys\n"
        "from templater.cli.read_in_sandbox import AUDIT, _prepare\n"
        "from templater.image.limits import DEFAULT\n"
        "from templater.model.source import Source\n"
        "from templater.parsing import yaml_nodes\n"
        "from templater.sandbox import child_json\n"
        "from templater.sandbox.child import Bounds\n"
        "def work():\n"
        "    before = type(sys.modules['yaml.reader']).__name__\n"
        "    text = '? ' + 'k' * 2000 + '\\n: v\\n' + 'l' * 2000 + ': v\\n'\n"
        "    yaml_nodes.HAS_LIBYAML = False\n"
        "    document = yaml_nodes.parse(Source('a.yaml', text), 'v4')\n"
        "    return [before, len(yaml_nodes.pairs(document))]\n"
        "print(child_json.run(lambda: list(_prepare([], AUDIT, DEFAULT)), work, Bounds()))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("['Postponed', 2]\n", "")
