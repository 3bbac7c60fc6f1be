"""A recorder of the sample images as the real pongo2 renders them: ``pytest tests/test_golden.py --update``.

The engine is the oracle of tests/differential (dialect v4), or TEMPLATER_ORACLE_V4. Only the text of a
rendering comes from the oracle. The model below computes the other fields: the rules that run, owners and
modes. It shares only the reader of instances with templater.
"""

from __future__ import annotations

import hashlib
import posixpath
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from templater.instances.description_file import read_instance

if TYPE_CHECKING:
    from tests.differential.oracle import Oracle

ROOT = Path(__file__).resolve().parent.parent.parent
IMAGES = ROOT / "sample-images"
GOLDEN = Path(__file__).resolve().parent
TRIGGERS = ("create", "copy", "start", "rename")


class Case(NamedTuple):
    image: str
    instance: str

    @property
    def file(self) -> Path:
        return IMAGES / self.image / "instances" / self.instance.partition("#")[0]

    @property
    def folder(self) -> Path:
        return GOLDEN / self.image / self.name

    @property
    def name(self) -> str:
        return self.instance.partition("#")[2] or Path(self.instance).stem

    def read(self):
        return read_instance(str(IMAGES / self.image / "instances" / self.instance))


CASES = [
    Case("ubuntu-2016", "c1.yaml"), Case("ubuntu-2016", "trusty-web.yaml"),
    Case("debian-cloud", "c1.yaml"), Case("debian-cloud", "web1.yaml"),
    Case("alpine", "edge.json#edge0"), Case("alpine", "edge.json#edge1"),
    Case("openwrt", "c1.yaml"), Case("openwrt", "router.json"),
    Case("nixos", "c1.yaml"), Case("nixos", "builder.yaml"),
    Case("netplan", "c1.yaml"), Case("netplan", "gateway.yaml"),
    Case("permissions", "c1.yaml"), Case("permissions", "production/backup.yaml"),
    Case("rocky-vm", "vm1.yaml"), Case("rocky-vm", "db.yaml"),
    Case("broken", "c1.yaml"), Case("broken", "full.yaml"),
]  # fmt: skip


class TextLoader(yaml.SafeLoader):
    """A YAML loader that returns every scalar as text, as Go decodes it into a string.

    It handles merge keys.
    """


TextLoader.yaml_implicit_resolvers = {"<": [("tag:yaml.org,2002:merge", __import__("re").compile("^<<$"))]}


def go_mode(text: str) -> int:
    """Return the permission bits of a mode, as Go parses it: three digits, or a leading 0, mean octal."""
    text = f"0{text}" if len(text) == 3 else text
    if text[:1] == "0" and text[1:2].isdigit():
        return int(text, 8) & 0o777
    return int(text, 0) & 0o777


class Expected(NamedTuple):
    """One rule in one pass: the fields of its line in the MANIFEST, and the content."""

    path: str
    owner: str
    mode: str
    content: bytes | None
    error: str = ""

    def line(self) -> str:
        if self.content is None:
            return f"error - - {self.path} {self.error}".rstrip()
        return f"{hashlib.sha256(self.content).hexdigest()} {self.owner} {self.mode} {self.path}"


def context(instance: Any, rule_path: str, trigger: str, properties: dict) -> dict:
    """Return the context that the daemons give to a template. Every value is a string."""
    about = {
        "name": instance.name, "type": instance.type, "architecture": instance.architecture,
        "ephemeral": "true" if instance.ephemeral else "false",
    }  # fmt: skip
    config = instance.expanded_config()
    if instance.type == "container":
        about["privileged"] = "true" if config.get("security.privileged") == "true" else "false"
    devices = {name: dict(keys) for name, keys in instance.expanded_devices().items()}
    return {
        "trigger": trigger, "path": rule_path, "container": about, "instance": about, "config": config,
        "devices": devices, "properties": properties,
    }  # fmt: skip


def expected(case: Case, engine: Engine) -> dict[str, list[Expected]]:
    """Return the files that each trigger writes, sorted by path."""
    folder = IMAGES / case.image
    rules = yaml.load((folder / "metadata.yaml").read_text(), TextLoader)["templates"]
    instance = case.read()
    found: dict[str, list[Expected]] = {}
    for trigger in TRIGGERS:
        due = {path: rule for path, rule in rules.items() if not rule or trigger in rule.get("when", [])}
        lines = [
            one(path, rule or None, trigger, folder, instance, engine, due) for path, rule in due.items()
        ]
        if lines:
            found[trigger] = sorted(lines)
    return found


def one(path, rule, trigger, folder, instance, engine, due) -> Expected:
    cleaned = posixpath.normpath("/" + path.lstrip("/"))
    failed = Expected(cleaned, "-", "-", None)
    if rule is None:
        return failed._replace(error="null")
    template = folder / "templates" / rule.get("template", "")
    if "/" in rule.get("template", "/") or not template.is_file():
        return failed._replace(error="template")
    inside = posixpath.normpath(path.lstrip("/"))
    if inside == ".." or inside.startswith("../"):
        return failed._replace(path=path, error="path")
    if [other for other in due if posixpath.normpath("/" + other.lstrip("/")) == cleaned] != [path]:
        return failed._replace(error="collision")
    try:
        owner = f"{int(rule.get('uid', '0'))}:{int(rule.get('gid', '0'))}"
        mode = f"{go_mode(rule.get('mode', '0644')):04o}"
    except ValueError:
        return failed._replace(error="permissions")
    answer = engine.render(template.read_text(), context(instance, path, trigger, rule.get("properties", {})))
    if "error" in answer:
        return failed._replace(error="engine")
    if instance.type != "container":
        return Expected(rule["template"] + ".out", "0:0", "0644", answer["output"].encode())
    return Expected(cleaned, owner, mode, answer["output"].encode())


class Engine:
    """The real pongo2, with one request at a time. If a template kills it, it is started again."""

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle

    def render(self, template: str, context: dict) -> dict:
        line = {"id": 1, "template": template, "context": context, "mode": "incus"}
        return next(iter(self.oracle.ask([line])))


def record(engine: Engine) -> dict[str, bytes]:
    """Return the content of each golden file, by its path below this folder."""
    files: dict[str, bytes] = {}
    for case in CASES:
        for trigger, found in expected(case, engine).items():
            folder = f"{case.image}/{case.name}/{trigger}"
            files[f"{folder}/MANIFEST"] = "".join(file.line() + "\n" for file in found).encode()
            for file in found:
                if file.content is not None:
                    files[f"{folder}/tree/{file.path.lstrip('/')}"] = file.content
    return files


def kept() -> dict[str, bytes]:
    """Return the golden files on the disk."""
    return {
        str(path.relative_to(GOLDEN)): path.read_bytes()
        for path in GOLDEN.glob("*/**/*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def rewrite(files: dict[str, bytes]) -> None:
    for case in CASES:
        shutil.rmtree(GOLDEN / case.image, ignore_errors=True)
    for name, data in files.items():
        (GOLDEN / name).parent.mkdir(parents=True, exist_ok=True)
        (GOLDEN / name).write_bytes(data)
