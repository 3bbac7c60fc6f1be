"""The process that renders views. Requests come from standard input, and answers go to standard output."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
from typing import BinaryIO

from .views import Views
from .worker_process import frame


def main() -> None:
    """Answer requests until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    questions = sys.stdin.buffer
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # stdout is only for the answers
        job = read_frame(questions)
        if job is None:
            return
        views = Views(*pickle.loads(job))  # noqa: S301 - the server made the data
        while (question := read_frame(questions)) is not None:
            facts, body = views.answer(question)
            answers.write(frame(json.dumps(facts).encode()) + frame(json.dumps(body).encode()))
            answers.flush()


def read_frame(stream: BinaryIO) -> bytes | None:
    """Return the next message, or None at the end. Four bytes before each message give its length."""
    head = stream.read(4)
    if len(head) < 4:
        return None
    return stream.read(int.from_bytes(head))
