"""The speed at which templater fetches images of 1 GiB, compared with ``curl -s URL | sha256sum``.

Both programs read the same file from nginx over TLS. templater also writes the file to disk. For a split
image, templater computes two hashes: of the root filesystem's file, and of both files together. So a second
curl command also computes two hashes.

The table has a row for each of five rounds, and a row with the medians. The exit code is 1 if templater has
less than 0.8 times the speed of the curl command with the same number of hashes. The only argument is another
size of the image in MiB.
"""

import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter

from templater.distribution.add_to_tree import add
from templater.distribution.tree import Tree
from tests.streams.builders import split_image, unified_image
from tests.streams.server import make_certificates

LEAST = 0.8
ROUNDS = 5
ROOT = str(Path(__file__).resolve().parents[2])
NGINX = """\
daemon off; pid {folder}/pid; error_log stderr; events {{}} worker_processes 1;
http {{ access_log off; sendfile on; server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {folder}/tls/server.pem; ssl_certificate_key {folder}/tls/server.key;
    root {folder}/tree;
}} }}
"""


def main(arguments: list[str]) -> int:
    size = int(arguments[0]) if arguments else 1024
    with tempfile.TemporaryDirectory(prefix="templater-bench.") as name:
        folder = Path(name)
        folder.chmod(0o755)
        make_certificates(folder / "tls")
        slow = False
        with nginx(folder) as url:
            for kind in ("split", "unified"):
                path = make_tree(folder, size, kind)
                slow |= compare(folder, url, path, kind, size)
    sys.stdout.write(f"limit: {LEAST} x\n")
    return slow


def compare(folder: Path, url: str, path: str, kind: str, size: int) -> bool:
    address = f"{url}/{path}"
    hashes = {"unified": [1], "split": [1, 2]}[kind]
    rounds = [
        [*(curl(folder, address, number) for number in hashes), fetch(folder, url, kind)]
        for _ in range(ROUNDS)
    ]
    names = "".join(f"{f'curl, {number} sha256sum':>22}" for number in hashes)
    sys.stdout.write(f"{kind:8}{names}{'templater':>16}   speed of templater\n")
    medians = [statistics.median(times) for times in zip(*rounds, strict=True)]
    for times in (*rounds, medians):
        speeds = "".join(f"{size / seconds:16.0f} MiB/s" for seconds in times[:-1])
        ratios = " ".join(f"{seconds / times[-1]:6.2f} x" for seconds in times[:-1])
        last = "  (medians)" if times is medians else ""
        sys.stdout.write(f"        {speeds}{size / times[-1]:10.0f} MiB/s  {ratios}{last}\n")
    sys.stdout.flush()
    return medians[-2] / medians[-1] < LEAST


def make_tree(folder: Path, size: int, kind: str) -> str:
    """Add an image of ``size`` MiB to a tree. Return the path of its large file in the tree."""
    piece = os.urandom(1 << 20)
    if kind == "split":
        meta, root = split_image(folder / kind, root=b"", variant=kind)
        with open(root, "wb") as file:
            file.write(b"hsqs" + bytes(92))
            for _ in range(size):
                file.write(piece)
        added = add(Tree(str(folder / "tree")), meta, [root])
    else:
        path = unified_image(folder / kind, variant=kind)
        with tarfile.open(path, "a") as archive:
            member = tarfile.TarInfo("rootfs/large")
            member.size = size << 20
            archive.addfile(member, _Repeated(piece))
        added = add(Tree(str(folder / "tree")), path)
    shutil.rmtree(folder / kind)
    return added.files[-1]


class _Repeated:
    def __init__(self, piece: bytes) -> None:
        self.piece = piece

    def read(self, size: int) -> bytes:
        return self.piece[:size]


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
    process = subprocess.Popen(
        ["nginx", "-c", str(folder / "nginx.conf")], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield f"https://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def curl(folder: Path, url: str, hashes: int) -> float:
    """Download and hash a file. Return the seconds.

    If ``hashes`` is 2, also compute a second hash: of another file's data, followed by the data of this file.
    """
    begun = perf_counter()
    first = f"curl -s --cacert {folder}/tls/ca.pem {url}"
    if hashes == 2:
        first += f" | tee >(cat {folder}/nginx.conf - | sha256sum > {folder}/second)"
    line = f"set -o pipefail; {first} | sha256sum"
    found = subprocess.run(["bash", "-c", line], check=True, capture_output=True, text=True).stdout
    assert found[:64] in url
    return perf_counter() - begun


FETCH = (
    "import sys; from templater.distribution.fetch_image import fetch_source as f; f(sys.argv[1], whole=True)"
)


def fetch(folder: Path, url: str, kind: str) -> float:
    """Fetch the image into an empty store in a new process. Return the seconds.

    Each command that needs a remote image first fetches the image like this.
    """
    with tempfile.TemporaryDirectory(dir=folder) as home:
        environment = {
            **os.environ, "PYTHONPATH": ROOT, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": f"{home}/config",
            "SSL_CERT_FILE": str(folder / "tls/ca.pem"),
        }  # fmt: skip

        def python(*words: str) -> None:
            subprocess.run([sys.executable, *words], check=True, capture_output=True, env=environment)

        python("-m", "templater", "remote", "add", "bench", url)
        begun = perf_counter()
        python("-c", FETCH, f"bench:tiny/1/{kind}")
        return perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
