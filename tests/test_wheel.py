"""The wheel carries its data: built, installed into an empty environment, run from another folder."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_wheel_runs_elsewhere(tmp_path: Path) -> None:
    build = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    built = subprocess.run(
        [sys.executable, "-c", build, str(tmp_path)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    wheel = tmp_path / built.stdout.split()[-1]
    names = zipfile.ZipFile(wheel).namelist()
    assert "smtplog/_data/reply_codes.csv" in names
    assert "smtplog/_transcripts/bare-dialog/seed-session.log" in names
    assert "smtplog/grammars/capture.lark" in names and "smtplog/py.typed" in names
    target = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(target)
    code = (
        "import sys; sys.path[0:0] = [sys.argv[1]]; sys.path += sys.argv[2:]\n"
        "import smtplog; assert smtplog.__file__.startswith(sys.argv[1]), smtplog.__file__\n"
        "from smtplog.reference import folder\n"
        "sys.argv = ['smtplog', 'analyze', str(folder('transcripts') / 'bare-dialog' / 'seed-session.log')]\n"
        "from smtplog.cli import main; main()"
    )
    command = [sys.executable, "-S", "-c", code, str(target), *site.getsitepackages()]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""})
    assert ran.returncode == 0, ran.stderr
    assert "The message was accepted" in ran.stdout
