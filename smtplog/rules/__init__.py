"""The rule book: importing this package imports every module in it, and each registers its rules.

Rules of others come by the entry point group ``smtplog.rules``: a module whose import registers them in the same way.
"""

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules

from smtplog.errors import UsageError

for _module in iter_modules(__path__, f"{__name__}."):
    import_module(_module.name)


@cache
def load() -> None:
    """Import the rules of other distributions, once. Raises UsageError that names the one that cannot be loaded."""
    for point in entry_points(group="smtplog.rules"):
        try:
            point.load()
        except (Exception, SystemExit) as error:
            name = point.dist.name if point.dist else point.value
            raise UsageError(
                f"the rules of {name} ({point.value}) cannot be loaded: {type(error).__name__}: {error}; "
                f"update it or remove it with pip uninstall {name}"
            ) from error
