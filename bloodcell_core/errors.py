"""The one exception whose text is meant for a person."""


class LabError(Exception):
    """Something the person asked for can't be done; the message says in one line what is wrong and what would work.

    The command line prints it and ends with exit code 2; a page shows it in place. Anything else that is raised
    is a failure of the program itself.
    """
