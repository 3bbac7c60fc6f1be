"""A fuzz target for metadata.yaml: any bytes give metadata, or an error with a position in the text.

A fuzzer calls ``one`` with its inputs. ``seeds`` are inputs to begin with.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

from templater.model.errors import LimitError, MetadataError
from templater.model.source import Source
from templater.parsing.metadata_yaml import read_metadata

CASES = Path(__file__).resolve().parent.parent / "metadata_cases" / "go_yaml.jsonl"


def one(data: bytes) -> None:
    """Parse the bytes. Raise every error that is not an ordinary error of templater."""
    for rules in ("v2", "v4"):
        try:
            metadata = read_metadata(Source("metadata.yaml", data), rules)
        except (MetadataError, LimitError) as error:
            spans = [error.span]
            assert error.explain()
        else:
            spans = [span for rule in metadata.rules for span in rule.spans.values()]
            spans += [finding.span for finding in metadata.findings]
        for span in spans:
            assert span is not None and 0 <= span.start <= len(span.source.text), span


def seeds() -> Iterator[bytes]:
    for line in CASES.read_text().splitlines():
        case = json.loads(line)
        yield base64.b64decode(case["base64"]) if "base64" in case else case["yaml"].encode()
