"""Every experiment, cheapest first; what is there already is not run again.

    python experiments/all.py [--budget night] [--jobs 2]

The night is meant for 2 cores: two experiments at a time, a thread each. Stop it as you like, and start it again: an
experiment goes on at the first arm that its result file lacks. `python experiments/page.py` then writes the page.
"""

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from shared.arms import BUDGETS
from shared.book import NAMES


def run(name: str, budget: str) -> int:
    """One experiment, in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name(f"{name}.py")), "--budget", budget]
    return subprocess.run(command, check=False).returncode


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--budget", choices=BUDGETS, default="night")
    arguments.add_argument("--jobs", type=int, default=2, help="experiments at a time")
    options = arguments.parse_args()
    with ThreadPoolExecutor(max(1, options.jobs)) as pool:
        codes = list(pool.map(run, NAMES, [options.budget] * len(NAMES)))
    failed = [name for name, code in zip(NAMES, codes, strict=True) if code]
    if failed:
        sys.exit(f"not finished: {', '.join(failed)}; start again to go on")


if __name__ == "__main__":
    main()
