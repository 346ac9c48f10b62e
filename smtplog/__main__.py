"""``python -m smtplog``."""

from smtplog.cli import main

main()
