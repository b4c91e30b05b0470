"""Follow a guide literally: write the files that it prints, and run its commands, in the order of the page.

python -m tests.guide PAGE FOLDER
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.S | re.M)


def follow(text: str, folder: Path, skip: Callable[[str], bool] = lambda line: False) -> list[tuple[str, int, str]]:
    """Return each command that was run, its exit status and what it printed.

    skip: whether to leave a command out.
    """
    done = []
    for language, block in BLOCK.findall(text):
        if language == "python" and (name := re.match(r"# (\w+\.py)\n", block)):
            (folder / name[1]).write_text(block, encoding="utf-8")
        for line in block.splitlines() if language == "console" else ():
            if not skip(line):
                made = subprocess.run(  # noqa: S602  # the guide's own commands, as a reader runs them
                    line, shell=True, cwd=folder, capture_output=True, text=True, check=False, timeout=600
                )
                done.append((line, made.returncode, made.stdout + made.stderr))
    return done


EXPECTED = (0, 0, 1, 1, 0, 0, 0)
"""Exit statuses of the guide's commands: installed, written, not filled in, wrong, right, and the two of old code."""


def main() -> int:
    """Return 1 if a command ends with another status than the guide says."""
    page, folder = map(Path, sys.argv[1:])
    done = follow(page.read_text(encoding="utf-8"), folder)
    for line, code, _ in done:
        print(f"guide: {code} from {line}")
    right = tuple(code for _, code, _ in done) == EXPECTED
    if not right:
        print(*(output[-2000:] for _, _, output in done), sep="\n" + "=" * 80 + os.linesep)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
