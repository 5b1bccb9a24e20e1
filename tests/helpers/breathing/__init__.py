"""A task that exists in the tests only.

Its folder is copied to `workflow/pesbench/tasks/breathing`, where tasks are looked for; here its
own modules cannot be imported by that name, so `task.py` has a relative import.
"""
