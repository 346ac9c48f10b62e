"""Imports go downward only, and each heavy package has its one home."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "smtplog"
FLOORS = (
    "errors model lines packets dumps streams sources reference printable",
    "events grammar speech syntax states",
    "formats sessions dialogs lmtp transactions batches negotiated views script redact",
    "findings consequences judging rules manual suspects summary explain steps tables charts jsonview replay",
    "transcript",
    "authoring connecting console editor output note overview reports baseline settings commands cli __main__",
    "testing",
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names.split()}
#: Types only, behind TYPE_CHECKING, or the lazy names of the library.
ALLOWED_UP = {("summary", "transcript"), ("manual", "findings")}
MODULES = sorted(PACKAGE.rglob("*.py"))


def home(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[tuple[str, bool]]:
    """(module, whether only for types) of every import of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typed = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {(alias.name, node in typed) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add((node.module, node in typed))
            found |= {(f"{node.module}.{alias.name}", node in typed) for alias in node.names}
    return found


def test_every_module_has_a_floor() -> None:
    homes = {home(path) for path in MODULES} - {"__init__"}
    assert homes == set(FLOOR)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downward(path: Path) -> None:
    here = home(path)
    if here == "__init__":
        return
    for module, typed in imports(path):
        parts = module.split(".")
        if parts[0] == "smtplog" and len(parts) > 1 and parts[1] in FLOOR and not typed:
            assert FLOOR[parts[1]] <= FLOOR[here], f"{path.name} (floor {FLOOR[here]}) imports {module}"


@pytest.mark.parametrize(
    ("package", "homes"),
    [
        ("matplotlib", {"charts"}),
        ("pandas", {"tables", "transcript"}),
        ("typer", {"output", "connecting", "commands", "cli"}),
        ("socket", {"replay"}),
        ("ssl", {"replay"}),
        ("lark", {"grammar"}),
        ("prompt_toolkit", {"editor"}),
    ],
)
def test_heavy_packages_have_their_homes(package: str, homes: set[str]) -> None:
    for path in MODULES:
        if any(module.split(".")[0] == package for module, _ in imports(path)):
            assert home(path) in homes, f"{path} imports {package}"


def test_columns_are_made_in_events_only() -> None:
    makers = {"array", "scalar", "table", "chunked_array", "from_arrays", "from_buffers", "StringArray", "Table"}
    for path in MODULES:
        if home(path) == "events":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pa":
                assert node.attr not in makers, f"{path}:{node.lineno} makes a column"


def test_no_second_reply_expression() -> None:
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert "[0-9]{3}" not in text and r"\d{3}" not in text, f"{path} reads reply codes by itself"


def test_a_small_log_needs_neither_pandas_nor_matplotlib() -> None:
    sample = PACKAGE.parent / "transcripts" / "bare-dialog" / "seed-session.log"
    code = (
        "import sys; sys.argv = ['smtplog', 'analyze', sys.argv[1]]\n"
        "from smtplog.cli import main\n"
        "try: main()\n"
        "except SystemExit as leave: assert not leave.code, leave.code\n"
        "assert not {'pandas', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(sample)], check=True, capture_output=True)
