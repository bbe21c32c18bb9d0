"""What share of the time a training computes at a pace: `make bench NAME=trainer-pace`."""

import argparse
import json
import time

from thermogate.schedulers.trainer import Gate


class Fixed(Gate):
    """A gate whose pace is given."""

    pace = 1.0


def share_at(pace: float, step_s: float, for_s: float) -> float:
    """Of the time between steps' beginnings and ends, the share in steps that spin for `step_s`."""
    gate = Fixed("job/bench")
    gate.pace = pace
    gate.keep_pace()
    began_s, computed_s = time.monotonic(), 0.0
    while time.monotonic() < began_s + for_s:
        step_began_s = time.monotonic()
        while time.monotonic() < step_began_s + step_s:
            pass
        computed_s += time.monotonic() - step_began_s
        gate.keep_pace()
    return computed_s / (time.monotonic() - began_s)


def main() -> None:
    """Print a table, and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each pace (default %(default)g)")
    parser.add_argument("--step-ms", type=float, default=5.0, help="length of a step (default %(default)g)")
    args = parser.parse_args()
    shares = {}
    print("  pace  share of the time in steps")
    for pace in (1.0, 0.9, 0.8, 0.5, 0.25):
        shares[str(pace)] = round(share_at(pace, args.step_ms / 1000, args.seconds), 4)
        print(f"{pace:6.2f}  {shares[str(pace)]:.3f}")
    print(json.dumps({"share_by_pace": shares}))


if __name__ == "__main__":
    main()
