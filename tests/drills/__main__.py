"""`python -m tests.drills --minutes 30`: the soak."""

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

from tests.drills import soak  # noqa: E402

parser = argparse.ArgumentParser(prog="make soak", description="Many calls for a long time, a fault a minute.")
parser.add_argument("--minutes", type=float, default=30.0)
parser.add_argument("--calls", type=int, default=50)
given = parser.parse_args()
sys.exit(soak.run(given.minutes, given.calls, Path("soak")))
