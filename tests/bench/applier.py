"""A process for hardening.py: it applies the jobs from standard input, and prints the time of each.

It runs with the sources of one revision, so it uses only the public interface.
"""

import gc
import json
import os
import sys
from time import perf_counter, process_time

import templater
from templater import DirectoryRootfs, apply, open_image, plan, read_instance


def applied(image: str, instance: str, rootfs: str, how: str) -> tuple[float, float]:
    """Return the milliseconds of wall clock and processor, from reading the image to the last written file.

    ``how``: "plainly" writes without any safety; "apply alone" measures from the finished plan.
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
    """Write the files without any safety: by path, into the existing file, without a sync."""
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
