"""Whether what would be released works: sdist and wheel, installed into an environment of their own.

    python benchmarks/release_check.py [--borrow] [--out dist]

The wheel is built from the sdist. Its environment gets all that vlb needs from the package index; --borrow gives it the
packages of this environment instead, which shows only what the wheel itself lacks. Exit status 1 if anything fails.
"""

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMANDS = (
    "vlb doctor",
    "vlb sample vlb:digits -n 4 --steps 5 -o digits.png",
    "vlb evaluate vlb:iris",
    "vlb sample vlb:iris -n 5 -o flowers.csv",
    "vlb impute vlb:iris flowers.csv -o filled.csv",
    "vlb compress vlb:iris flowers.csv -o flowers.vlb",
    "vlb decompress flowers.vlb --model vlb:iris -o restored",
)


def build(out: Path) -> tuple[Path, Path]:
    """(sdist, wheel)."""
    out.mkdir(parents=True, exist_ok=True)
    before = {*out.iterdir()}
    if before:
        sys.exit(f"{out} is not empty: what is released is built into an empty folder")
    subprocess.run([sys.executable, "-m", "build", "--outdir", out, ROOT], check=True, stdout=subprocess.DEVNULL)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


def faults(sdist: Path, wheel: Path) -> list[str]:
    """What the archives lack, or have that they should not."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    source = ROOT / "src"
    tracked = subprocess.run(["git", "ls-files", "src"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    wanted = {str((ROOT / name).relative_to(source)) for name in tracked.splitlines()}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if not name.split("/")[0].endswith(".dist-info")}
    with tarfile.open(sdist) as archive:
        sources = {name.partition("/")[2] for name in archive.getnames()}
    found = [f"{wheel.name} lacks {name}" for name in sorted(wanted - held)]
    found += [f"{wheel.name} has {name}, which is not in src" for name in sorted(held - wanted)]
    needed = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "tests/test_docs.py", "docs/index.md")
    found += [f"{sdist.name} lacks {name}" for name in needed if name not in sources]
    if not wheel.name.startswith(f"vlb-{project['version']}-"):
        found.append(f"{wheel.name} is not of version {project['version']}")
    return found


def install(wheel: Path, folder: Path, borrow: bool) -> Path:
    """An environment with the wheel; the folder of its programs."""
    venv.create(folder, with_pip=True)
    programs = folder / "bin"
    if borrow:
        packages = next((folder / "lib").glob("python*/site-packages"))
        (packages / "borrowed.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    needs = ["--no-deps"] if borrow else ["-c", str(ROOT / "torch-cpu.txt")]
    pip = [programs / "python", "-m", "pip", "install", "--quiet", "--ignore-installed"]
    subprocess.run([*pip, *needs, wheel], check=True)
    return programs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--borrow", action="store_true")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        empty = Path(temporary)
        wrong = faults(*(made := build(asked.out or empty / "dist")))
        programs = install(made[1], empty / "environment", asked.borrow)
        work = empty / "work"
        work.mkdir()
        surroundings = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        surroundings |= {"PATH": f"{programs}:{os.environ['PATH']}", "VLB_DATA": str(empty / "cache")}
        where = [programs / "python", "-c", "import vlb; print(vlb.__file__)"]
        home = subprocess.run(where, cwd=work, env=surroundings, check=True, capture_output=True, text=True).stdout
        if not home.startswith(str(empty)):
            wrong.append(f"vlb was imported from {home.strip()}, not from the wheel")
        for command in COMMANDS:
            done = subprocess.run(command.split(), cwd=work, env=surroundings, capture_output=True, text=True)
            print(f"{'ok  ' if done.returncode == 0 else 'FAIL'} {command}", flush=True)
            if done.returncode:
                wrong.append(f"`{command}` ended with {done.returncode}: {done.stderr.strip()[-600:]}")
        if not wrong and (work / "flowers.csv").read_bytes() != (work / "restored" / "flowers.csv").read_bytes():
            wrong.append("what was compressed did not come back")
    print(*wrong, sep="\n", end="\n" if wrong else "")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
