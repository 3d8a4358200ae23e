"""``import ray`` with ``ray.init("raymq://head:10001")``: an installed Ray, with a session of raymq beneath it.

Ray has a client mode: when it is on, ``ray.get``, ``f.remote`` and all the others go to the context of
``ray.util.client``. Here such a context is filled with a session, and what the session hands over are Ray's own
classes. Imported only when Ray asks for it, and the only part of the client that imports Ray; what it needs of Ray
beyond the public API is listed in ``raymq.dropin.internals``.
"""
