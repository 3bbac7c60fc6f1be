"""The files that the templates of an image render, for the checks of its author.

Each template is rendered for one host of each dialect, and for each instance of the check. Equal files of a
rule count once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..model.errors import LimitError, TemplaterError
from ..model.hosts import Host
from ..model.instance import Instance
from ..model.metadata import TRIGGERS, Metadata, Rule
from ..model.render_options import RenderOptions
from ..model.source import Source
from ..planning.generated_keys import with_image_keys
from ..rendering.render import Compiled, render

#: maximum length in characters of a file whose contents are checked
LARGEST = 256 << 10
#: maximum length of all distinct texts together, in characters; a character needs up to four bytes
MOST_TEXT = 32 << 20


@dataclass(frozen=True, slots=True)
class File:
    """The result of rendering one rule for a trigger, a host and an instance: a text or an error."""

    rule: Rule
    trigger: str
    host: Host
    instance: Instance
    text: str | None
    error: TemplaterError | None
    #: whether this text comes from the instance with awkward values
    awkward: bool = False
    #: whether only an instance whose values the check invents renders this text
    invented: bool = False

    @property
    def source(self) -> Source:
        return Source(self.rule.path, self.text or "")


def distinct_files(
    metadata: Metadata,
    compiled_for: Callable[[RenderOptions], Compiled],
    options: RenderOptions,
    hosts: tuple[Host, ...],
    probes: tuple[Instance, ...],
    awkward_probes: tuple[Instance, ...],
    invented_probe: Instance | None,
) -> tuple[File, ...]:
    """Render each rule for each probe and the first host of each dialect. Return the distinct files.

    Raises LimitError if the rendering takes too long, or if all texts together are too long.
    """
    found: dict[tuple[int, str | None, str], File] = {}
    texts: dict[str, str] = {}  # all files with the same text share one object
    size = 0
    by_dialect = {host.dialect: host for host in reversed(hosts)}
    for dialect, host in by_dialect.items():
        own = RenderOptions(host, dialect, options.clock, options.seed, options.limits)
        compiled = compiled_for(own)
        # The awkward probes come last. So a file is not awkward if one of ``probes`` gives the same text in
        # the same dialect.
        for number, probe in enumerate((*probes, *awkward_probes)):
            instance = probe if probe.exists else with_image_keys(probe, metadata.properties)
            for made in render(metadata, compiled, instance, TRIGGERS, own):
                text = None if made.content is None else kept_text(made.content)
                if text is not None:
                    size += 0 if text in texts else len(text)
                    if size > MOST_TEXT:
                        raise LimitError(f"the rendered files have more than {MOST_TEXT} characters in total")
                    text = texts.setdefault(text, text)
                error = "" if made.error is None else made.error.message
                awkward, invented = number >= len(probes), probe is invented_probe
                file = File(made.rule, made.trigger, host, instance, text, made.error, awkward, invented)
                earlier = found.setdefault((id(made.rule), text, error), file)
                if earlier.invented and not (invented or awkward):
                    found[id(made.rule), text, error] = file
    return tuple(found.values())


def kept_text(content: bytes) -> str:
    """Return the text of a rendered file, cut after ``LARGEST`` characters.

    A text that is cut still ends with its last character, so that checks see a final newline.
    """
    text = content.decode("utf-8", "surrogateescape")
    return text if len(text) <= LARGEST else text[:LARGEST] + text[-1]
