"""Short JSON texts that once took gigabytes: descriptions of instances, and answers of a daemon."""

from pathlib import Path

import pytest

from templater.cloud_init.next_boot import shown
from templater.live.address import parse_address
from templater.live.connect import open_daemon
from templater.live.instance_filters import list_instances
from templater.live.live_instance import LiveImage
from templater.live.newer_image import NewerImages
from templater.live.rest_client import MOST_ELEMENTS
from templater.model.errors import InputError, LimitError
from templater.model.source import Source
from templater.parsing.instance_description import count_values, read_instance
from templater.parsing.json_stream import MOST_VALUES
from tests.peak_memory import measured
from tests.recorded_daemon import incus, sync  # noqa: F401

IMAGE = Path(__file__).parents[2] / "sample-images/alpine"
ANSWER = {"Content-Type": "application/json", "ETag": "x"}


def answer(text: str) -> tuple[int, dict[str, str], bytes]:
    return 200, ANSWER, text.encode()


@pytest.fixture
def client(incus):  # noqa: F811
    daemon = open_daemon(parse_address("incus:"))
    yield daemon
    daemon.close()


@pytest.mark.slow
@pytest.mark.parametrize("text", ["[{},REST]", '{"config":{"a":[[],REST]}}', '{"a":{"b":1,REST}}'])
def test_description_with_too_many_values_is_refused(text, tmp_path):
    file = tmp_path / "many.json"
    piece = {"[": "{}", "{": "[]"}[text[0]] if "b" not in text else '"a":{}'
    peaks = []
    for count in (1_100_000, 4_400_000):
        file.write_text(text.replace("REST", ",".join([piece] * count)))
        words = ("preview", IMAGE, "-i", file)
        done, peak = measured(tmp_path / f"peak{count}", *words)
        assert done.returncode == 4 and "has more than 1000000 values" in done.stderr
        peaks.append(peak)
    assert peaks[1] < 300


def test_brackets_and_commas_inside_json_strings_are_not_counted_as_values():
    text = '{"config": {"user.a": "' + '[{,\\",' * 400_000 + '"}}'
    assert count_values(text) == 2
    assert len(read_instance(Source("a.json", text), name="c1").config["user.a"]) == 5 * 400_000
    assert count_values('"' + '\\"' * 100_000 + "[" * 200_000) == 0
    assert count_values("[" * 200_000) == 200_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"metadata": [' + ",".join(["{}"] * (MOST_ELEMENTS + 2)) + "]}", f"more than {MOST_ELEMENTS} instances"),
        ('{"metadata": [[' + "[]," * MOST_VALUES + "[", f"instance 0 of the response from incus has more than {MOST_VALUES}"),
        ('{"metadata": [{"name": "' + "a" * (17 << 20), "instance 0 of the response from incus is larger than 16 MiB"),
    ],
    ids=["many elements", "many values", "long text"],
)  # fmt: skip
def test_the_size_of_a_list_from_a_daemon_is_limited(text, message, client, incus):  # noqa: F811
    incus.put("GET /1.0/instances?recursion=1", answer(text))
    with pytest.raises(LimitError, match=message):
        list_instances(client, lambda data: False)


def test_huge_number_in_a_daemon_answer_is_an_error(client, incus):  # noqa: F811
    """Python refuses to convert more than 4,300 digits."""
    incus.put("GET /1.0/instances?recursion=1", answer('{"metadata": [' + "1" * 5000 + "]}"))
    with pytest.raises(
        InputError, match="instance 0 of the response from incus has a number that is too long"
    ):
        list_instances(client, lambda data: True)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"metadata": 1}', '{"metadata": [', '{"a": 1 "metadata": []}', '{"metadata": [{} {}]}', "{1"]
)  # fmt: skip
def test_a_damaged_list_from_a_daemon_is_an_error(text, client, incus):  # noqa: F811
    incus.put("GET /1.0/instances?recursion=1", answer(text))
    with pytest.raises(InputError):
        list_instances(client, lambda data: True)


def test_null_metadata_in_a_daemon_answer_means_no_instances(client, incus):  # noqa: F811
    incus.put("GET /1.0/instances?recursion=1", answer('{"type": {"a": [1]}, "b": [], "metadata": null}'))
    assert list_instances(client, lambda data: True) == []


def test_too_deeply_nested_metadata_of_an_instance_is_refused(client, incus):  # noqa: F811
    nested = "[" * 900 + ",".join(["0"] * 100_000) + "]" * 900
    incus.put("GET /1.0/instances/c1/metadata", answer('{"metadata": {"x": ' + nested + "}}"))
    with pytest.raises(LimitError, match="nested too deeply"):
        LiveImage(client.client, parse_address("incus:c1")).read_metadata()


def test_instances_are_compared_only_with_the_two_newest_images(client, incus):  # noqa: F811
    """Each of 20,000 instances was compared with each of 100,000 images."""
    incus.put("GET /1.0/images?recursion=1", answer('{"metadata": [' + '{"created_at": 1},' * 100 + "1]}"))
    newer = NewerImages(client)
    newer._read_list(client.address)
    assert newer._newest == {"": {}}
    images = [
        {"type": "container", "created_at": f"20{number:02}-01-01T00:00:00Z", "fingerprint": f"{number:064}"}
        for number in range(10, 60)
    ]
    incus.put("GET /1.0/images?recursion=1", sync([*images, {"created_at": "none"}]))
    newer._read_list(client.address)
    (kept,) = newer._newest[""].values()
    assert [image.fingerprint for image in kept] == [f"{59:064}", f"{58:064}"]


def test_a_message_shows_only_the_beginning_of_a_long_instance_id():
    assert shown("i-1") == "i-1"
    assert shown("a" * 3_000_000) == "a" * 64 + "…"
