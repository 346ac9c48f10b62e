"""The command line, the library, the README and CI use the same words."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import smtplog
from smtplog import charts, commands, formats
from tests.test_cli import smtplog as run

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_command_is_in_the_readme_and_back() -> None:
    names = {module.name for module in pkgutil.iter_modules(commands.__path__)}
    assert set(re.findall(r"^\| `smtplog ([a-z]+)", README, re.MULTILINE)) == names


def test_every_format_is_in_the_readme_and_back() -> None:
    """A new format is one more name in the row of its family."""
    rows = README.split("## Logs it reads\n")[1].split("| --- | --- |\n")[1].split("\n\n")[0]
    told = re.findall(r"`([a-z0-9][A-Za-z0-9_.-]+)`", rows)
    every = sorted(each.slug for each in formats.declarations())
    assert sorted(told) == every, f"the table of README: {set(told) ^ set(every) or 'a name stands there twice'}"


def test_every_option_in_the_readme_is_one() -> None:
    options = re.findall(r"^\| `(--[a-z-]+)", README, re.MULTILINE)
    shown = run("show", "--help").stdout.decode()
    assert len(options) > 4 and all(option in shown for option in options)


def test_every_chart_is_drawn_by_a_function_plot() -> None:
    for module in pkgutil.iter_modules(charts.__path__):
        assert callable(__import__(f"smtplog.charts.{module.name}", fromlist=["plot"]).plot)


def test_the_library_has_its_names() -> None:
    assert all(getattr(smtplog, name) for name in smtplog.__all__)


def test_ci_runs_the_test_line_of_the_readme() -> None:
    line = re.search(r"## Test it\n+```sh\n(.+)\n```", README)
    assert line is not None
    assert line[1] in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()


def test_nothing_names_a_machine() -> None:
    paths = ["README.md", "CONTRIBUTING.md", "pyproject.toml", ".ci/run"]
    for name in paths:
        text = (ROOT / name).read_text(encoding="utf-8")
        assert "/root/" not in text and "/home/" not in text and "index-url" not in text
