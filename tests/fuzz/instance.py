"""A fuzz target for instance descriptions: any bytes give an instance or an ordinary error.

A fuzzer calls ``one`` with its inputs. ``seeds`` are inputs to begin with.
"""

import io
from collections.abc import Callable, Iterator

from templater.model.errors import TemplaterError
from templater.model.source import Source
from templater.parsing.instance_description import read_instance, read_profile
from templater.parsing.instance_list import stream_instances


def one(data: bytes) -> None:
    """Parse the bytes. Raise every error that is not an ordinary error of templater."""
    for read in (read_instance, read_profile):
        try:
            read(Source("instance.yaml", data))
        except TemplaterError as error:
            assert error.explain()
            assert error.span is None or error.span.start <= len(error.span.source.text)
    stream = io.BytesIO(data)
    pieces = streamed(lambda size: stream.read(min(size, 5)))
    assert streamed(io.BytesIO(data).read) == pieces, "it matters in which pieces a list is read"


def streamed(read: Callable[[int], bytes]) -> tuple[list[str], str]:
    """Return the names of a list's instances, and the kind of error after them."""
    names = []
    try:
        for instance in stream_instances(read, "fleet.json"):
            assert instance.name
            names.append(instance.name)
    except TemplaterError as error:
        assert error.explain()
        return names, type(error).__name__
    return names, ""


def seeds() -> Iterator[bytes]:
    yield b"architecture: x86_64\nconfig:\n  user.a: |\n    b\ndevices: {}\nephemeral: false\nprofiles:\n- default\n"
    yield b"name: a\ntype: vm\nconfig: {a: &x 1, b: *x}\ndevices:\n  eth0: {type: nic}\n"
    yield b'[{"name": "a", "config": {"x": true}, "expanded_config": {"x": "1"}, "profiles": ["p"]}]'
    yield b'{"metadata": {"name": "a", "type": "container"}, "status_code": 200}'
    yield b"container:\n  name: a\n  profiles: [p]\nprofiles:\n- {name: p, config: {a: b}}\n"
    yield b"config: {a: b}\ndevices: {root: {path: /, type: disk}}\nname: default\nused_by: []\n"
