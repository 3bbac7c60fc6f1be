"""Rules that reach one file."""

import pytest

from tests.checks.builders import a_folder, a_link, an_image, observed, rules

CHECK = "collision"


def two(one, other, when=("create", "create"), names=()):
    first = f'"{one}": {{when: [{when[0]}], template: t}}'
    second = f'"{other}": {{when: [{when[1]}], template: t}}'
    return observed(CHECK, an_image(rules(first, second), names=names))


@pytest.mark.parametrize(
    ("one", "other"), [("/etc/a", "/etc//a"), ("/etc/a", "etc/a"), ("/a", "/b/../a"), ("/a", "/a/b")]
)
def test_attack_30_two_rules_for_one_file_are_found(one, other):
    assert len(two(one, other)) == 1


def test_two_rules_for_one_file_are_found_despite_link():
    names = [a_folder("rootfs/usr/lib"), a_link("rootfs/lib", "usr/lib")]
    assert len(two("/lib/a", "/usr/lib/a", names=names)) == 1


@pytest.mark.parametrize(("one", "other"), [("/etc/a", "/etc/b"), ("/a", "/ab"), ("/a-b", "/a/b")])
def test_different_targets_have_no_finding(one, other):
    assert not two(one, other)


def test_two_rules_for_one_file_with_different_triggers_have_no_finding():
    assert not two("/etc/a", "/etc//a", when=("create", "rename"))


@pytest.mark.slow
def test_attack_56_many_rules_are_checked_quickly():
    many = rules(*(f"/etc/file{number}: {{when: [create], template: t}}" for number in range(5_000)))
    assert not observed(CHECK, an_image(many))
