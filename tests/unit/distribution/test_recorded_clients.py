"""``verify`` predicts the recorded results that Debian's real incus client had with the same tree."""

import pytest

from templater.distribution.stream_interface import LocalStream
from templater.distribution.tree import Tree
from templater.distribution.verify import verify
from templater.distribution.verify_report import ERROR
from tests.streams.builders import listed
from tests.streams.mutations import CASES, EXAMPLE, SHA256, Case, in_product, items, recordings

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


def test_a_variant_in_only_some_products_is_an_error(tmp_path):
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


def test_verify_finds_no_problem_in_the_example_tree():
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
def test_verify_says_which_clients_are_affected_by_a_catalog_fault(title, client, code, tmp_path):
    (case,) = (case for case in CASES if case.title == title)
    problems = [
        each for each in verdict(case, tmp_path).problems if each.level == ERROR and each.code == code
    ]
    assert any(client in problem.clients for problem in problems)


def test_only_lxd_accepts_an_architecture_of_two_words(tmp_path):
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


# LXD: no recording of a daemon has these changes; the contract says what LXD does with them


def lxd_case(variant="default", **fields):
    """Change the metadata item for LXD, or remove a key whose new value is None."""

    def change(images, index):
        item = items(images, variant)["lxd.tar.xz"]
        item.update(fields)
        for key in [key for key, value in fields.items() if value is None]:
            del item[key]

    return Case("", change)


@pytest.mark.parametrize(
    ("case", "images", "code"),
    [
        (lxd_case(), 4, None),
        (lxd_case(combined_squashfs_sha256=None), 3, "no-fingerprint"),
        (lxd_case(combined_squashfs_sha256=""), 3, "no-fingerprint"),
        (lxd_case(path=None), 3, "no-path"),
        (lxd_case(combined_squashfs_sha256="0" * 64), 4, "combined"),
        (lxd_case(sha256="0" * 64), 4, "hash"),
        (lxd_case(sha256=None), 4, "sha256"),
        (lxd_case(sha256=SHA256.upper()), 4, "sha256"),
        (lxd_case(size=1), 4, "size"),
        (lxd_case(size=None), 4, "size"),
        (lxd_case(size=1 << 20), 4, None),
        (lxd_case(ftype="lxd.tar.gz"), 3, "other-family"),
        (lxd_case(combined_squashfs_sha256="hello"), 4, "short-fingerprint"),
        (lxd_case("tarxz", combined_rootxz_sha256=None), 3, "no-fingerprint"),
        (lxd_case("vm", **{"combined_disk-kvm-img_sha256": None}), 3, "no-fingerprint"),
        (lxd_case("vm", **{"combined_disk-kvm-img_sha256": "0" * 64}), 4, "combined"),
        (lxd_case(path="x/../../y"), 4, "path"),
        (lxd_case(path="none"), 4, "missing"),
    ],
)  # fmt: skip
def test_a_mistake_in_an_lxd_item_affects_only_lxd(case, images, code, tmp_path):
    report = verdict(case, tmp_path)
    assert report.images["lxd"] == images == len(listed(Tree(str(tmp_path / "tree")), "lxd"))
    found = {problem.code for problem in report.errors(("lxd",))}
    assert found == ({code} if code else set())
    if code in ("no-fingerprint", "combined", "sha256", "other-family", "short-fingerprint", "path"):
        assert not report.errors(("incus-6.0", "incus-7"))
    assert (report.images["incus-6.0"], report.images["incus-7"]) == (4, 4)


@pytest.mark.parametrize(
    ("arch", "lxd", "incus_6", "incus_7"),
    [
        ("amd64v3", 4, 3, 3), ("x86_64_v3", 3, 3, 4), ("amd64 amd64", 4, 3, 3), ("AMD64", 3, 3, 3), ("x86_64", 4, 4, 4),
        ("riscv64", 4, 4, 4), ("all", 3, 3, 3), ("amd64v2", 3, 3, 3),
    ],
)  # fmt: skip
def test_each_client_drops_images_of_unknown_architectures(arch, lxd, incus_6, incus_7, tmp_path):
    report = verdict(Case("", in_product(arch=arch)), tmp_path)
    assert report.images == {"incus-6.0": incus_6, "incus-7": incus_7, "lxd": lxd}
    dropped = [client for client, number in report.images.items() if number == 3]
    for client in report.images:
        assert ("architecture" in {each.code for each in report.errors((client,))}) == (client in dropped)


def test_only_lxd_fails_if_requirements_have_a_wrong_type(tmp_path):
    report = verdict(Case("", in_product(lxd_requirements={"secureboot": False})), tmp_path)
    assert report.images == {"incus-6.0": 4, "incus-7": 4, "lxd": None}
