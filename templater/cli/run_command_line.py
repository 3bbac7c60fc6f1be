"""The `templater` command: run a command line, and turn errors into messages and exit codes."""

import _signal  # type: ignore[import-not-found]  # the module `signal` imports enum, which is slow
import atexit
import os
import sys
from collections.abc import Sequence

import click

from .. import __version__
from ..model.errors import TemplaterError, reason
from ..model.url_password import hide_passwords
from . import output, terminal
from .command_group import Commands, ReaderGone

INTERRUPTED = 130
READER_GONE = 141

HELP = """See, test and safely apply the files that an LXD/Incus image's templates will write.

SRC is an image: a directory, a unified tarball, the metadata tarball of a split image, or an
instance directory.

\b
  templater preview image.tar.xz -i web1.yaml   what the first start writes
  templater diff image.tar.xz /srv/web1/rootfs  what would change there
  templater apply image.tar.xz /srv/web1/rootfs -t start
  templater watch ./image                       preview after every change

Exit codes: 0 success, 1 a file would change or there are findings, 2 invalid usage or unreadable input,
3 refused for safety, 4 a limit was exceeded, 5 a template failed or the host would fail, 6 writing failed,
7 busy.
"""

command = Commands(
    help=HELP,
    package="templater.cli.commands",
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
)
command.params += terminal.options(hidden=False)
click.version_option(__version__, "-V", "--version", prog_name="templater")(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code. Report errors on stderr."""
    try:
        return _run(arguments)
    except (click.Abort, KeyboardInterrupt) as error:
        for note in getattr(error.__cause__ or error, "__notes__", ()):  # notes of a failed rollback
            output.say(f"templater: {note}")
        return INTERRUPTED
    except (ReaderGone, BrokenPipeError):
        # The interpreter flushes stdout again at exit. That must not raise the error a second time.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return READER_GONE


def _run(arguments: Sequence[str] | None) -> int:
    try:
        terminal.reset()
        try:
            words = hide_passwords(sys.argv[1:] if arguments is None else arguments, os.path.lexists)
            result = command.main(words, prog_name="templater", standalone_mode=False)
            sys.stdout.flush()
        finally:
            terminal.end_pager()
    except TemplaterError as error:
        return complain(error.explain(), error.exit_code)
    except click.ClickException as error:
        error.show()
        return 2
    except MemoryError:
        return complain("out of memory", 4)
    except RecursionError:
        return complain("the input is nested too deeply", 4)
    except BrokenPipeError:
        raise
    except OSError as error:
        return complain(system_error(error), 2)
    return result if isinstance(result, int) else 0


def complain(text: str, code: int) -> int:
    output.say(f"templater: {text}")
    return code


def system_error(error: OSError) -> str:
    """Format an operating-system error: the file, then the reason in lower case."""
    words = reason(error)
    return f"{error.filename}: {words}" if error.filename else words


def end(code: int) -> None:
    """End the process with an exit code. Skip the freeing of objects, which takes milliseconds.

    If another thread, a debugger or a profiler is active, exit normally.
    """
    threads = sys.modules.get("threading")
    is_watched = sys.gettrace() or sys.getprofile() or "_lsprof" in sys.modules  # cProfile imports _lsprof
    if not is_watched and (threads is None or threads.active_count() == 1):
        # After an interrupt of ``exec``, a normal exit would end with SIGINT instead of ``code``.
        atexit._run_exitfuncs()
        if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
            _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # Ctrl-C ends the process without a traceback
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError):
            pass  # the interpreter reports the error
        else:
            os._exit(code)
    sys.exit(code)
