"""Laws of the processes that work for a command."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMAND = """
import time
from validation.tools.workers import processes

if __name__ == "__main__":
    with processes(2) as pool:
        pool.submit(print, "works", flush=True).result()
        pool.submit(time.sleep, 600).result()
"""


def test_workers_end_when_their_command_is_killed(tmp_path: Path) -> None:
    """Without a chance to stop them, and in the middle of a task: whoever reads their output sees its end."""
    script = tmp_path / "command.py"
    script.write_text(COMMAND)
    where = dict(os.environ, PYTHONPATH=str(ROOT))
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=where) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "works\n"
        command.kill()
        assert command.communicate(timeout=60)[0] == ""
