"""Every error that raymq itself raises, in one tree.

* ``RaymqError``

  * ``ConnectError`` (also a ``ConnectionError``): ``connect()`` gave up; a subclass says at which stage

    * ``AddressError`` (also a ``ValueError``): the address cannot be read
    * ``NameNotResolved``: the host's name has no address
    * ``NothingListens``: no process listens on that port
    * ``NotABroker``: something listens, but it is no raymq broker
    * ``ProtocolMismatch``: the two sides have no protocol version in common
    * ``PythonMismatch``: another Python minor version than the cluster's
    * ``RayMismatch``: the client's Ray is another version than the cluster's
    * ``NoBridge``: the broker has no bridge to give
    * ``NoCluster``: the bridge cannot reach a Ray cluster
    * ``LimitReached``: the broker serves as many sessions as it may
    * ``SessionAttached``: another client has the session of this name
    * ``Refused``: the broker refuses for another reason, which it names
    * ``ConnectTimeout`` (also a ``TimeoutError``): no answer in time

  * ``SessionError``

    * ``NotConnected``: there is no session; ``connect()`` first
    * ``SessionClosed``: this session was closed by this process
    * ``SessionLost`` (also a ``ConnectionError``): the session ended without our asking

      * ``ObjectLost`` (also Ray's ``ObjectLostError``): so the value of a reference is gone
      * ``ActorLost`` (also Ray's ``ActorDiedError``): so the actor of a handle is gone

    * ``NotConfirmed`` (also a ``TimeoutError``): a session was left, and the cluster did not confirm that in time
    * ``WrongSession`` (also a ``ValueError``): a reference was used with a session that is not its own
    * ``ForkedSession``: a session was used in a forked child process

  * ``NotOnClient`` (also an ``AttributeError``): a name of Ray's that works inside of the cluster only
  * ``RayIsThere`` (also an ``ImportError``): raymq cannot take the place of a Ray that is installed

  * ``PublicationError``: something cannot be published

    * ``NotPublished`` (also a ``KeyError``): nothing is published under that name
    * ``AlreadyPublished`` (also a ``ValueError``): the name is taken
    * ``NotPublishable`` (also a ``ValueError``): it would not outlive its session

  * ``PayloadError``: a value that cannot travel

    * ``NotPicklable`` (also a ``TypeError``)
    * ``NotUnpicklable``
    * ``PayloadTooLarge`` (also a ``ValueError``)

  * ``ProtocolError``

    * ``LocalProtocolError``: this side broke the protocol, a bug in raymq
    * ``RemoteProtocolError``: the peer broke the protocol

Errors that come from Ray itself (a task that raised, a dead actor, a ``get`` that ran out of time) are in
``raymq.exceptions``, under Ray's names.
"""

from __future__ import annotations

from raymq.exceptions import ActorDiedError, ObjectLostError


class RaymqError(Exception):
    """Base of every error that raymq raises on its own account."""


class NotOnClient(RaymqError, AttributeError):
    """Ray has a name that clients do not have; the message says why, and what to do instead."""


class RayIsThere(RaymqError, ImportError):
    """raymq cannot stand in for Ray under its name: there is a Ray, or another module of that name."""


class ConnectError(RaymqError, ConnectionError):
    """``connect()`` could not open a session."""


class AddressError(ConnectError, ValueError):
    """The address cannot be read as ``HOST[:PORT]``."""


class NameNotResolved(ConnectError):
    """The host's name does not resolve to an address."""


class NothingListens(ConnectError):
    """No process listens at the address."""


class NotABroker(ConnectError):
    """Something listens at the address, but it is no raymq broker."""


class ProtocolMismatch(ConnectError):
    """Client and broker share no version of the protocol."""


class PythonMismatch(ConnectError):
    """The client's Python differs from the cluster's in its minor version, so pickles may not cross."""


class RayMismatch(ConnectError):
    """A Ray is installed on the client's side and its version differs from the cluster's."""


class NoBridge(ConnectError):
    """The broker runs, but has no bridge into the cluster to give to this session."""


class NoCluster(ConnectError):
    """The bridge runs, but cannot reach a Ray cluster."""


class LimitReached(ConnectError):
    """The broker already serves as many sessions as it is allowed to."""


class SessionAttached(ConnectError):
    """Another client is attached to the session of this name: it can be detached there, or taken over."""


class Refused(ConnectError):
    """The broker refuses this session, for a reason that its message names."""


class ConnectTimeout(ConnectError, TimeoutError):
    """The session did not open in time; the message names the stage that was not passed."""


class SessionError(RaymqError):
    """A session cannot do what was asked of it."""


class NotConnected(SessionError):
    """There is no session: ``raymq.connect("head:10001")`` opens one."""


class SessionClosed(SessionError):
    """The session was closed by this process."""


class SessionLost(SessionError, ConnectionError):
    """The session ended without being asked to; what it held in the cluster is gone."""


class ObjectLost(SessionLost, ObjectLostError):
    """The session of a reference ended without being asked to, and the object went with it."""


class ActorLost(SessionLost, ActorDiedError):
    """The session of an actor's handle ended without being asked to, and the handle with it.

    So did the actor, unless it is detached: ``get_actor`` finds it then.
    """


class NotConfirmed(SessionError, TimeoutError):
    """A session was left, and the cluster did not confirm that in time."""


class WrongSession(SessionError, ValueError):
    """A reference was used with a session that it does not belong to."""


class ForkedSession(SessionError):
    """A session was used in a forked child: sockets and threads do not survive a fork."""


class PublicationError(RaymqError):
    """Something cannot be published; the message says why."""


class NotPublished(PublicationError, KeyError):
    """Nothing is published under that name; the message says which names there are."""

    def __str__(self) -> str:
        return Exception.__str__(self)  # a KeyError shows the message as it would be written in a program


class AlreadyPublished(PublicationError, ValueError):
    """The name is taken: ``replace=True`` takes it over."""


class NotPublishable(PublicationError, ValueError):
    """It would not outlive its session: an actor that is not detached, or references inside of a value."""


class PayloadError(RaymqError):
    """A value cannot travel between client and cluster."""


class NotPicklable(PayloadError, TypeError):
    """A value cannot be pickled, so it cannot be sent."""


class NotUnpicklable(PayloadError):
    """A value arrived, but cannot be rebuilt on the side that received it."""


class PayloadTooLarge(PayloadError, ValueError):
    """A value is larger than the broker's limit for one object."""


class ProtocolError(RaymqError):
    """The wire protocol was broken; a subclass says by whom."""


class LocalProtocolError(ProtocolError):
    """This side tried to break the protocol: a bug in raymq."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what the protocol forbids."""
