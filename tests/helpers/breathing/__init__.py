"""A task that exists in the tests only.

Its folder is copied to `workflow/pesbench/tasks/breathing`, where tasks are looked for; its
modules import one another by the names that they have there.
"""
