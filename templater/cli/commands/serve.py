"""``templater serve``: an https server for images."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

import click

from ...distribution.catalog_decoder import INDEX_PATH
from ...limit_option import COMMAND, IMAGE, Given
from ...model.errors import TemplaterError, UsageError, WriteError, reason
from ...model.unprintable_characters import printable
from ...rootfs.trusted_paths import open_log
from .. import completers, options, output
from ..enforce_limits import guard

if TYPE_CHECKING:
    from ...serving.image_sources import Source

STORE = "store:"
HELP = """Serve images to Incus and LXD over https.

SRC is a simplestreams tree, `store:` for the public images of the store, or image files. For a split image,
give the metadata tarball and then the root filesystem. Clients can use the server as a simplestreams remote,
as a public Incus or LXD server, and for `incus image import https://…`.

Without --certificate, the server makes a certificate and keeps it. The server notices changes of a tree or of
the store. At SIGHUP, the server reads the certificate again, and opens the file of --access-log again. If you
replace the directory of the tree by another directory, restart the server. Stop the server with Ctrl-C.

\b
Examples:
  templater serve /srv/images --listen 0.0.0.0:8443
  templater serve image.tar.xz --alias debian
  templater serve meta.tar.xz rootfs.squashfs
"""


@click.command(help=HELP)
@click.argument("sources", metavar="SRC...", nargs=-1, required=True, shell_complete=completers.files)
@click.option(
    "--listen",
    metavar="[HOST:]PORT",
    default="127.0.0.1:8443",
    show_default=True,
    help="Address and port; port 0 is any free port.",
)
@click.option(
    "--certificate",
    metavar="FILE",
    help="The server's certificate (PEM), with intermediate certificates.",
    shell_complete=completers.files,
)
@click.option("--key", metavar="FILE", help="The certificate's key (PEM).", shell_complete=completers.files)
@click.option(
    "--alias", "aliases", multiple=True, metavar="NAME", help="An alias for the image file; repeatable."
)
@click.option(
    "--redirect",
    "redirects",
    multiple=True,
    metavar="FILE|DIR",
    help="File or directory of redirect rules from `streams reindex --redirect`.",
    shell_complete=completers.files,
)
@click.option(
    "--url", default="", metavar="URL", help="The address for clients, if a proxy forwards to this server."
)
@click.option(
    "--access-log",
    metavar="FILE",
    help="Append a line for each request to FILE; '-' is standard output.",
    shell_complete=completers.files,
)
@options.limit_option(IMAGE, COMMAND)
def command(
    sources: tuple[str, ...],
    listen: str,
    url: str,
    access_log: str | None,
    certificate: str | None,
    key: str | None,
    aliases: tuple[str, ...],
    redirects: tuple[str, ...],
    limits: Given,
) -> None:
    import asyncio

    host, port = address(listen)
    if (certificate is None) != (key is None):
        raise UsageError("--certificate and --key must be given together")
    url = public_url(url)
    image_server, connections, certificates = modules()
    from ...distribution.web_server_redirects import read_rules

    rules = {prefix: to for path in redirects for prefix, to in read_rules(path).items()}
    with guard(limits, images=max(1, len(sources))):
        source = open_source(sources, aliases, rules, limits)
    if certificate is None or key is None:
        certificate = key = certificates.own_certificate(host)
        public = certificates.public_part(certificate)
        output.note(f"to let clients trust this server, give them the certificate '{public}'")
    files = (certificate, key)
    log = None if access_log is None else AccessLog(access_log)

    async def run() -> None:
        import signal

        loop = asyncio.get_running_loop()
        context = certificates.context(*files)
        server = image_server.ImageServer(
            source,
            redirects=rules,
            certificate=certificates.first_certificate(files[0]),
            report=output.note,
            log=None if log is None else log.write,
            url=url,
        )
        listener = connections.bind(host, port)
        bound = listener.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        images = f"{server.count} image{'' if server.count == 1 else 's'}"
        serving = asyncio.ensure_future(connections.serve(server.answer, listener, context))
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, serving.cancel)

        def read_again() -> None:
            reload(certificates, context, files)
            if log is not None:
                log.open()

        loop.add_signal_handler(signal.SIGHUP, read_again)
        output.write(f"serving {images} on https://{shown}:{bound}\n")
        output.flush()
        with suppress(asyncio.CancelledError):
            await serving

    asyncio.run(run())


class AccessLog:
    """A log file with a line for each request."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file: TextIO | None = None
        self.open()

    def open(self) -> None:
        """Open the log. If the log is already open, open its path again.

        Another program, such as logrotate, can have renamed the open file.
        """
        if self.path == "-":
            return
        try:
            file = open(open_log(self.path), "a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
        except (OSError, TemplaterError) as error:
            problem = reason(error) if isinstance(error, OSError) else error.message
            if self._file is None:
                kind = WriteError if isinstance(error, OSError) else type(error)
                raise kind(f"can't write '{printable(self.path)}': {problem}") from None
            output.note(f"can't open '{printable(self.path)}' again: {problem}")
            return
        if self._file is not None:
            self._file.close()
        self._file = file

    def write(self, line: str) -> None:
        if self._file is None:
            output.write(f"{line}\n")
            output.flush()
            return
        with suppress(OSError):  # a full disk must not stop the server
            self._file.write(f"{line}\n")
            self._file.flush()


def public_url(text: str) -> str:
    """Return a URL without a slash at its end. Raises UsageError if clients could not use the URL."""
    if text and not re.fullmatch(r"https://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~-]+)*/?", text):
        raise UsageError(
            f"invalid URL '{printable(text)}'", hint="for example: --url https://images.example.com"
        )
    return text.rstrip("/")


def modules() -> tuple[Any, Any, Any]:
    """Import the server. Raises UsageError if its libraries are missing."""
    try:
        from ...serving import certificate, connections, image_server
    except ModuleNotFoundError as error:
        raise UsageError(
            f"`templater serve` needs the library '{error.name}'",
            hint="install templater's extra 'server'; in a Git clone: pip install -e '.[server]'",
        ) from None
    return image_server, connections, certificate


def open_source(
    sources: tuple[str, ...], aliases: tuple[str, ...], rules: dict[str, str], limits: Given
) -> Source:
    from ...serving.image_sources import FilesSource, StoreSource, TreeSource

    special = [src for src in sources if src == STORE or os.path.isdir(src)]
    if special and (len(sources) > 1 or aliases):
        raise UsageError(f"'{special[0]}' can't be combined with another SRC or with --alias")
    if rules and not os.path.isdir(sources[0]):
        raise UsageError("--redirect requires a simplestreams tree")
    if sources == (STORE,):
        return StoreSource(output.note)
    if os.path.isdir(sources[0]):
        if not os.path.lexists(os.path.join(sources[0], INDEX_PATH)):
            hint = f"'{INDEX_PATH}' is missing; `templater streams add` creates a tree"
            raise UsageError(f"'{sources[0]}' is not a simplestreams tree", hint=hint)
        return TreeSource(sources[0], (prefix[1:] for prefix in rules))
    files = [options.existing(src) for src in sources]
    return FilesSource(files, aliases, output.note, limits.for_images())


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not port.isascii() or not port.isdigit() or len(port) > 5 or int(port) > 65535:
        raise UsageError(f"invalid address '{text}'", hint="for example: --listen 127.0.0.1:8443")
    return host, int(port)


def reload(certificates: Any, context: Any, files: tuple[str, str]) -> None:
    try:
        certificates.load(context, *files)
        output.note("reloaded the certificate")
    except TemplaterError as error:
        output.note(str(error))
