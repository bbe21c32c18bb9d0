"""What import-linter cannot see of the layout."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = ("core", "agent", "collector", "analytics", "schedulers", "dashboard", "cli")


def tracked():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [Path(name) for name in listed.stdout.splitlines() if (ROOT / name).exists()]


def test_the_namespace_has_no_init_file():
    assert not [path for part in PARTS for path in (ROOT / part / "thermogate").glob("__init__.py*")]


def test_every_part_is_one_import_root_of_its_own_name():
    for part in PARTS:
        (only,) = (path for path in (ROOT / part / "thermogate").iterdir() if path.name != "__pycache__")
        assert only.name == part
        assert (only / "py.typed").exists()


def test_no_file_names_a_path_of_a_machine_it_was_made_on():
    for path in tracked():
        if path.suffix in (".py", ".md", ".toml", ".yaml", ".sh", ".service", ".js", ".html"):
            text = (ROOT / path).read_text(encoding="utf-8")
            assert "/wo" + "rk/" not in text, path
            assert "/ro" + "ot/" not in text, path


def test_generated_pages_are_fresh():
    done = subprocess.run(
        [sys.executable, "docs/generate.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
