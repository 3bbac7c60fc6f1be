"""A helper program for hardening.py: it applies plans, and prints the time of each.

Each line of standard input describes one plan to apply. hardening.py runs this program with the sources of
old and new revisions of templater. So this program uses only templater's public interface.
"""

import gc
import json
import os
import sys
from time import perf_counter, process_time

import templater
from templater import DirectoryRootfs, apply, open_image, plan, read_instance


def applied(image: str, instance: str, rootfs: str, how: str) -> tuple[float, float]:
    """Plan and write the files of an image.

    Return the wall clock time and the processor time in milliseconds.

    If ``how`` is "plainly", write the files without any safety. If ``how`` is "apply alone", measure only the
    writing, not the planning.
    """
    gc.collect()
    clock, processor = perf_counter(), process_time()
    with DirectoryRootfs(rootfs) as view:
        made = plan(open_image(image), read_instance(instance), triggers=("create", "start"), rootfs=view)
        made = made.as_agent() if made.instance.is_vm else made
        if how == "apply alone":
            clock, processor = perf_counter(), process_time()
        if how == "plainly":
            written(made, rootfs)
        else:
            apply(made, view)
    return (perf_counter() - clock) * 1000, (process_time() - processor) * 1000


def written(made, rootfs: str) -> None:
    """Write the files without any safety: overwrite existing files in place, and do not sync."""
    for change in made.files():
        os.makedirs(os.path.dirname(rootfs + change.real), exist_ok=True)
        with open(rootfs + change.real, "wb") as file:
            file.write(change.content)


def main() -> None:
    print(json.dumps(templater.__file__), flush=True)
    for line in sys.stdin:
        print(json.dumps(applied(*json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
