"""The protocol of raymq: pure state machines and the codec. No sockets, no clock, no threads in here."""
