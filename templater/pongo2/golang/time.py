"""Go's type time.Time, and formatting of times by Go's layouts."""

from ..values import Struct, grow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_DEFAULT_LAYOUT = "2006-01-02 15:04:05.999999999 -0700 MST"
_DAY = 86400


class Time(Struct):
    """An instant and its time zone. Two times are equal if they are the same instant."""

    __slots__ = ("nanosecond", "offset", "seconds", "zone")

    def __init__(self, seconds: int, nanosecond: int = 0, offset: int = 0, zone: str = "UTC") -> None:
        super().__init__("time.Time", hidden=("wall", "ext", "loc"))
        self.seconds = seconds  # since the epoch
        self.nanosecond = nanosecond
        self.offset = offset  # the offset of the time zone, in seconds east of UTC
        self.zone = zone

    @property
    def instant(self) -> "tuple[int, int]":  # type: ignore[override]
        return self.seconds, self.nanosecond

    def to_text(self) -> str:
        return format_time(self, _DEFAULT_LAYOUT)


FAKE = Time(1391625105)
"""The time that ``{% now "…" fake %}`` prints: 2014-02-05 18:31:45 UTC."""


class _Moment:
    """The year, month, day and other parts of a time in its time zone."""

    def __init__(self, time: Time) -> None:
        self.time = time
        days, second = divmod(time.seconds + time.offset, _DAY)
        self.hour, second = divmod(second, 3600)
        self.minute, self.second = divmod(second, 60)
        self.weekday = (days + 4) % 7
        self.year, self.month, self.day = _civil(days)
        self.year_day = days - _days_before(self.year) + 1

    def offset(self, colon: str, *, minutes: bool = True, seconds: bool = False) -> str:
        shift = self.time.offset
        sign, shift = ("-", -shift) if shift < 0 else ("+", shift)
        text = f"{sign}{shift // 3600:02d}"
        if minutes:
            text += f"{colon}{shift // 60 % 60:02d}"
        return text + f"{colon}{shift % 60:02d}" if seconds else text


def _civil(days: int) -> "tuple[int, int, int]":
    """Return year, month and day for a number of days since 1970, in the proleptic Gregorian calendar."""
    days += 719468  # days since March 1 of year 0, so that a leap day is the last day of its year
    era, day = divmod(days, 146097)
    year = (day - day // 1460 + day // 36524 - day // 146096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5 - 1
    month = month + 3 if month < 10 else month - 9
    return era * 400 + year + (month <= 2), month, day


def _days_before(year: int) -> int:
    """Return the number of days from January 1, 1970 to January 1 of the year."""
    year -= 1
    return 365 * year + year // 4 - year // 100 + year // 400 - 719162


def _zone_name(m: _Moment) -> str:
    return m.time.zone or m.offset("")


# the parts of a layout, each with the function that formats the part
_CHUNKS: "dict[str, Callable[[_Moment], str]]" = {
    "January": lambda m: MONTHS[m.month - 1],
    "Jan": lambda m: MONTHS[m.month - 1][:3],
    "Monday": lambda m: WEEKDAYS[m.weekday],
    "Mon": lambda m: WEEKDAYS[m.weekday][:3],
    "MST": _zone_name,
    "01": lambda m: f"{m.month:02d}",
    "002": lambda m: f"{m.year_day:03d}",
    "02": lambda m: f"{m.day:02d}",
    "03": lambda m: f"{m.hour % 12 or 12:02d}",
    "04": lambda m: f"{m.minute:02d}",
    "05": lambda m: f"{m.second:02d}",
    "06": lambda m: f"{abs(m.year) % 100:02d}",
    "15": lambda m: f"{m.hour:02d}",
    "1": lambda m: str(m.month),
    "2006": lambda m: _long_year(m.year),
    "2": lambda m: str(m.day),
    "_2006": lambda m: "_" + _long_year(m.year),
    "__2": lambda m: f"{m.year_day:3d}",
    "_2": lambda m: f"{m.day:2d}",
    "3": lambda m: str(m.hour % 12 or 12),
    "4": lambda m: str(m.minute),
    "5": lambda m: str(m.second),
    "PM": lambda m: "PM" if m.hour >= 12 else "AM",
    "pm": lambda m: "pm" if m.hour >= 12 else "am",
    "-070000": lambda m: m.offset("", seconds=True),
    "-07:00:00": lambda m: m.offset(":", seconds=True),
    "-0700": lambda m: m.offset(""),
    "-07:00": lambda m: m.offset(":"),
    "-07": lambda m: m.offset("", minutes=False),
    "Z070000": lambda m: m.offset("", seconds=True) if m.time.offset else "Z",
    "Z07:00:00": lambda m: m.offset(":", seconds=True) if m.time.offset else "Z",
    "Z0700": lambda m: m.offset("") if m.time.offset else "Z",
    "Z07:00": lambda m: m.offset(":") if m.time.offset else "Z",
    "Z07": lambda m: m.offset("", minutes=False) if m.time.offset else "Z",
}
_BY_FIRST: "dict[str, list[str]]" = {}
for _chunk in sorted(_CHUNKS, key=len, reverse=True):
    _BY_FIRST.setdefault(_chunk[0], []).append(_chunk)


def _long_year(year: int) -> str:
    return f"{year:04d}" if year >= 0 else f"-{-year:04d}"


def format_time(time: Time, layout: str) -> str:
    """Return the result of time.Format(layout) in Go.

    A layout shows how Go's reference time, 2006-01-02 15:04:05 MST, should be written.
    """
    grow(4 * len(layout))
    moment = _Moment(time)
    out = []
    position = 0
    while position < len(layout):
        chunk = _chunk_at(layout, position)
        if chunk:
            out.append(_CHUNKS[chunk](moment))
            position += len(chunk)
            continue
        end = _fraction_end(layout, position)
        if end:
            out.append(_fraction(layout[position:end], time.nanosecond))
            position = end
            continue
        out.append(layout[position])
        position += 1
    return "".join(out)


def _chunk_at(layout: str, position: int) -> str:
    for chunk in _BY_FIRST.get(layout[position], ()):
        if layout.startswith(chunk, position):
            following = layout[position + len(chunk) : position + len(chunk) + 1]
            if not (chunk in ("Jan", "Mon") and "a" <= following <= "z"):
                return chunk
    return ""


def _fraction_end(layout: str, position: int) -> int:
    """Return the end of a fraction such as ``.000`` or ``,999`` at ``position`` in the layout.

    Return 0 if the layout has no fraction at ``position``, or if another digit follows.
    """
    if layout[position] not in ".,":
        return 0
    digit = layout[position + 1 : position + 2]
    if digit not in ("0", "9"):
        return 0
    end = position + 1
    while layout[end : end + 1] == digit:
        end += 1
    following = layout[end : end + 1]
    return 0 if "0" <= following <= "9" else end


def _fraction(chunk: str, nanosecond: int) -> str:
    """Format a fraction of a second. ``chunk`` is its layout, such as ``.000`` or ``.999``.

    A layout of zeros gives a fixed number of digits. A layout of nines removes trailing zeros.
    """
    digits = f"{nanosecond:09d}"[: len(chunk) - 1]
    if chunk[1] == "0":
        return chunk[0] + digits.ljust(min(len(chunk) - 1, 9), "0")
    digits = digits.rstrip("0")
    return chunk[0] + digits if digits else ""
