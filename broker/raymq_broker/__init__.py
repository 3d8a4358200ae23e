"""The broker: a daemon on the head node that moves frames between clients and bridges and owns the leases."""
