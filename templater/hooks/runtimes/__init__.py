"""The runtimes that call templater when a container starts: one file a runtime.

Each of these functions in ``hooks/runtimes/NAME.py`` is optional:

``read_request(options, environ)``
    Return the ``HookRequest`` of a start, or a ``Notice`` of another event. The file is on the path of every
    start, so it imports what is not lean in functions.
``state_folder(environ)``
    Return the directory with ``.templater`` to which a failure of ``read_request`` is logged, or "".
``snippet(name, words, path)``
    Return what ``hook install NAME`` prints or writes, an ``install.Snippet``. ``words`` are the options of
    the hook's line; ``options.read_options`` reads them.
``status(name, path)``
    Yield the findings of ``hook status NAME``, each a ``status.Finding``.

``name`` and ``path`` are the command's arguments, empty where they are not given. Each file decides what they
mean, and raises ``UsageError`` for wrong ones.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def function_of(runtime: str, name: str) -> "Any":
    """Return the function of a runtime's file; None if there is no such file or function."""
    if not runtime.isidentifier():
        return None
    module = f"{__name__}.{runtime}"
    try:
        return getattr(__import__(module, fromlist=(name,)), name, None)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return None
