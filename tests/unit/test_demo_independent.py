"""The demo's independent computation on a CSV that was worked out by hand, and the demo's own reading of the same CSV beside it."""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from headwater.demo import data, independent

HEAD = (
    "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,dest,"
    "air_time,distance,hour,minute,time_hour"
)
#: In an order that is neither that of the schedule nor that of the departures.
FLIGHTS = """\
2013,7,3,1522,1456,26,1718,1724,-6,UA,1222,N14228,EWR,LAS,276,2227,14,56,2013-07-03T18:00:00Z
2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z
2013,1,1,2400,2359,1,437,440,-3,B6,707,N651JB,JFK,SJU,195,1598,23,59,2013-01-02T04:00:00Z
2013,1,1,2354,2359,-5,NA,440,NA,B6,739,N796JB,JFK,PSE,NA,1617,23,59,2013-01-02T04:00:00Z
2013,1,2,NA,1630,NA,NA,1815,NA,EV,4308,N18120,EWR,RDU,NA,416,16,30,2013-01-02T21:00:00Z
2013,1,2,NA,1935,NA,NA,2240,NA,AA,791,NA,LGA,DFW,NA,1389,19,35,2013-01-03T00:00:00Z
2013,3,9,2306,2145,81,203,34,89,B6,35,N658JB,JFK,PBI,141,1028,21,45,2013-03-10T02:00:00Z
2013,11,2,2330,2230,60,135,30,65,DL,9,N900DE,JFK,ATL,118,760,22,30,2013-11-03T02:00:00Z
2013,7,4,900,800,60,1000,900,60,UA,2,N2,LGA,BOS,40,184,8,0,2013-07-04T12:00:00Z
2013,7,4,901,800,61,1001,900,61,UA,3,N3,LGA,BOS,40,184,8,0,2013-07-04T12:00:00Z
2013,7,4,901,801,60,1001,900,61,UA,1,N1,LGA,BOS,40,184,8,1,2013-07-04T12:00:00Z
"""
AIRPORTS = """\
faa,name,lat,lon,alt,tz,dst,tzone
LAS,Mc Carran Intl,36,-115,2141,-8,A,America/Los_Angeles
IAH,George Bush Intercontinental,30,-95,97,-6,A,America/Chicago
PBI,Palm Beach Intl,26,-80,19,-5,A,America/New_York
ATL,Hartsfield Jackson Atlanta Intl,33,-84,1026,-5,A,America/New_York
BOS,General Edward Lawrence Logan Intl,42,-71,19,-5,A,America/New_York
"""
PLANES = """\
tailnum,year,type,manufacturer,model,engines,seats,speed,engine
N14228,1999,Fixed wing multi engine,BOEING,737-824,2,149,NA,Turbo-fan
N658JB,2007,Fixed wing multi engine,AIRBUS,A320-232,2,200,NA,Turbo-fan
"""


def utc(month: int, day: int, hour: int, minute: int) -> int:
    return int(datetime(2013, month, day, hour, minute, tzinfo=UTC).timestamp()) // 60


#: By hand: (departed, id, tail, dest, arrived), in the order in which they must stand.
LEGS: list[tuple[int, str, str, str, int | None]] = [
    (utc(1, 1, 10, 17), "2013-01-01 UA1545 EWR", "N14228", "IAH", utc(1, 1, 14, 30)),
    (utc(1, 2, 4, 54), "2013-01-01 B6739 JFK", "N796JB", "PSE", None),
    (utc(1, 2, 5, 0), "2013-01-01 B6707 JFK", "N651JB", "SJU", utc(1, 2, 8, 37)),
    # Clocks skipped 2:03 that night; whoever wrote it down had not put his forward.
    (utc(3, 10, 4, 6), "2013-03-09 B635 JFK", "N658JB", "PBI", utc(3, 10, 7, 3)),
    (utc(7, 3, 19, 22), "2013-07-03 UA1222 EWR", "N14228", "LAS", utc(7, 4, 0, 18)),
    (utc(7, 4, 13, 0), "2013-07-04 UA2 LGA", "N2", "BOS", utc(7, 4, 14, 0)),
    # One minute, two planes: by id.
    (utc(7, 4, 13, 1), "2013-07-04 UA1 LGA", "N1", "BOS", utc(7, 4, 14, 1)),
    (utc(7, 4, 13, 1), "2013-07-04 UA3 LGA", "N3", "BOS", utc(7, 4, 14, 1)),
    # Clocks showed 1:35 twice that night; the first time counts.
    (utc(11, 3, 3, 30), "2013-11-02 DL9 JFK", "N900DE", "ATL", utc(11, 3, 5, 35)),
]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "flights.csv.zip", "w") as archive:
        archive.writestr("flights.csv", f"{HEAD}\n{FLIGHTS}")
    (tmp_path / "airports.csv").write_text(AIRPORTS)
    (tmp_path / "planes.csv").write_text(PLANES)
    return tmp_path


def audit(files: Path, **arguments: Any) -> dict[str, Any]:
    return independent.audit(files, **{"at": datetime(2013, 7, 4, 16, tzinfo=UTC), "plane": "N14228", **arguments})


def digest(legs: list[tuple[int, str, str, str, int | None]]) -> str:
    text = "".join(f"{departed} {id} {tail} {dest} {'-' if arrived is None else arrived}\n" for departed, id, tail, dest, arrived in legs)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_it_shares_nothing_with_what_it_judges() -> None:
    for node in ast.walk(ast.parse(Path(independent.__file__).read_text())):
        if isinstance(node, ast.Import):
            assert all(alias.name in sys.stdlib_module_names for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert (node.module or "").split(".")[0] in sys.stdlib_module_names


def test_counts(files: Path) -> None:
    found = audit(files)
    assert (found["rows"], found["cancelled"], found["cancelled_without_plane"], found["departures"]) == (11, 2, 1, 9)
    assert (found["without_plane"], found["without_arrival"], found["miles"]) == (0, 1, 2227 + 1400 + 1598 + 1617 + 1028 + 760 + 3 * 184)
    assert found["late"] == ["2013-03-09 B635 JFK", "2013-07-04 UA3 LGA"]
    assert found["cells"]["LGA 07"] == [3, 1]
    assert found["cells"]["JFK 01"] == [2, 0]
    assert found["cells"]["JFK 11"] == [1, 0]


def test_every_departure_in_order(files: Path) -> None:
    found = audit(files)
    assert found["digest"] == digest(LEGS)
    assert found["planes"]["N14228"] == [2, digest([leg for leg in LEGS if leg[2] == "N14228"])]
    assert found["planes"]["N900DE"] == [1, digest(LEGS[-1:])]
    assert len(found["planes"]) == 8


def test_the_pipeline_reads_the_same(files: Path) -> None:
    plan, departures = data.load(files)
    assert (plan.rows, plan.cancelled, plan.cancelled_without_plane, plan.departures) == (11, 2, 1, 9)
    read = [
        (int(each.time.timestamp()) // 60, each.id, each.tail, each.value.dest, each.value.arrival and int(each.value.arrival.timestamp()) // 60)
        for each in departures
    ]
    assert read == LEGS


def test_the_first_rows_are_those_of_the_schedule(files: Path) -> None:
    found = audit(files, rows=4)
    assert (found["rows"], found["cancelled"], found["departures"]) == (4, 1, 3)
    assert found["digest"] == digest(LEGS[:3])
    assert data.load(files, 4).plan.departures == 3
    assert [each.id for each in data.load(files, 4).departures] == [leg[1] for leg in LEGS[:3]]


@pytest.mark.parametrize(
    ("at", "id", "state"),
    [
        (datetime(2013, 1, 1, 10, 16, tzinfo=UTC), None, None),
        (datetime(2013, 1, 1, 10, 17, tzinfo=UTC), "2013-01-01 UA1545 EWR", "in the air"),
        (datetime(2013, 1, 1, 14, 29, tzinfo=UTC), "2013-01-01 UA1545 EWR", "in the air"),
        (datetime(2013, 1, 1, 14, 30, tzinfo=UTC), "2013-01-01 UA1545 EWR", "on the ground"),
        (datetime(2013, 7, 4, 16, 0, tzinfo=UTC), "2013-07-03 UA1222 EWR", "on the ground"),
    ],
)
def test_where_a_plane_was(files: Path, at: datetime, id: str | None, state: str | None) -> None:
    answer = audit(files, at=at)["answer"]
    assert (answer and answer["id"], answer and answer["state"]) == (id, state)


def test_where_an_arrival_is_missing(files: Path) -> None:
    assert audit(files, plane="N796JB")["answer"]["state"] == "unknown"
    assert audit(files, plane="N0")["answer"] is None


def test_what_fails_is_drawn_from_the_seed(files: Path) -> None:
    """The two late flights' draws, by hand: the first eight bytes of SHA-256 modulo 1000."""
    draws = {seed: [drawn(seed, id) for id in ("2013-03-09 B635 JFK", "2013-07-04 UA3 LGA")] for seed in range(200)}
    always = next(seed for seed, (first, second) in draws.items() if first < 20 <= 120 <= second)
    once = next(seed for seed, (first, second) in draws.items() if 20 <= first < 120 <= second)
    never = next(seed for seed, found in draws.items() if min(found) >= 120)
    assert audit(files, seed=always)["failing"] == {"2013-03-09 B635 JFK": 3}
    assert audit(files, seed=once)["failing"] == {"2013-03-09 B635 JFK": 1}
    assert audit(files, seed=never)["failing"] == {}
    # The seats of a plane that planes.csv knows count once they are booked.
    assert [audit(files, seed=seed)["seats"] for seed in (always, once, never)] == [0, 200, 200]


def drawn(seed: int, id: str) -> int:
    return int(hashlib.sha256(f"{seed}/{id}".encode()).hexdigest()[:16], 16) % 1000


def test_as_a_program(files: Path) -> None:
    printed = json.loads(independent.main([str(files), "--rows", "4", "--seed", "7", "--at", "2013-01-01T09:00:00-05:00", "--plane", "N14228"]))
    assert printed == audit(files, rows=4, seed=7, at=datetime(2013, 1, 1, 14, tzinfo=UTC))
