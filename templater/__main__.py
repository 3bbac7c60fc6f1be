"""``python -m templater``, and what the console script calls."""

import _signal  # type: ignore[import-not-found]  # signal itself imports enum
import gc
import sys


def main() -> int:
    """Run the command line.

    Until it is imported Ctrl-C ends the process by the signal, without a traceback from somewhere
    within an import.
    """
    if sys.getfilesystemencoding() != "utf-8" and sys.executable and not sys.flags.utf8_mode:
        _again_in_utf8()
    heeded = _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
    if heeded:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    _start_quickly()
    from .cli.main import main as run

    try:
        if heeded:
            _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        return run()
    except KeyboardInterrupt:
        return 130
    finally:
        gc.freeze()  # without this, the interpreter searches all objects for garbage before it exits


def _start_quickly() -> None:
    """Postpone modules that are rarely needed, and collect garbage rarely: a command is a short process."""
    from .startup import lazy_imports

    gc.set_threshold(100_000, 50, 50)
    lazy_imports.install()


def _again_in_utf8() -> None:
    """Names in an image are UTF-8 in any locale, and an interpreter chooses once, at its start."""
    import os

    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606


if __name__ == "__main__":
    sys.exit(main())
