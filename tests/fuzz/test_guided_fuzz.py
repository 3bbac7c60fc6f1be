"""Each fuzz target: its seeds always, and a few seconds of guided fuzzing where atheris is installed."""

import importlib.util
import re
import subprocess
import sys

import pytest

from tests.fuzz.guided import TARGETS, run

SECONDS = 3


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_every_fuzz_seed_raises_only_templater_errors(name: str) -> None:
    one, seeds = TARGETS[name]()
    for seed in seeds:
        one(seed)
        one(seed[: len(seed) // 2])
        one(seed[: len(seed) // 3] + b"\0" + seed[len(seed) // 3 :])


def test_a_truncated_json_state_gives_an_input_error() -> None:
    """Found by fuzzing: without json.decoder loaded, the C scanner fails without an exception."""
    code = (
        "import sys; from templater.hooks import json_input; from templater.model.errors import InputError\n"
        "assert 'json' not in sys.modules\n"
        "try: json_input.parse_json(b'{\"root\": [1,', 'it')\n"
        "except InputError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.stdout == "it is not JSON\n", done.stderr


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="NOT RUN: guided fuzzing needs atheris"
)
@pytest.mark.parametrize("name", TARGETS)
def test_fuzzed_input_raises_only_templater_errors(name: str) -> None:
    done = run(name, SECONDS)
    assert done.returncode == 0, done.stderr[-3000:]
    counted = re.search(r"stat::number_of_executed_units:\s+(\d+)", done.stderr)
    assert counted is not None and int(counted[1]) > 100, done.stderr[-1000:]
