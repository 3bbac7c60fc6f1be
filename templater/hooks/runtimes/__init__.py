"""The runtimes that call templater when a container starts: one file per runtime.

The file ``hooks/runtimes/NAME.py`` can define these functions:

``read_request(options, environ)``
    Return a ``HookRequest`` for a start, or a ``Notice`` for any other event.
``state_folder(environ)``
    Return the directory that contains ``.templater``, or "". An error of ``read_request`` is logged there.
``snippet(name, words, path)``
    Return the ``install.Snippet`` of ``hook install NAME``. ``words`` are the options of the hook line.
``status(name, path)``
    Yield the ``status.Finding`` values of ``hook status NAME``.

``name`` and ``path`` are the command's arguments, or "". Each runtime defines their meaning, and raises
``UsageError`` for invalid values. Every start loads the file, so import slow modules inside functions.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def function_of(runtime: str, name: str) -> "Any":
    """Return a function of a runtime's file, or None if the file or the function does not exist."""
    if not runtime.isidentifier():
        return None
    module = f"{__name__}.{runtime}"
    try:
        return getattr(__import__(module, fromlist=(name,)), name, None)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        return None


def runtimes_with(name: str) -> "tuple[str, ...]":
    """Return the runtimes whose files have the function ``name``."""
    from pkgutil import iter_modules

    found = sorted(module.name for module in iter_modules(__path__))
    return tuple(runtime for runtime in found if function_of(runtime, name) is not None)
