"""What a user did wrong, and how a run is asked to stop."""


class UserError(Exception):
    """A user's mistake. Its message is the one line that is printed: what is wrong, what to do."""

    def __str__(self) -> str:
        return ' '.join(super().__str__().splitlines())  # a name in it may come from a damaged file


class Preempted(BaseException):
    """SIGTERM arrived: what is done is saved, and the program exits with status 143."""
