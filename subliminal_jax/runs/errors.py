"""What a user did wrong, and how a run is asked to stop."""


class UserError(Exception):
    """A user's mistake. Its message is the one line that is printed: what is wrong, what to do."""


class Preempted(BaseException):
    """SIGTERM arrived: what is done is saved, and the program exits with status 143."""
