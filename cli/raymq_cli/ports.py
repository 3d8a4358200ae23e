"""The address to listen on: may it be used, is it free, and if not, who has it."""

from __future__ import annotations

import errno
import ipaddress
import shlex
import socket
from dataclasses import dataclass

import psutil

RAY_WORKER_PORTS = (10002, 19999)
"""The ports that Ray gives to its workers unless told otherwise."""


@dataclass(frozen=True)
class Holder:
    """The process that listens on a port; what the system does not let us see is empty."""

    pid: int
    name: str = ""
    command: str = ""
    user: str = ""

    @property
    def is_ray_client_server(self) -> bool:
        return "ray.util.client.server" in self.command


def resolve(host: str, port: int) -> str:
    """The numeric address of a host to listen on.

    Raises:
        OSError: the name has no address on this machine, or none that it could listen on.
    """
    if host == "*":
        return "0.0.0.0"
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # A name such as localhost has both kinds; IPv4 is what more clients reach.
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return str(found[0][4][0])


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach what listens on this (numeric) address."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def is_taken(address: str, port: int) -> bool:
    """Whether another process listens there.

    Raises:
        OSError: the address cannot be listened on for another reason (not this machine's, a privileged port).
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As libzmq does: connections of an earlier broker that linger in TIME_WAIT don't count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return True
            raise
    return False


def answers(address: str, seconds: float = 2.0) -> bool:
    """Whether something accepts connections at ``HOST:PORT``."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=seconds):
            return True
    except OSError:
        return False


def holder_of(port: int) -> Holder | None:
    """The process that listens on a TCP port, or None if the system does not tell."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.Error:  # macOS tells it to root alone
        return None
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            return _describe(connection.pid) if connection.pid else None
    return None


def _describe(pid: int) -> Holder:
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            return Holder(pid, process.name(), shlex.join(process.cmdline()), process.username())
    except psutil.Error:
        return Holder(pid)


def explain(port: int, holder: Holder | None) -> str:
    """What to tell somebody whose port is taken: who has it, and the ways out."""
    low, high = RAY_WORKER_PORTS
    elsewhere = (
        f"  raymq start --port 20001              another port for raymq (not {low} to {high}: those are\n"
        "                                        Ray's workers'); clients then connect to HOST:20001"
    )
    if holder is None:
        return (
            f"Port {port} is taken, by a process that this user may not look at (`sudo ss -ltnp` shows it).\n"
            f"A way out:\n{elsewhere}"
        )
    about = f"pid {holder.pid}" + (f", {holder.name}" if holder.name else "")
    about += f", user {holder.user}" if holder.user else ""
    command = f"\n  {holder.command[:200]}" if holder.command else ""
    if not holder.is_ray_client_server:
        return (
            f"Port {port} is taken by another process ({about}):{command}\n"
            f"Ways out:\n  kill {holder.pid:<8}                         if that process is not needed\n{elsewhere}"
        )
    return (
        f"Port {port} is taken by Ray Client's server ({about}), which `ray start --head` starts there.\n"
        "Ways out:\n"
        "  ray start --head --ray-client-server-port 20002\n"
        "                                        restart Ray's head with its Ray Client elsewhere\n"
        f"{elsewhere}"
    )
