"""Reports of a prediction of cloud-init's next boot: as text, and as data for ``json.dumps``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..model.unprintable_characters import printable
from .next_boot import FIRST

if TYPE_CHECKING:
    from .next_boot import Verdict

#: the documentation page with the rules and their sources
PAGE = "docs/cloud-init.md"


def lines_of(verdict: Verdict) -> Iterator[str]:
    """Yield the lines of a report: the prediction, and an indented line for each reason."""
    version = verdict.version or "of unknown version"
    sources = "unknown" if verdict.sources is None else ", ".join(verdict.sources)
    yield printable(f"cloud-init {version}, datasource_list {sources}: {_headline(verdict)}")
    for reason in verdict.reasons:
        yield printable(f"  {reason.text} ({PAGE}#{reason.rule})")


def _headline(verdict: Verdict) -> str:
    if verdict.reads is None and verdict.per_instance is None:
        return "the result of the next boot is unknown"
    if not verdict.datasource or verdict.datasource == "None":
        return "the next boot reads no data"
    reads = {
        True: "reads the data" if verdict.instance == FIRST else "reads the data again",
        False: "keeps the data of the last boot",
        None: "may read the data again",
    }
    modules = {
        True: "runs the per-instance modules",
        False: "does not run the per-instance modules",
        None: "may run the per-instance modules",
    }
    network = {
        True: "writes the network configuration",
        False: "does not write the network configuration",
        None: "may write the network configuration",
    }
    return (
        f"the next boot {reads[verdict.reads]} ({verdict.datasource}), {modules[verdict.per_instance]}"
        f" and {network[verdict.network]}"
    )


def verdict_data(verdict: Verdict) -> dict[str, Any]:
    """Return a prediction as data for ``json.dumps``. docs/automation.md documents the keys."""
    return {
        "version": verdict.version or None,
        "datasource_list": None if verdict.sources is None else list(verdict.sources),
        "datasource": verdict.datasource or None,
        "instance": verdict.instance or None,
        "reads_data": verdict.reads,
        "per_instance": verdict.per_instance,
        "network": verdict.network,
        "reasons": [{"text": reason.text, "rule": f"{PAGE}#{reason.rule}"} for reason in verdict.reasons],
    }
