"""The folder of the counts: whose it is, what is set aside, and what becomes of the counts of a process that ended."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import gettempdir

from tests.running import wait_until
from voice.metrics import folder

ROOT = Path(__file__).parents[2]

# A master with workers that count, one after the other; then it says what all have counted.
_MASTER = """
import os, sys
from voice.metrics import folder
folder.make(); made = os.environ[folder.VARIABLE]; folder.make()
assert os.environ[folder.VARIABLE] == made, "a second time it does nothing"
pids = []
for number in (1, 2, 3):
    pid = os.fork()
    if pid == 0:
        folder.join(os.getpid())
        from voice.metrics import series
        series.turns.inc(number); series.workers.set(1); series.stage_seconds.labels("heard").observe(number)
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    pids.append(pid)
sizes = {path.stat().st_blocks * 512 for path in __import__("pathlib").Path(made).glob("*.db")}
folder.leave(pids[0]); folder.leave(pids[0]); folder.leave(pids[1])
names = os.listdir(made)
files = sorted(name.rpartition("_")[0] for name in names if f"_{pids[2]}." in name)
from voice.metrics.exposure import exposed
lines = exposed().decode().replace('stage="heard"', "heard").splitlines()
told = sorted(line for line in lines if line.startswith(("voice_turns_total", "voice_workers ",
    "voice_stage_seconds_sum{heard}")))
print(made); print(sizes); print(len(names), files); print(" | ".join(told), flush=True)
sys.stdin.read()
"""


# A worker that is given no room.
_CRAMPED = """
import os, resource
from voice.metrics import folder
folder.make()
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    folder.join(os.getpid())
except OSError:
    from voice.metrics import series
    from voice.metrics.exposure import exposed
    series.turns.inc()
    print("voice_turns_total 1.0" in exposed().decode(), folder.VARIABLE in os.environ)
"""


def _master() -> "subprocess.Popen[str]":
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", _MASTER], env=environ, stdin=pipe, stdout=pipe, text=True)


def test_counts_stay_measurements_go_and_the_folder_goes_with_its_master() -> None:
    with _master() as master:
        assert master.stdout is not None
        made, sizes, left, told = (master.stdout.readline().strip() for _ in range(4))
        assert Path(made).stat().st_mode & 0o777 == 0o700
        assert sizes == str({folder._FILE_BYTES}), "no count can fail for want of room"
        # Two sums, two locks, and the four files of the third, which is not known to be dead.
        assert left == "8 ['counter', 'gauge_livemax', 'gauge_livesum', 'histogram']"
        assert told.split(" | ") == [
            "voice_stage_seconds_sum{heard} 6.0",
            "voice_turns_total 6.0",
            "voice_workers 1.0",
        ]
    assert not Path(made).exists()


def test_what_a_killed_server_has_left_goes_when_another_one_starts() -> None:
    with _master() as killed, _master() as other:
        assert killed.stdout is not None and other.stdout is not None
        left, alive = (master.stdout.readline().strip() for master in (killed, other))  # type: ignore[union-attr]
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert Path(left).exists() and Path(alive).exists()
        with _master() as third:
            assert third.stdout is not None and third.stdout.readline()
            wait_until(lambda: not Path(left).exists(), 5, "the folder of the killed one is gone")
            assert Path(alive).exists(), "that of a living one is not"


def test_without_room_for_its_files_a_worker_counts_for_itself() -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", _CRAMPED], env=environ, capture_output=True, text=True, timeout=30)
    assert done.stdout.split() == ["True", "False"], done.stderr


def test_without_memory_to_write_to_it_is_a_temporary_folder() -> None:
    assert folder._has_room(gettempdir())
    assert not folder._has_room("/proc") and not folder._has_room("/nowhere")
