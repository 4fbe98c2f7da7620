"""The scenarios, one module or package each.

A scenario's docstring is its help; the first line is shown in the list. `add_options(parser)` adds its options to those
that all scenarios have, and `run(options)` measures and returns a `bench.lib.results.Outcome`.
"""
