"""The one kind of error that a user can fix.

Every command line of the project prints a `UserError` as a single line and exits with status 2;
anything else is a bug and keeps its traceback.
"""

__all__ = ["UserError"]


class UserError(Exception):
    """Names what is wrong, where, and what to do about it."""
