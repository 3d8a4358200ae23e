"""The errors of ``raymq.util.state``."""


class RayStateApiException(Exception):
    """The cluster cannot tell, or not all of it."""


class ServerUnavailable(RayStateApiException):
    """The cluster has no dashboard, or it does not answer: that is what is asked."""
