"""Go's reference-time layouts; expected texts were recorded through the tag now in pongo2 4.0.2."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from templater.pongo2.golang.time import FAKE, Time, format_time
from templater.pongo2.operators import equal, less
from templater.pongo2.values import to_string, truthy


def from_datetime(moment: datetime) -> Time:
    offset = moment.utcoffset()
    shift = 0 if offset is None else offset.days * 86400 + offset.seconds
    days = moment.toordinal() - 719163
    seconds = days * 86400 + moment.hour * 3600 + moment.minute * 60 + moment.second - shift
    name = moment.tzname() or "UTC"
    return Time(seconds, moment.microsecond * 1000, shift, name)


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        ("2006-01-02T15:04:05Z07:00", "2014-02-05T18:31:45Z"),
        ("Mon Jan _2 15:04:05 MST 2006", "Wed Feb  5 18:31:45 UTC 2014"),
        ("Monday, 02-Jan-06", "Wednesday, 05-Feb-14"),
        ("Janet January Jan", "Janet February Feb"),
        ("at 3 Janet Monk Jan Mon. JanX", "at 6 Janet Monk Feb Wed. FebX"),
        ("3:04PM 03 pm", "6:31PM 06 pm"),
        ("002 __2 _2006", "036  36 _2014"),
        ("05.000 ,999 .99", "45.000  "),
        ("1/2/06 4 5", "2/5/14 31 45"),
        ("-07 -0700 -07:00 Z0700 Z07", "+00 +0000 +00:00 Z Z"),
        ("20060102150405", "20140205183145"),
        ("é%", "é%"),
    ],
)
def test_formatted_times_match_the_recorded_output_of_the_go_language(layout, text):
    assert format_time(FAKE, layout) == text


def test_a_time_is_printed_as_in_the_go_language():
    assert to_string(FAKE) == "2014-02-05 18:31:45 +0000 UTC"
    assert truthy(FAKE)


def test_a_time_zone_affects_the_printed_time_but_not_the_instant():
    moment = datetime(2024, 2, 29, 23, 30, 5, 120_000, timezone(timedelta(hours=-3, minutes=-30), "NST"))
    time = from_datetime(moment)
    assert to_string(time) == "2024-02-29 23:30:05.12 -0330 NST"
    assert equal(time, from_datetime(moment.astimezone(UTC)))
    assert less(FAKE, time)
    assert format_time(time, "Z07:00 -07:00:00") == "-03:30 -03:30:00"


@pytest.mark.parametrize("year", [1, 1600, 1899, 1970, 2000, 2024, 2100, 9999])
def test_the_date_calculation_agrees_with_the_calendar_of_python(year):
    for month, day in ((1, 1), (2, 28), (3, 1), (12, 31)):
        moment = datetime(year, month, day, 12, tzinfo=UTC)
        shown = format_time(from_datetime(moment), "2006-01-02 Mon 002")
        assert shown == f"{year:04d}-{month:02d}-{day:02d} {moment:%a} {moment:%j}"


def test_the_time_layout_decides_whether_a_fraction_keeps_its_trailing_zeros():
    time = Time(0, 120_000_000)
    assert format_time(time, ".000 .999 ,00 .9 .0000000000") == ".120 .12 ,12 .1 .120000000"


#: each part that a layout can have, on lines
PARTS = """\
-070000 -07:00:00 -0700 -07:00 -07
Z070000 Z07:00:00 Z0700 Z07:00 Z07
MST|2006|_2006|06|__2|002|_2|02|2|1|01
15 03 3 04 4 05 5 PM pm
Monday Mon Mond January Jan Janu
.0 .00 ,000 .9 ,99 .999999999 .0000000000 .01 .x . 5.0"""


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (Time(1391625105, 0, 0, "UTC"), """\
+000000 +00:00:00 +0000 +00:00 +00
Z Z Z Z Z
UTC|2014|_2014|14| 36|036| 5|05|5|2|02
18 06 6 31 31 45 45 PM pm
Wednesday Wed Mond February Feb Janu
.0 .00 ,000    .000000000 .02 .x . 45.0"""),
        (Time(1709249405, 120000000, -12615, "NST"), """\
-033015 -03:30:15 -0330 -03:30 -03
-033015 -03:30:15 -0330 -03:30 -03
NST|2024|_2024|24| 60|060|29|29|29|2|02
19 07 7 59 59 50 50 PM pm
Thursday Thu Mond February Feb Janu
.1 .12 ,120 .1 ,12 .12 .120000000 .02 .x . 50.1"""),
        (Time(1709249405, 5, 20700, ""), """\
+054500 +05:45:00 +0545 +05:45 +05
+054500 +05:45:00 +0545 +05:45 +05
+0545|2024|_2024|24| 61|061| 1|01|1|3|03
05 05 5 15 15 05 5 AM am
Friday Fri Mond March Mar Janu
.0 .00 ,000   .000000005 .000000005 .03 .x . 5.0"""),
        (Time(1709249405, 999999999, -3600, ""), """\
-010000 -01:00:00 -0100 -01:00 -01
-010000 -01:00:00 -0100 -01:00 -01
-0100|2024|_2024|24| 60|060|29|29|29|2|02
22 10 10 30 30 05 5 PM pm
Thursday Thu Mond February Feb Janu
.9 .99 ,999 .9 ,99 .999999999 .999999999 .02 .x . 5.9"""),
        (Time(-62200000000, 10, 59, "X"), """\
+000059 +00:00:59 +0000 +00:00 +00
+000059 +00:00:59 +0000 +00:00 +00
X|-0002|_-0002|02|351|351|17|17|17|12|12
14 02 2 14 14 19 19 PM pm
Thursday Thu Mond December Dec Janu
.0 .00 ,000   .00000001 .000000010 .12 .x . 19.0"""),
        (Time(253500000000, 0, 1800, ""), """\
+003000 +00:30:00 +0030 +00:30 +00
+003000 +00:30:00 +0030 +00:30 +00
+0030|10003|_10003|03| 35|035| 4|04|4|2|02
19 07 7 10 10 00 0 PM pm
Tuesday Tue Mond February Feb Janu
.0 .00 ,000    .000000000 .02 .x . 0.0"""),
        (Time(-1, 100, 0, "UTC"), """\
+000000 +00:00:00 +0000 +00:00 +00
Z Z Z Z Z
UTC|1969|_1969|69|365|365|31|31|31|12|12
23 11 11 59 59 59 59 PM pm
Wednesday Wed Mond December Dec Janu
.0 .00 ,000   .0000001 .000000100 .12 .x . 59.0"""),
        (Time(43200, 0, 0, "UTC"), """\
+000000 +00:00:00 +0000 +00:00 +00
Z Z Z Z Z
UTC|1970|_1970|70|  1|001| 1|01|1|1|01
12 12 12 00 0 00 0 PM pm
Thursday Thu Mond January Jan Janu
.0 .00 ,000    .000000000 .01 .x . 0.0"""),
        (Time(46800, 0, 0, "UTC"), """\
+000000 +00:00:00 +0000 +00:00 +00
Z Z Z Z Z
UTC|1970|_1970|70|  1|001| 1|01|1|1|01
13 01 1 00 0 00 0 PM pm
Thursday Thu Mond January Jan Janu
.0 .00 ,000    .000000000 .01 .x . 0.0"""),
        (Time(1230767999, 0, 0, "UTC"), """\
+000000 +00:00:00 +0000 +00:00 +00
Z Z Z Z Z
UTC|2008|_2008|08|366|366|31|31|31|12|12
23 11 11 59 59 59 59 PM pm
Wednesday Wed Mond December Dec Janu
.0 .00 ,000    .000000000 .12 .x . 59.0"""),
    ],
)  # fmt: skip
def test_each_part_of_a_layout_matches_the_recorded_output_of_go(time, text):
    assert format_time(time, PARTS) == text


@pytest.mark.parametrize(
    ("month", "names"),
    list(enumerate([
        "Thursday Thu January Jan",
        "Sunday Sun February Feb",
        "Sunday Sun March Mar",
        "Wednesday Wed April Apr",
        "Friday Fri May May",
        "Monday Mon June Jun",
        "Wednesday Wed July Jul",
        "Saturday Sat August Aug",
        "Tuesday Tue September Sep",
        "Thursday Thu October Oct",
        "Sunday Sun November Nov",
        "Tuesday Tue December Dec",
    ], 1)),
)  # fmt: skip
def test_each_month_and_weekday_has_its_english_name(month, names):
    moment = from_datetime(datetime(2026, month, 1, tzinfo=UTC))
    assert format_time(moment, "Monday Mon January Jan") == names
