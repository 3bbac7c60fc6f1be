"""``python -m tests.bench NAME`` runs a benchmark. Each benchmark is a module with a function ``main``."""

import sys
from importlib import import_module
from pathlib import Path


def names() -> list[str]:
    files = Path(__file__).parent.glob("*.py")
    return sorted(file.stem for file in files if "\ndef main(arguments: " in file.read_text())


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in names():
        sys.stderr.write(f"usage: python -m tests.bench {{{','.join(names())}}} …\n")
        return 2
    return int(import_module(f"tests.bench.{sys.argv[1]}").main(sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
