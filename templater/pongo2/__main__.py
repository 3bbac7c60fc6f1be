"""``python -m templater.pongo2 --jsonl``: renders templates. Each request and each answer is one JSON line.

A request has these keys:

* ``template`` or ``template_b64``
* ``context``
* ``mode``: "plain" or "incus"
* ``dialect``: "v4", "v6" or "v6.1"
* ``options``: an object with ``trim_blocks`` and ``lstrip_blocks``
* ``id``

The answers have the order and the ids of the requests. Their other keys are:

* ``output``, or ``output_b64`` if the output is not UTF-8
* for a failed render: ``error``, ``kind``, ``pongo2_error``, ``line`` and ``column``
* for an invalid request: ``error`` and ``kind``; an unreadable request has the ``id`` null
"""

import json
import sys
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from typing import Any, BinaryIO

from ..model.errors import TemplaterError
from . import compile
from .daemon_context import daemon_context
from .dialect import DIALECTS
from .values import MAX_INT, MIN_INT

MODES = ("plain", "incus")
OPTIONS = ("trim_blocks", "lstrip_blocks")
DAEMON_NAMES = ("trigger", "path", "instance", "config", "devices", "properties")


class RequestError(Exception):
    """Raised for an invalid request."""


def main(arguments: list[str]) -> int:
    if arguments != ["--jsonl"]:
        sys.stderr.write("usage: python -m templater.pongo2 --jsonl < requests > answers\n")
        return 2
    serve(sys.stdin.buffer, sys.stdout.buffer)
    return 0


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer every line that is not blank. The answer to an invalid request has the ``kind`` "request"."""
    for line in requests:
        if line.strip():
            answers.write(json.dumps(answer(line)).encode() + b"\n")
            answers.flush()


def answer(line: bytes) -> dict[str, Any]:
    try:
        request = read(line)
    except (RequestError, ValueError, RecursionError) as error:
        return {"id": None, "error": f"bad request: {error}", "kind": "request"}
    reply: dict[str, Any] = {"id": request.get("id")}
    try:
        reply |= result(render(request))
    except RequestError as error:
        reply |= {"error": f"bad request: {error}", "kind": "request"}
    except TemplaterError as error:
        reply |= failure(error)
    return reply


def read(line: bytes) -> dict[str, Any]:
    request = json.loads(line.decode("utf-8", "replace"), parse_constant=_no_constant)
    if not isinstance(request, dict):
        raise RequestError("a request must be a JSON object")
    return {name: value if name == "id" else as_go_reads(value) for name, value in request.items()}


def _no_constant(name: str) -> None:
    raise RequestError(f"{name} is not valid JSON")


def as_go_reads(value: Any) -> Any:
    """Return a decoded JSON value as Go's encoding/json would decode it.

    Half of a surrogate pair becomes U+FFFD, and an integer that does not fit 64 bits becomes a float.
    """
    if isinstance(value, str):
        return value if value.isascii() else whole_characters(value)
    if isinstance(value, list):
        return [as_go_reads(item) for item in value]
    if isinstance(value, dict):
        return {as_go_reads(name): as_go_reads(item) for name, item in value.items()}
    if type(value) is int and not MIN_INT <= value <= MAX_INT:
        return float(str(value))  # unlike float(value), gives infinity for a very large number
    return value


def whole_characters(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def render(request: Mapping[str, Any]) -> str:
    mode = chosen(request, "mode", MODES, "plain")
    dialect = DIALECTS[chosen(request, "dialect", tuple(DIALECTS), "v6")]
    options = mapping(request, "options")
    for name, value in options.items():
        if name not in OPTIONS:
            raise RequestError(f"unknown option {json.dumps(name)}, not one of {', '.join(OPTIONS)}")
        if not isinstance(value, bool):
            raise RequestError(f"options: {name} is {json.dumps(value)}, not true or false")
    template = compile(
        source(request),
        dialect,
        mode=mode,
        trim_blocks=bool(options.get("trim_blocks")),
        lstrip_blocks=bool(options.get("lstrip_blocks")),
    )
    context = mapping(request, "context")
    return template.render(embedded(context) if mode == "incus" else context)


def chosen(request: Mapping[str, Any], name: str, choices: tuple[str, ...], default: str) -> str:
    value = request.get(name, default)
    if value not in choices:
        raise RequestError(f"{name} is {json.dumps(value)}, not one of {', '.join(choices)}")
    return str(value)


def mapping(request: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the object ``name`` of the request, or {} if it is missing or null.

    Raises RequestError if the value is not an object.
    """
    value = request.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RequestError(f"{name} is {json.dumps(value)[:40]}, not an object")
    return value


def source(request: Mapping[str, Any]) -> bytes:
    encoded = request.get("template_b64")
    text = request.get("template")
    if isinstance(encoded, str):
        try:
            return b64decode(encoded, validate=True)
        except (Base64Error, ValueError):
            raise RequestError("template_b64 is not base64") from None
    if not isinstance(text, str):
        raise RequestError("template is not a string")
    return text.encode()


def embedded(context: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the request's context as a daemon does for pongo2.

    Add ``config_get``, and give Go's types to the variables that a daemon provides, such as ``devices``.
    """
    given = dict(context)
    for name, other in (("instance", "container"), ("container", "instance")):
        if other in given:
            given.setdefault(name, given[other])
    daemon = daemon_context(
        trigger=_text(given.get("trigger")),
        path=_text(given.get("path")),
        instance=_texts(given.get("instance")),
        config=_texts(given.get("config")),
        devices={name: _texts(keys) for name, keys in _dict(given.get("devices")).items()},
        properties=_texts(given.get("properties")),
    )
    known = {name: value for name, value in daemon.items() if name in given or name == "config_get"}
    return given | known


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: Any) -> dict[str, str]:
    return {name: text for name, text in _dict(value).items() if isinstance(text, str)}


def result(text: str) -> dict[str, str]:
    data = text.encode("utf-8", "surrogateescape")
    try:
        return {"output": data.decode()}
    except UnicodeDecodeError:
        return {"output_b64": b64encode(data).decode()}


def failure(error: TemplaterError) -> dict[str, Any]:
    span = error.span
    text = getattr(error, "pongo2_error", None)
    return {
        "error": whole_characters(error.message),
        "pongo2_error": None if text is None else whole_characters(text),
        "kind": error.kind,
        "line": span.line if span is not None else None,
        "column": span.column if span is not None else None,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
