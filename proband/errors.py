"""What can go wrong, in words a person can act on: name, value, expectation, remedy."""

INTERRUPTED = "Interrupted. Nothing was left half-written."


class ProbandError(Exception):
    """The root of every error that proband raises on purpose."""


class InputError(ProbandError):
    """The input is wrong and nothing was written. The command exits with 2."""


class NotReleasable(ProbandError):
    """A gate said no: the evidence does not carry this release. The command exits with 1."""


class Unavailable(ProbandError, ImportError):
    """An optional dependency is missing; the message gives the pip line. The command exits with 2."""


def interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind this error: a compiled module that is stopped while it loads says ImportError instead."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None
