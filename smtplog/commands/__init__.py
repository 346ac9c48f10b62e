"""One module a command: its function is ``command``, its docstring's first line the help."""
