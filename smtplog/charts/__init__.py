"""Charts: one module each, a function of a table that returns axes. The only place where matplotlib is imported."""
