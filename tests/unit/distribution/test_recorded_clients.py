"""``verify`` says what Debian's real incus client did with the same tree."""

import pytest

from templater.distribution.local_stream import LocalStream
from templater.distribution.tree import Tree
from templater.distribution.verify import verify
from templater.distribution.verify_report import ERROR
from tests.streams.builders import listed
from tests.streams.mutations import CASES, EXAMPLE, recordings

RECORDED = recordings()
CLIENT = "incus-6.0"


def shown(image):
    """An image as the recordings write it."""
    native = image.architecture == "x86_64"
    aliases = [name for name in image.aliases if native or name.endswith(f"/{image.product.arch}")]
    created = f"{image.created.isoformat()}T00:00:00Z"
    expires = f"{image.expires.isoformat() if image.expires else '1970-01-01'}T00:00:00Z"
    return (
        f"{image.fingerprint[:8]} {image.type} {image.kind} {image.product.variant or None} {image.version.name}"
        f" {image.architecture} {aliases} {created} {expires}"
    )


def verdict(case, tmp_path):
    return verify(LocalStream(Tree(str(case.build(tmp_path / "tree")))))


def errors(report):
    return {problem.code for problem in report.errors((CLIENT,))}


LISTED = [
    case for case in CASES if RECORDED[case.title].listed is not None and "variant trap" not in case.title
]
FAILED = [case for case in CASES if RECORDED[case.title].failure]
EXPORTED = [case for case in CASES if RECORDED[case.title].exported]


def by_title(case):
    return case.title


def test_every_catalog_case_has_a_recorded_client_answer():
    assert len(CASES) >= 40
    assert len(LISTED) + len(FAILED) >= 40
    assert {case.title for case in CASES} <= set(RECORDED)


@pytest.mark.parametrize("case", LISTED, ids=by_title)
def test_the_predicted_image_list_of_each_client_equals_the_recorded_list(case, tmp_path):
    report = verdict(case, tmp_path)
    images = listed(Tree(str(tmp_path / "tree")), CLIENT)
    assert [shown(image) for image in images] == RECORDED[case.title].listed
    assert report.images[CLIENT] == len(images)


#: the failure that verify predicts, by a part of the client's recorded message
CAUSES = {
    "cannot unmarshal": "type",
    "invalid character 'ï'": "products",
    "No content": "products",
    "404": "products",
    'from ""': "index",
    "image.go:1393": "short-fingerprint",
}


@pytest.mark.parametrize("case", FAILED, ids=by_title)
def test_a_recorded_failure_of_the_whole_image_list_is_predicted(case, tmp_path):
    report = verdict(case, tmp_path)
    (code,) = {code for words, code in CAUSES.items() if words in RECORDED[case.title].failure}
    assert code in errors(report)
    if code != "short-fingerprint":
        assert report.images[CLIENT] is None


#: the reasons for which a download fails
DOWNLOADS = {
    "hash",
    "sha256",
    "combined",
    "fingerprint",
    "short-fingerprint",
    "path",
    "no-path",
    "missing",
    "twice",
}


@pytest.mark.parametrize("case", EXPORTED, ids=by_title)
def test_a_recorded_client_export_fails_exactly_where_verify_reports_an_error(case, tmp_path):
    failed = "Error:" in RECORDED[case.title].exported
    assert bool(errors(verdict(case, tmp_path)) & DOWNLOADS) == failed


def test_mixing_products_with_a_variant_and_products_without_a_variant_is_an_error(tmp_path):
    (case,) = (case for case in CASES if case.title == "variant trap 0")
    owners = {
        line.split()[4]
        for title, recording in RECORDED.items()
        if title.startswith("variant trap")
        for line in recording.listed
        if "'t', 't/amd64'" in line
    }
    assert len(owners) > 1, "the recordings show the alias at different versions"
    assert "variant" in errors(verdict(case, tmp_path))


def test_verify_reports_no_problem_in_the_example_tree_for_any_client():
    report = verify(LocalStream(Tree(str(EXAMPLE))))
    assert not report.problems
    assert list(report.images.values()) == [4, 4, 4]


@pytest.mark.parametrize(
    ("title", "client", "code"),
    [
        ("size too small", "lxd", "size"),
        ("arch unknown", "lxd", "architecture"),
        ("combined_type vm", "incus-6.0", "combined-type"),
        ("alias with space", "incus-6.0", "alias-blank"),
    ],
)
def test_verify_names_the_clients_that_a_catalog_fault_affects(title, client, code, tmp_path):
    (case,) = (case for case in CASES if case.title == title)
    problems = [
        each for each in verdict(case, tmp_path).problems if each.level == ERROR and each.code == code
    ]
    assert any(client in problem.clients for problem in problems)


def test_only_lxd_lists_an_image_with_two_words_in_its_architecture(tmp_path):
    (case,) = (case for case in CASES if case.title == "arch 'amd64 amd64'")
    images = verdict(case, tmp_path).images
    assert images == {
        "incus-6.0": 3,
        "incus-7": 3,
        "lxd": 4,
    }


def test_only_newer_incus_clients_know_the_architecture_x86_64_v3(tmp_path):
    (case,) = (case for case in CASES if case.title == "arch x86_64_v3")
    images = verdict(case, tmp_path).images
    assert images == {
        "incus-6.0": 3,
        "incus-7": 4,
        "lxd": 3,
    }
