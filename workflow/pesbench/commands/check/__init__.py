"""Checks of one model for its author: conformance, smoothness on a few scans, short dynamics.

`python -m pesbench check` runs them on an entry of the registry or a weight file, in a supervised
worker; `pesbench.check` on any ASE calculator, in the caller's process. docs/check.md tells what
the rows mean.
"""
