"""`thermogate` under cProfile, counting processor time and not what passes while it waits.

python benchmarks/ingest_profiled.py FILE collector ...
"""

import cProfile
import sys
import time

from thermogate.cli.main import main

if __name__ == "__main__":
    profile = cProfile.Profile(time.thread_time)
    file, sys.argv[1:] = sys.argv[1], sys.argv[2:]
    try:
        profile.runcall(main)
    finally:
        profile.dump_stats(file)
