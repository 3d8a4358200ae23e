"""What supervised processes have in common: here, how they hear their supervisor."""

from __future__ import annotations

import os
import re

from raymq import daemon


def test_maps_come_whole_in_whatever_pieces_they_were_written_and_the_rest_is_passed_over() -> None:
    reader, writer = os.pipe()
    told = daemon.Told(reader)
    assert told.fileno() == reader
    os.write(writer, b'{"event": "one"}\n{"eve')
    assert told.read() == [{"event": "one"}]
    os.write(writer, b'nt": "two"}\n\n[1]\nnonsense\n\xff\n{"event": "three"}\n{"half')
    assert told.read() == [{"event": "two"}, {"event": "three"}]
    assert not told.ended
    os.close(writer)
    assert told.read() == []
    assert told.ended
    os.close(reader)


def test_the_time_of_day_is_that_of_everybody() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", daemon.clock())


def test_how_something_ended() -> None:
    assert daemon.how_it_ended(-15, "its raylet") == "SIGTERM ended its raylet"
    assert daemon.how_it_ended(1, "its raylet") == "its raylet ended with code 1"
