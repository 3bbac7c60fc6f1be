"""Records what the real pongo2 renders from the sample images: ``python -m tests.golden.record``.

Needs an engine that speaks the lines of ``python -m templater.pongo2 --jsonl`` and is dialect v4: the
oracle in tests/differential, or TEMPLATER_ORACLE_V4. Only the text of a rendering comes from there; the
rest of a golden (which rules are due, owner, mode) is the few lines of a model below, which shares no
code with templater but the reading of instances.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from templater.instance_file import read_instance

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
    """Every scalar is its text, as Go decodes it into a string; only merge keys mean something."""


TextLoader.yaml_implicit_resolvers = {"<": [("tag:yaml.org,2002:merge", __import__("re").compile("^<<$"))]}


def go_mode(text: str) -> int:
    """Three characters get a 0; then base 0, in which 0 alone means octal; permission bits only."""
    text = f"0{text}" if len(text) == 3 else text
    if text[:1] == "0" and text[1:2].isdigit():
        return int(text, 8) & 0o777
    return int(text, 0) & 0o777


class Expected(NamedTuple):
    """One rule in one pass: what stands in the MANIFEST, and the content."""

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
    """What the daemons hand to a template; every value a string."""
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
    """What each trigger writes, sorted by path."""
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
    """A process that renders lines of JSON; started again if a template kills it, as Go's stack overflow does."""

    def __init__(self, command: list[str]) -> None:
        self.command = command

    def render(self, template: str, context: dict) -> dict:
        line = json.dumps(
            {"id": 1, "template": template, "context": context, "mode": "incus", "dialect": "v4"}
        )
        done = subprocess.run(self.command, input=line + "\n", capture_output=True, text=True, check=False)
        if done.returncode or not done.stdout.strip():
            return {"error": "the engine died"}
        return json.loads(done.stdout.splitlines()[0])


def record(engine: Engine) -> None:
    for case in CASES:
        shutil.rmtree(case.folder, ignore_errors=True)
        for trigger, files in expected(case, engine).items():
            folder = case.folder / trigger
            folder.mkdir(parents=True)
            (folder / "MANIFEST").write_text("".join(file.line() + "\n" for file in files))
            for file in files:
                if file.content is not None:
                    place = folder / "tree" / file.path.lstrip("/")
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.write_bytes(file.content)


if __name__ == "__main__":
    import sys

    record(Engine(sys.argv[1:]))
