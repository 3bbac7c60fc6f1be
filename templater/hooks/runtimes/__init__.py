"""templater called by a runtime when a container starts: one file a runtime.

What ``hooks/runtimes/NAME.py`` defines of these makes NAME a runtime; each may be left out:

``situation(options, environ)``
    Be the hook: what happens to which container, as a ``run.Start`` or a ``run.Noted``. The file is then on
    the path of every start, so that what it needs beyond lean modules is imported in functions.
``snippet(name, words, path)``
    What ``hook install NAME`` prints or writes, an ``install.Snippet``. ``words`` are the options of the
    hook's line; ``options.read_options`` reads them.
``status(name, path)``
    What ``hook status NAME`` finds, ``status.Finding`` by ``status.Finding``.

``name`` and ``path`` are the command's, empty where none is given. What they stand for, which of them must be
given and what is usual is for the file to know; ``UsageError`` says what is wrong with them.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def part(runtime: str, name: str) -> "Any":
    """What a runtime's own file defines by this name, None if nothing does."""
    if not runtime.isidentifier():
        return None
    module = f"{__name__}.{runtime}"
    try:
        return getattr(__import__(module, fromlist=(name,)), name, None)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return None
