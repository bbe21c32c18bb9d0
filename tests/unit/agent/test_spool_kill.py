"""kill -9 of a process that appends as fast as it can, again and again."""

import random
import subprocess
import sys
import time
from pathlib import Path

from thermogate.agent.spool import Spool, SpoolSettings

WRITER = """
import os, sys
from pathlib import Path
from thermogate.agent.spool import Spool, SpoolSettings

spool = Spool(Path(sys.argv[1]), SpoolSettings())
spool.open()
while True:
    seq = spool.append("telemetry", b"%d;" % (spool.newest_seq + 1) * 500)
    os.write(1, b"%s %d\\n" % (spool.id.encode(), seq))
    if seq % 7 == 0:
        spool.ack(spool.id, [(seq - 5, seq - 3)])
"""


def append_until_killed(directory: Path, after_s: float) -> list[tuple[str, int]]:
    """(id, number) of each record whose `append` had returned before the kill."""
    writer = subprocess.Popen([sys.executable, "-c", WRITER, directory], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    first = writer.stdout.readline()
    time.sleep(after_s)
    writer.kill()
    lines = (first + writer.stdout.read()).decode().splitlines()
    writer.stdout.close()
    writer.wait()
    return [(spool_id, int(seq)) for spool_id, seq in map(str.split, lines)]


def test_no_appended_record_is_lost_and_no_number_comes_twice(tmp_path: Path) -> None:
    rng = random.Random(7)
    appended: list[tuple[str, int]] = []
    for _ in range(8):
        appended += append_until_killed(tmp_path, rng.uniform(0.0, 0.05))
    assert len(appended) > 100
    assert len(set(appended)) == len(appended)
    assert [seq for _, seq in appended] == sorted(seq for _, seq in appended)
    with Spool(tmp_path, SpoolSettings()) as spool:
        there = {record.seq: record.payload for record in spool.read(0, 1_000_000)}
        assert spool.lost == 0
    for _, seq in appended:
        acknowledged = seq % 7 in (2, 3, 4)
        assert acknowledged or there[seq] == b"%d;" % seq * 500
