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


def test_a_time_zone_changes_the_printed_time_and_not_the_instant():
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


@pytest.mark.parametrize(
    ("month", "names"),
    enumerate(
        [
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
        ],
        1,
    ),
)  # fmt: skip
def test_each_month_and_weekday_has_its_english_name(month, names):
    moment = from_datetime(datetime(2026, month, 1, tzinfo=UTC))
    assert format_time(moment, "Monday Mon January Jan") == names
