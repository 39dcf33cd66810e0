"""Tests of MiniStack's release and of its end."""

from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest

from tests.environment import ROOT
from tests.rehearsal import gaps
from tests.rehearsal.ministack import LOCK, is_alive

END_SECONDS = 20
STARTER = """
import sys, time
from pathlib import Path
from tempfile import TemporaryDirectory
from tests.rehearsal import ministack
with TemporaryDirectory() as folder, ministack.running(Path(folder)) as cloud:
    print(cloud.group, flush=True)
    time.sleep(600)
"""


def test_gaps_were_seen_in_the_locked_release() -> None:
    assert re.findall(r"(?m)^ministack==(\S+)", LOCK.read_text()) == [gaps.SEEN_AT]


@pytest.mark.skipif(sys.platform != "linux", reason="the layers are built for Lambda's Linux")
def test_ministack_ends_when_its_starter_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STARTER], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout
        group = int(starter.stdout.readline())
        assert is_alive(group)
        starter.kill()
    end = time.monotonic() + END_SECONDS
    while is_alive(group) and time.monotonic() < end:
        time.sleep(0.1)
    assert not is_alive(group)
