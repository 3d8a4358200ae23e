"""The worker bridge: a Ray driver inside the cluster that owns the real objects and actors of one session."""
