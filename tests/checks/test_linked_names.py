"""The paths that lead to a file through symlinks."""

from itertools import product

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from templater.checks.linked_names import LinkedNames
from templater.checks.scanned_image import RootfsNames
from templater.model.errors import LimitError
from templater.planning.follow_links import MAX_LINKS, clean, resolve
from tests.checks.builders import a_folder, a_link

PLACES = ["a", "b", "a/b", "b/a", "a/a", "a/b/c", "c"]
TARGETS = ["a", "b", "c", "/a", "/b/a", "../a", "../b/", ".", "..", "b/.", "./c", "a/../c", "/"]


def linked_names(*names):
    rootfs = RootfsNames(names)
    return LinkedNames(rootfs, rootfs.symlinks()), rootfs


@pytest.mark.slow
@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(
    folders=st.lists(st.sampled_from(PLACES), max_size=3),
    links=st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(TARGETS)), min_size=1, max_size=3),
)
def test_each_short_path_to_a_file_through_links_is_found(folders, links):
    names = [a_folder(f"rootfs/{path}") for path in folders]
    names += [a_link(f"rootfs/{path}", target) for path, target in links]
    found, rootfs = linked_names(*names)
    for length in (1, 2, 3):
        for parts in product("abc", repeat=length):
            path = "/" + "/".join(parts)
            walked = resolve(rootfs, path)
            twice = len(walked.links) != len({link for link, _ in walked.links})
            if walked.error is None and walked.links and walked.real != "/" and not twice:
                assert path in found.of(walked.real)


@pytest.mark.slow
@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(links=st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(TARGETS)), min_size=1, max_size=4))
def test_each_found_path_leads_to_the_file(links):
    paths = [path for path, _ in links]
    assume(not any(path.startswith(f"{other}/") for path in paths for other in paths))
    found, rootfs = linked_names(*[a_link(f"rootfs/{path}", target) for path, target in links])
    for target in ("/a/c", "/c", "/b/x"):
        if resolve(rootfs, target).links or resolve(rootfs, target).error is not None:
            continue
        for path in found.of(target):
            walked = resolve(rootfs, clean(path))
            assert walked.error is not None or walked.real == target


def test_a_link_through_a_missing_directory_is_followed():
    found, _ = linked_names(a_link("rootfs/etc/sudoers", "../no/../srv/s"))
    assert found.of("/srv/s") == ["/etc/sudoers"]


def test_path_beyond_kernel_limit_on_links_is_not_listed():
    """A chain of 10,000 links needed 2.4 GB."""
    found, _ = linked_names(*(a_link(f"rootfs/l{number + 1}", f"l{number}") for number in range(10_000)))
    assert found.of("/l0") == [f"/l{number}" for number in range(1, MAX_LINKS + 1)]


def test_the_number_of_paths_through_links_has_a_limit():
    found, _ = linked_names(*(a_link(f"rootfs/{name}", ".") for name in "abcdefghijkl"))
    with pytest.raises(LimitError, match="the paths of all rules together lead through too many"):
        found.of("/x")
