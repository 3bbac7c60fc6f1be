"""Small test files that once took minutes or gigabytes: each test case read or compiled everything again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from templater.model.errors import LimitError, TemplaterError
from templater.parsing import instance_description
from templater.testing import read_tests
from templater.testing.case import Case
from templater.testing.tests_folder import Folder
from tests.processor_time import ends_within


@pytest.fixture(autouse=True)
def _soon() -> Iterator[None]:
    with ends_within(10):
        yield


def read(path: Path, *lines: str, **others: str) -> list[Case]:
    """Read a file with one test."""
    (path / "a.yaml").write_text("tests:\n- name: x\n" + "".join(f"  {line}\n" for line in lines))
    for name, text in others.items():
        (path / name).mkdir()
        (path / name / "all.yaml").write_text(text)
    return read_tests.read_cases(Folder(str(path)))


def matrix(count: int) -> str:
    return f"matrix: {{config: [{', '.join(f'{{user.a: v{number}}}' for number in range(count))}]}}"


def mapping(count: int, entry: str) -> str:
    return "{" + ", ".join(entry.replace("N", f"{number:05}") for number in range(count)) + "}"


EXPECT = "expect: {/etc/a: {equals: b}}"


@pytest.mark.slow
def test_many_files_in_rootfs_are_read_in_linear_time(tmp_path: Path) -> None:
    (case,) = read(tmp_path, f"rootfs: {mapping(14_000, '/fN: x')}", EXPECT)
    assert len(case.rootfs) == 14_000


@pytest.mark.parametrize("files", ["/a: x, /a-b: y, /a/c: z", "/a/c/d: z, /a-b: y, /a: x"])
def test_one_path_cannot_be_a_file_and_a_directory(files: str, tmp_path: Path) -> None:
    with pytest.raises(TemplaterError, match="'/a' can't be both a file and a directory"):
        read(tmp_path, f"rootfs: {{{files}}}", EXPECT)


@pytest.mark.slow
def test_many_expectations_in_a_test_file_are_read_in_linear_time(tmp_path: Path) -> None:
    (case,) = read(tmp_path, f"expect: {mapping(14_000, '/N: {equals: b}')}")
    assert len(case.expected.files) == 14_000


@pytest.mark.slow
def test_many_merge_keys_are_read_in_linear_time(tmp_path: Path) -> None:
    merged = ", ".join(f"{{user.k{number}: a}}" for number in range(40_000))
    (case,) = read(tmp_path, f"config: {{<<: [{merged}, {{user.k7: b}}], user.k8: c}}", EXPECT)
    config = case.instance.config
    assert (len(config), config["user.k7"], config["user.k8"]) == (40_000, "a", "c")


def test_the_cases_of_one_test_share_the_parsed_expectations_and_steps(tmp_path: Path) -> None:
    first, second = read(tmp_path, "expect: {/etc/../a: {matches: x+}}", matrix(2))
    assert first.expected is second.expected
    one, other = read(tmp_path, "steps: [create, {step: start, snapshot: true}]", matrix(2))
    assert one.steps is other.steps


def test_equal_regular_expressions_are_compiled_once(tmp_path: Path) -> None:
    (case,) = read(tmp_path, "expect: {/a: {matches: x+}, /b: {matches: [y, x+]}}")
    first, second = case.expected.files
    assert first.value[0] is second.value[1]


def test_the_total_number_of_steps_of_all_regular_expressions_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_tests, "MAX_STEPS", 2000)
    many = "expect: {/a: {matches: ['a{900}', 'b{900}', 'c{900}']}}"
    with pytest.raises(
        LimitError, match="all regular expressions together need more than 2000 steps"
    ) as caught:
        read(tmp_path, many)
    assert caught.value.span is not None
    assert caught.value.span.line == 3
    assert len(read(tmp_path, many.replace("c{900}", "a{900}"))) == 1


@pytest.mark.parametrize("of_instance", ["config:\n", "config:\n  user.a: v\ndevices:\n"])
def test_the_total_number_of_instance_values_is_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_instance: str
) -> None:
    value = "{type: disk, path: /srv}" if "devices" in of_instance else "v"
    keys = "".join(f"  user.k{number}: {value}\n" for number in range(500))
    description = f"name: c1\n{of_instance}{keys}"
    instance = "instance: described/all.yaml"
    assert len(read(tmp_path, instance, EXPECT, matrix(5), described=description)) == 5
    monkeypatch.setattr(read_tests, "MAX_NODES", 2000)
    with pytest.raises(LimitError, match="the test cases set more than 2000 values in total"):
        read(tmp_path, instance, EXPECT, matrix(5))


def test_the_options_of_all_test_cases_together_have_a_size_limit(tmp_path: Path) -> None:
    options = f"options: {{image.release: {'x' * 900_000}}}"
    assert len(read(tmp_path, options, EXPECT, matrix(2))) == 2
    with pytest.raises(
        LimitError, match="the options of all cases together have more than 16777216 characters"
    ):
        read(tmp_path, options, EXPECT, matrix(20))


@pytest.mark.parametrize("wrong", [False, True])
def test_instance_file_is_parsed_once_for_all_test_cases(
    wrong: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []

    def parse(source, *others):
        parsed.append(source.name)
        return original(source, *others)

    original = instance_description.parse
    monkeypatch.setattr(instance_description, "parse", parse)
    axes = "matrix: {instance: ['all/all.yaml#a', 'all/all.yaml#b'], profiles: [[{name: p}], [{name: q}]]}"
    description = "- {name: a, config: {user.a: b}}\n- {name: b}\n"
    if wrong:
        with pytest.raises(TemplaterError, match=r"all/all\.yaml:3"):
            read(tmp_path, axes, EXPECT, all=description + "]")
    else:
        cases = read(tmp_path, axes, EXPECT, all=description)
        assert [(case.instance.name, case.instance.profiles[0].name) for case in cases] == [
            ("a", "p"), ("a", "q"), ("b", "p"), ("b", "q"),
        ]  # fmt: skip
    assert len(parsed) == 1


@pytest.mark.slow
def test_selecting_many_instances_from_a_long_list_takes_linear_time(tmp_path: Path) -> None:
    described = "".join(f"- {{name: i{number}, type: container}}\n" for number in range(12_000))
    names = ", ".join(f"'all/all.yaml#i{number}'" for number in range(3000))
    assert len(read(tmp_path, f"matrix: {{instance: [{names}]}}", EXPECT, all=described)) == 3000


def test_the_reader_of_test_cases_stops_at_the_hundredth_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def clean(path: str) -> str:
        seen.append(path)
        return original(path)

    original = read_tests.clean
    monkeypatch.setattr(read_tests, "clean", clean)
    with pytest.raises(TemplaterError, match="leaves the root filesystem"):
        read(tmp_path, "rootfs: {/../a: x}", EXPECT, matrix(1000))
    assert 100 <= len(seen) < 210
