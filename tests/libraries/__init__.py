"""Ray's libraries over a session: an environment of their own, ``tox -e libraries``."""
