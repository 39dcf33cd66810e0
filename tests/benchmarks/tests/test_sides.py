"""Tests of how a benchmark finds the worker that it must kill, and counts CPU time."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from tests.benchmarks._sides import _cpu, _owner


def test_owner_of_a_connection_is_found() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as connection,
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as idle,
    ):
        port = connection.getsockname()[1]
        assert _owner(port, [idle.pid, os.getpid()]) == os.getpid()
        with pytest.raises(ProcessLookupError):
            _owner(port, [idle.pid])
        idle.terminate()


def test_cpu_time_of_ended_children_counts() -> None:
    before = _cpu(os.getpid())
    child = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-S", "-c", child], check=True)
    assert _cpu(os.getpid()) - before >= 0.28  # clock ticks are 10 ms
