"""Why a fault cannot be injected here."""


class SkippedError(Exception):
    """This machine does not allow it; the text says what is missing."""
