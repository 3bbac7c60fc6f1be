"""The entry point of ``python -m templater`` and of the console script."""

import _signal  # type: ignore[import-not-found]  # the module `signal` imports enum, which is slow
import gc
import os
import sys


def main() -> int:
    """Run the command line and return its exit code.

    While modules are imported, Ctrl-C ends the process without a traceback.
    """
    _open_closed_streams()
    if sys.getfilesystemencoding() != "utf-8" and sys.executable and not sys.flags.utf8_mode:
        _again_in_utf8()
    raises_interrupt = _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
    if raises_interrupt:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    _start_quickly()
    from .cli.run_command_line import main as run
    from .rootfs.close_in_another_process import close_rest_at_end, handing_over

    def run_and_close() -> int:
        close_rest_at_end()
        return run()

    try:
        if raises_interrupt:
            _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        return handing_over(run_and_close)
    except KeyboardInterrupt:
        return 130
    finally:
        gc.freeze()  # skip the interpreter's search for garbage at exit


def run() -> None:
    """Run the command line and end the process."""
    code = main()
    from .cli.run_command_line import end

    end(code)


def _open_closed_streams() -> None:
    """Open /dev/null in place of each closed standard stream."""
    # If a stream stayed closed, the next file that the process opens would get the stream's number.
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is ``number``
                os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", encoding="utf-8", closefd=False))


def _start_quickly() -> None:
    """Postpone garbage collection and rarely needed imports, because a command runs only for a short time."""
    from .startup import lazy_imports

    gc.set_threshold(100_000, 50, 50)
    lazy_imports.install()


def _again_in_utf8() -> None:
    """Start the interpreter again in UTF-8 mode, because file names in images are UTF-8 in any locale."""
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])  # noqa: S606


if __name__ == "__main__":
    run()
